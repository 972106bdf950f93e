/** Servers that cannot be reached, go away in the middle or refuse: an exit code each, and no partial file. */
import { createHash } from 'node:crypto';
import { readdirSync, statSync, writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { expect, it, onTestFinished, vi } from 'vitest';
import { always, html, json, startOldServer } from '../support/old-server.ts';
import { freePort } from '../support/ports.ts';
import type { RunningServer } from '../support/running-server.ts';
import { startTypescriptServer } from '../support/typescript-server.ts';
import { freshFolder, run, runJson, start } from './command.ts';
import { largeBackup, store } from './data.ts';
import { startSlowLine } from './slow-line.ts';

// Each starts many processes.
vi.setConfig({ testTimeout: 180_000 });

/** Megabytes: far more than lie in buffers on the way. */
const LARGE = 32;

async function typescriptServer(env: Record<string, string> = {}): Promise<RunningServer> {
  const server = await startTypescriptServer({ env });
  onTestFinished(async () => void (await server.stop()));
  return server;
}

async function fill(url: string): Promise<void> {
  const headers = { 'content-type': 'application/x-ndjson' };
  const response = await fetch(`${url}/api/v1/import`, { method: 'POST', headers, body: largeBackup(LARGE) });
  expect(response.status).toBe(200);
}

async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await holds())) await delay(1);
}

/** Resolves when a part of a file is in the folder. */
const begun = (folder: string): Promise<void> =>
  until(() => readdirSync(folder).some((name) => statSync(join(folder, name)).size > 100_000));

it('a server killed in the middle of an export leaves no file, and exit code 3', async () => {
  const folder = freshFolder();
  const server = await typescriptServer();
  await fill(server.url);
  const running = start(['export', server.url, join(folder, 'backup')]);
  await begun(folder);
  await server.kill();
  const { code, stderr } = await running.ended;
  expect(stderr).toMatch(
    /closed the connection after \d+ bytes of its answer\. Check that the server still runs/,
  );
  expect(code).toBe(3);
  expect(readdirSync(folder)).toEqual([]);
});

it.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)('%s during an export leaves no file', async (signal) => {
  const folder = freshFolder();
  const server = await typescriptServer();
  await fill(server.url);
  writeFileSync(join(folder, 'backup'), 'the old one');
  const running = start(['export', server.url, join(folder, 'backup'), '--force']);
  await begun(folder);
  running.child.kill(signal);
  expect((await running.ended).code).toBe(128 + constants.signals[signal]);
  expect(readdirSync(folder)).toEqual(['backup']);
  expect(statSync(join(folder, 'backup')).size).toBe('the old one'.length);
});

it('Ctrl-C while stdin is read: nothing is sent, and no temporary file stays', async () => {
  const folder = freshFolder();
  const running = start(['import', 'http://localhost:5001', '-'], {
    env: { TMPDIR: folder },
    stdin: { open: true },
  });
  await until(() => readdirSync(folder).length > 0);
  running.child.kill('SIGINT');
  expect((await running.ended).code).toBe(130);
  expect(readdirSync(folder)).toEqual([]);
});

it('what a pipe got of an export that was cut is refused', async () => {
  const folder = freshFolder();
  const server = await typescriptServer();
  await fill(server.url);
  const running = start(['export', server.url]);
  await until(() => running.stdout().length > 0);
  await server.kill();
  const { code, stdout } = await running.ended;
  expect(code).toBe(3);
  writeFileSync(join(folder, 'cut'), stdout);
  expect((await run(['verify', join(folder, 'cut')])).code).toBe(5);
});

it('a server killed in the middle of an import: exit code 3, and it can be sent again', async () => {
  const folder = freshFolder();
  const file = join(folder, 'large');
  writeFileSync(file, largeBackup(LARGE));
  const options = { databasePath: join(folder, 'data.db'), port: await freePort() };
  const server = await startTypescriptServer(options);
  const running = start(['import', server.url, file]);
  await until(async () => (await (await fetch(`${server.url}/api/v1/stats`)).json()).keys > 0);
  await server.kill();
  const { code, stderr } = await running.ended;
  expect(stderr).toMatch(/It is not known how many keys were stored\. Run the same import again/);
  expect(code).toBe(3);
  const again = await startTypescriptServer(options);
  onTestFinished(async () => void (await again.stop()));
  expect(await runJson(['import', again.url, file])).toMatchObject({ imported: LARGE, verified: LARGE });
});

/** The paths of requests. No user knows them. */
const INTERNAL = /api\/|_health_check|\/health\b/;

it('a server that does not run: the message says so, what to do, and exit code 3', async () => {
  const url = `http://127.0.0.1:${await freePort()}`;
  const folder = freshFolder();
  const backup = join(freshFolder(), 'backup');
  writeFileSync(backup, '{"a":1}');
  for (const args of [
    ['status', url],
    ['export', url, join(folder, 'x')],
    ['import', url, backup],
    ['migrate', url, `${url}/other`],
    ['backup', url, '--once', '--dir', folder],
  ]) {
    const { code, stderr } = await run(args);
    expect(code, args.join(' ')).toBe(3);
    expect(stderr).toContain(`codeforge-storage: ${url}/ does not answer`);
    expect(stderr).toContain('Start the server, or correct the address');
    expect(stderr).not.toMatch(INTERNAL);
  }
  expect(readdirSync(folder)).toEqual([]);
});

it('something that is not a storage server: exit code 3, and no message names the path of a request', async () => {
  const old = await startOldServer();
  onTestFinished(old.close);
  for (const intercept of [
    always(200, html, '<html>'),
    always(404, html, '<html>'),
    always(200, json, '{"hello":"world"}'),
    always(500, json, '{"error":"broken"}'),
    always(302, { location: '/login' }, ''),
  ]) {
    old.intercept = intercept;
    for (const args of [
      ['export', old.url, '-'],
      ['status', old.url],
    ]) {
      const { code, stderr } = await run(args);
      expect(code, stderr).toBe(3);
      expect(stderr).toContain(`codeforge-storage: ${old.url}`);
      expect(stderr).not.toMatch(INTERNAL);
    }
  }
});

it.each(['export', 'import'])(
  'a server that fails at its %s: no message names the path of a request',
  async (path) => {
    const old = await startOldServer();
    onTestFinished(old.close);
    const args = path === 'export' ? ['export', old.url, '-'] : ['import', old.url, '-'];
    for (const answer of [
      always(500, json, '{"error":"broken"}'),
      always(200, html, '<html>'),
      always(413, html, '<html>'),
      always(302, { location: '/login' }, ''),
    ]) {
      old.intercept = (request, response, body) =>
        request.url === `/api/storage/${path}` && answer?.(request, response, body) === true;
      const { code, stderr } = await run(args, { stdin: '{"a":1}' });
      expect(code, stderr).not.toBe(0);
      expect(stderr).toContain(old.url);
      expect(stderr).not.toMatch(INTERNAL);
    }
  },
);

it('a server that is silent: exit code 3, within the time limit of silence', async () => {
  const old = await startOldServer();
  onTestFinished(old.close);
  old.intercept = ({ url }) => url === '/api/storage/export';
  const { code, stderr } = await run(['export', old.url, '-', '--timeout', '100']);
  expect(code).toBe(3);
  expect(stderr).toMatch(/did not answer within 100 ms.*--timeout/);
});

it('what moves may take as long as it takes, however short a silence may be', async () => {
  const old = await startOldServer();
  onTestFinished(old.close);
  const servers = [old.url, (await typescriptServer()).url];
  // Two pages for the old one.
  const stdin = largeBackup(6);
  const imported = servers.map(async (url) => {
    const line = await startSlowLine(Number(new URL(url).port), 250);
    onTestFinished(line.close);
    return runJson(['import', `http://127.0.0.1:${line.port}`, '-', '--timeout', '5000'], { stdin });
  });
  for (const one of imported) expect(await one).toMatchObject({ imported: 6, verified: 6 });
});

it('an answer in a coding that nobody asked for is told from one that was cut', async () => {
  const old = await startOldServer();
  onTestFinished(old.close);
  old.intercept = ({ url, headers }, response) => {
    if (url !== '/api/storage/export') return false;
    expect(headers['accept-encoding']).toBe('identity');
    response.writeHead(200, { ...json, 'content-encoding': 'gzip' }).end(gzipSync('{}'));
    return true;
  };
  const { code, stderr } = await run(['export', old.url]);
  expect(code).toBe(3);
  expect(stderr).toContain('sent a gzip answer that nobody asked for');
});

it('a server that is busy for a moment is asked again, when it asks to be', async () => {
  const old = await startOldServer();
  onTestFinished(old.close);
  await store(old.url, { a: '1' });
  let refusals = 2;
  old.intercept = (request, response, body) => {
    if (request.url !== '/api/storage/export' || refusals === 0) return false;
    refusals -= 1;
    return (
      always(503, { ...json, 'retry-after': '1' }, '{"error":"busy"}')?.(request, response, body) ?? false
    );
  };
  expect(await runJson(['export', old.url, join(freshFolder(), 'x')])).toMatchObject({ keys: 1 });
  expect(old.seen.filter(({ url }) => url === '/api/storage/export')).toHaveLength(3);
});

it('a wrong token and a scope that is too small: exit code 4', async () => {
  const hash = (token: string): string => createHash('sha256').update(token).digest('hex');
  const { url } = await typescriptServer({
    TOKENS: `app:admin:${hash('right')},app:read:${hash('reader')}`,
  });
  const folder = freshFolder();
  const file = join(folder, 'backup');
  const exporting = ['export', url, file];
  for (const env of [{}, { CODEFORGE_STORAGE_TOKEN: 'wrong' }, { CODEFORGE_STORAGE_TOKEN: 'reader' }]) {
    expect((await run(exporting, { env })).code).toBe(4);
    expect(readdirSync(folder)).toEqual([]);
  }
  const told = await run(['status', url, '--token', 'wrong']);
  expect(told.code).toBe(4);
  expect(told.stderr).toContain('Give a token with --token or CODEFORGE_STORAGE_TOKEN');
  const env = { CODEFORGE_STORAGE_TOKEN: 'right' };
  expect((await run(exporting, { env })).code).toBe(0);
  const reader = await run(['import', url, file, '--token', 'reader']);
  expect(reader.code).toBe(4);
  expect(reader.stderr).not.toMatch(/not known|stored/);
  expect(await runJson(['status', url], { env })).toMatchObject({ keys: 0, epoch: expect.any(String) });
  const migrating = await run(['migrate', url, url, '--to-token', 'right'], { env });
  expect(migrating.code).toBe(4);
  expect(migrating.stderr).toContain('--from-token');
});
