/** The commands of docs/cli.md run as they are printed there, in their order. */
import { spawn } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { expect, it, onTestFinished, vi } from 'vitest';
import { startOldServer } from '../support/old-server.ts';
import { startTypescriptServer } from '../support/typescript-server.ts';
import { freshFolder, run } from './command.ts';
import { heldBy } from './data.ts';

vi.setConfig({ testTimeout: 180_000 });

const page = readFileSync(new URL('../../docs/cli.md', import.meta.url), 'utf8');
const main = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));

/** The shell commands of the page: in blocks, and between backticks. */
const printed = [
  ...[...page.matchAll(/^ *```sh\n(.*?)^ *```/gms)].flatMap(([, block = '']) =>
    block.split('\n').map((line) => line.trim()),
  ),
  ...[...page.matchAll(/`(codeforge-storage export http[^`]*)`/g)].map(([, line = '']) => line),
].filter((line) => line !== '' && !line.startsWith('npm '));

it('finds the commands of the page', () => {
  expect(printed.length).toBeGreaterThanOrEqual(9);
});

it.skipIf(process.platform === 'win32')('every command of the page succeeds', async () => {
  const cwd = freshFolder();
  const bin = join(cwd, 'bin');
  const backups = join(cwd, 'backups');
  mkdirSync(bin);
  mkdirSync(backups);
  const command = join(bin, 'codeforge-storage');
  writeFileSync(command, `#!/bin/sh\nexec "${process.execPath}" "${main}" "$@"\n`);
  chmodSync(command, 0o755);
  const [server, target] = [await startTypescriptServer(), await startTypescriptServer()];
  const old = await startOldServer();
  onTestFinished(async () => {
    await Promise.all([server.stop(), target.stop(), old.close()]);
  });
  old.data.set('moved', 1);
  const example = join(backups, 'codeforge-backup-2026-11-25T07-00-00-000Z.ndjson');
  writeFileSync(join(cwd, 'data.json'), '{"a":12345678901234567890}');
  expect((await run(['import', server.url, join(cwd, 'data.json')])).code).toBe(0);
  expect((await run(['export', server.url, join(cwd, 'example')])).code).toBe(0);
  copyFileSync(join(cwd, 'example'), example);
  for (const line of printed) {
    const shell = line
      .replaceAll('http://localhost:5001', server.url)
      .replaceAll('http://old:5001', old.url)
      .replaceAll('http://new:5001', target.url)
      .replaceAll('/var/backups/storage', backups)
      // The schedule has tests of its own.
      .replace('--every 1h', '--once');
    const child = spawn('sh', ['-c', shell], {
      cwd,
      env: { ...process.env, PATH: `${bin}${delimiter}${process.env.PATH}` },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    const [stderr, code] = await Promise.all([
      text(child.stderr),
      new Promise((resolve) => child.once('close', resolve)),
    ]);
    expect(code, `${line}\n${stderr}`).toBe(0);
  }
  expect(await heldBy(target.url)).toEqual({ moved: '1' });
});
