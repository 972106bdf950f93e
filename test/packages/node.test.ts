/** The package in Node.js without IndexedDB, and the command. */
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, inject, it, onTestFinished } from 'vitest';
import type { RunningServer } from '../support/running-server.ts';
import { startTypescriptServer } from '../support/typescript-server.ts';
import { nodeVersions, run } from './nodes.ts';

const { alone } = inject('packages');
const PROGRAM = join(alone, 'node_modules/@codeforge/storage/dist/cli.js');

let server: RunningServer;
beforeAll(async () => {
  server = await startTypescriptServer();
});
afterAll(() => server.stop());

/** Importing is harmless; a call without IndexedDB says what is missing; a server works. */
const CODE = `
  const local = createStorage({ logger: false });
  const { code } = await local.get('key').catch((error) => error);
  const storage = createStorage({ useFlask: true, flaskUrl: process.env.SERVER_URL, logger: false });
  await storage.set('node', { when: new Date(5), n: 1n });
  const { when, n } = await storage.get('node');
  const file = await (await storage.export({ as: 'blob', prefix: 'node' })).text();
  await storage.close();
  process.stdout.write(JSON.stringify([code, when.getTime(), String(n), file.includes('"node"')]));`;

for (const { name, path } of nodeVersions())
  describe(name, () => {
    for (const entry of ['@codeforge/storage', '@codeforge/storage/full']) {
      const used = async (...args: string[]) => {
        const ended = await run(path, args, { cwd: alone, env: { SERVER_URL: server.url } });
        expect(ended).toMatchObject({ code: 0, stdout: JSON.stringify(['unavailable', 5, '1', true]) });
      };
      it(`import from '${entry}'`, () =>
        used('--input-type=module', '-e', `import { createStorage } from '${entry}'; ${CODE}`));
      it(`require('${entry}')`, () =>
        used(
          '--input-type=commonjs',
          '-e',
          `const { createStorage } = require('${entry}'); (async () => { ${CODE} })();`,
        ));
    }

    const ENTRIES = ['@codeforge/storage', '@codeforge/storage/full', '@codeforge/storage/adapters'];
    const sources = {
      module: ENTRIES.map((entry, i) => `import * as ${'abc'[i]} from '${entry}';`).join(' '),
      commonjs: `const [a, b, c] = ${JSON.stringify(ENTRIES)}.map((entry) => require(entry));`,
    };
    for (const [type, imports] of Object.entries(sources))
      it(`the classes are the same in all entries, as ${type}`, async () => {
        const code = `
          let thrown;
          try { c.asAsyncStorage(); } catch (error) { thrown = error; }
          process.stdout.write(String([a.StorageError === b.StorageError, thrown instanceof a.StorageError]));`;
        expect(await run(path, [`--input-type=${type}`, '-e', imports + code], { cwd: alone })).toMatchObject(
          { stdout: 'true,true' },
        );
      });

    it('the command', async () => {
      const command = async (...args: string[]): Promise<string> => {
        const ended = await run(path, [PROGRAM, ...args], { cwd: alone });
        expect(ended.code, ended.stderr).toBe(0);
        return ended.stdout;
      };
      await fetch(`${server.url}/api/storage/exact`, {
        method: 'PUT',
        headers: { 'content-type': 'application/json' },
        body: '{"value":12345678901234567890}',
      });
      const file = `${randomUUID()}.ndjson`;
      expect(JSON.parse(await command('status', server.url, '--json')).keys).toBeGreaterThan(0);
      expect(await command('export', server.url)).toContain('"value":12345678901234567890}');
      await command('export', server.url, file);
      expect(JSON.parse(await command('verify', file, '--json')).checksum).toBe('verified');
      expect(JSON.parse(await command('import', server.url, file, '--json')).verified).toBeGreaterThan(0);
      const backups = ['--once', '--dir', `backups ${randomUUID()}`];
      expect(JSON.parse(await command('backup', server.url, ...backups, '--json')).verified).toBeTruthy();
      expect(await command('backup', '--help')).toContain('--every <schedule>');
    });
  });

it('serve runs the server with the package alone, and ends in order', async () => {
  const database = `${randomUUID()}.db`;
  const child = spawn(process.execPath, [PROGRAM, 'serve', '--port', '0', '--database', database], {
    cwd: alone,
  });
  onTestFinished(() => {
    child.kill('SIGKILL');
  });
  const ended = once(child, 'exit');
  let output = '';
  const url = await new Promise<string>((resolve, reject) => {
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      output += text;
      const found = /"url":"(http[^"]+)"/.exec(output)?.[1];
      if (found) resolve(found);
    });
    ended.then(() => reject(new Error(`It ended: ${output}`)));
  });
  const storage = await run(
    process.execPath,
    [
      '--input-type=module',
      '-e',
      `import { createStorage } from '@codeforge/storage';
       const storage = createStorage({ useFlask: true, flaskUrl: '${url}', logger: false });
       await storage.set('greeting', 'hello');
       await storage.close();`,
    ],
    { cwd: alone },
  );
  expect(storage.stderr).toBe('');
  const status = await run(process.execPath, [PROGRAM, 'status', url, '--json'], { cwd: alone });
  expect(JSON.parse(status.stdout)).toMatchObject({ level: 1, keys: 1 });
  child.kill('SIGINT');
  expect(await ended).toEqual([0, null]);
  expect(output).toContain('"msg":"stopped"');
});

it('serve says which Node.js and which driver it needs', async () => {
  const [, old] = nodeVersions();
  const refused = await run(old?.path ?? '', [PROGRAM, 'serve'], { cwd: alone });
  expect(refused).toMatchObject({ code: 1, stderr: expect.stringMatching(/needs Node\.js 22/) });
  const wrong = await run(process.execPath, [PROGRAM, 'serve', '--port', '99999'], { cwd: alone });
  expect(wrong.code).toBe(2);
  for (const [url, driver] of [
    ['postgres://user@127.0.0.1:1/x', 'pg'],
    ['mysql://user@127.0.0.1:1/x', 'mariadb'],
  ] as const) {
    const { code, stdout } = await run(process.execPath, [PROGRAM, 'serve', '--database', url], {
      cwd: alone,
    });
    expect([code, stdout]).toEqual([1, expect.stringContaining(`npm install ${driver}`)]);
  }
});

it('npx finds the command', async () => {
  const { stdout } = await run('npx', ['--no-install', 'codeforge-storage', '--help'], { cwd: alone });
  expect(stdout).toContain('backup [options]');
});
