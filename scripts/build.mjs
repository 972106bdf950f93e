// `npm run build`: makes `dist` from nothing. The builds of tsup.config.ts run at the same time, so none of them may clean it.
import { spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { resolve } from 'node:path';

const root = resolve(import.meta.dirname, '..');
rmSync(resolve(root, 'dist'), { recursive: true, force: true });
const tsup = resolve(root, 'node_modules/tsup/dist/cli-default.js');
const { status } = spawnSync(process.execPath, [tsup, '--silent'], { cwd: root, stdio: 'inherit' });
process.exitCode = status ?? 1;
