/** The package in Jest, as CommonJS: `tools/jest/storage.test.js`. */
import { join } from 'node:path';
import { afterAll, beforeAll, expect, inject, it } from 'vitest';
import type { RunningServer } from '../support/running-server.ts';
import { startTypescriptServer } from '../support/typescript-server.ts';
import { nodeVersions, run } from './nodes.ts';

const { tools } = inject('packages');
let server: RunningServer;
beforeAll(async () => {
  server = await startTypescriptServer();
});
afterAll(() => server.stop());

for (const { name, path } of nodeVersions())
  it(`Jest 30 runs everything in CommonJS, with IndexedDB and with a server, on ${name}`, async ({
    annotate,
  }) => {
    const { code, stderr } = await run(
      path,
      [join(tools, 'node_modules/jest/bin/jest.js'), '--rootDir', 'jest', '--ci', '--color=false'],
      { cwd: tools, env: { SERVER_URL: server.url } },
    );
    expect(code, stderr).toBe(0);
    await annotate(/^Tests:.*$/m.exec(stderr)?.[0] ?? '');
  });
