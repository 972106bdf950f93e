/** The audit log (AUDIT_LOG), and the names of requests in logs (X-Request-Id). */
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { run, runJson } from '../cli/command.ts';
import { ownDatabase } from '../support/own-database.ts';

const { start, stop, folder } = ownDatabase();
const json = { 'content-type': 'application/json' };

it('has a line for each clear and import, for changes of tokens, and for tokens that were refused', async () => {
  const [AUDIT_LOG, TOKENS_FILE] = [join(folder(), 'audit.log'), join(folder(), 'tokens.json')];
  const env = { AUDIT_LOG, TOKENS_FILE };
  const added = await runJson(['token', 'add', 'team', 'admin'], { env });
  const other = await runJson(['token', 'add', 'team', 'read'], { env });
  const server = await start(env);
  const ask = async (path: string, body = '', headers = json, token = added.token): Promise<number> => {
    const init = {
      method: 'POST',
      headers: { ...headers, authorization: `Bearer ${token}`, 'x-request-id': path },
      body,
    };
    return (await fetch(server.url + path, init)).status;
  };
  const batch = (...ops: object[]) => ask('/api/v1/batch', JSON.stringify({ ops }));
  await batch({ op: 'put', key: 'secret-key', value: 'secret-value' });
  await batch({ op: 'clear', ifSeq: '77' });
  await batch({ op: 'clear' });
  await ask('/api/storage/clear');
  await ask('/api/storage/import', '{"secret-key":1}');
  await ask('/api/v1/import', 'broken', { 'content-type': 'application/x-ndjson' });
  const refused = 'cf_not-a-token';
  await ask('/api/storage/clear', '', json, refused);
  await ask('/api/storage/clear', '', json, other.token);
  await runJson(['token', 'rotate', String(other.id)], { env });
  expect((await run(['token', 'revoke', String(other.id)], { env })).code).toBe(0);
  expect(await stop(server)).toBe(0);

  const text = readFileSync(AUDIT_LOG, 'utf8');
  const lines = text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
  expect(lines.map(({ event, status, requestId, id }) => [event, status ?? id, requestId])).toEqual([
    ['token-added', added.id, undefined],
    ['token-added', other.id, undefined],
    ['clear', 200, '/api/v1/batch'],
    ['clear', 200, '/api/storage/clear'],
    ['import', 200, '/api/storage/import'],
    ['import', 400, '/api/v1/import'],
    ['token-refused', undefined, '/api/storage/clear'],
    ['token-rotated', expect.any(String), undefined],
    ['token-revoked', other.id, undefined],
  ]);
  expect(lines[2]).toMatchObject({
    tenant: 'team',
    address: expect.stringContaining('127.0.0.1'),
    time: expect.any(String),
  });
  for (const secret of [added.token, other.token, refused, 'secret-key', 'secret-value'])
    expect(text).not.toContain(secret);
  expect(statSync(AUDIT_LOG).mode & 0o077).toBe(0);
});

it('a flood of refused tokens does not flood the log', async () => {
  const AUDIT_LOG = join(folder(), 'flood.log');
  const server = await start({ AUDIT_LOG, TOKENS: `team:read:${'0'.repeat(64)}` });
  const headers = { authorization: 'Bearer wrong' };
  const began = Date.now();
  for (let i = 0; i < 200; i += 1) await (await fetch(`${server.url}/api/storage/k`, { headers })).text();
  const seconds = Math.floor(Date.now() / 1000) - Math.floor(began / 1000) + 1;
  const count = readFileSync(AUDIT_LOG, 'utf8').trimEnd().split('\n').length;
  expect(count).toBeLessThanOrEqual(10 * seconds);
});

it('is checked before anything is done: no token is made or changed without its line, and no server starts', async () => {
  const [AUDIT_LOG, TOKENS_FILE] = [join(folder(), 'missing', 'audit.log'), join(folder(), 'unaudited.json')];
  const { id } = await runJson(['token', 'add', 'team', 'read'], { env: { TOKENS_FILE } });
  const before = readFileSync(TOKENS_FILE, 'utf8');
  const env = { AUDIT_LOG, TOKENS_FILE };
  for (const args of [
    ['add', 'team', 'read'],
    ['rotate', String(id)],
    ['revoke', String(id)],
  ]) {
    const { code, stderr } = await run(['token', ...args], { env });
    expect([code, stderr]).toEqual([1, expect.stringMatching(/AUDIT_LOG .* Nothing was changed/)]);
  }
  expect(readFileSync(TOKENS_FILE, 'utf8')).toBe(before);
  const server = await run(['serve', '--port', '0'], { env });
  expect([server.code, server.stderr]).toEqual([2, expect.stringContaining('AUDIT_LOG')]);
});

it('names each request in its answer and in the log: as the proxy did, or anew', async () => {
  const server = await start({ LOG_LEVEL: 'debug' });
  const ask = async (id?: string): Promise<string> => {
    const answer = await fetch(`${server.url}/api/storage/k`, {
      ...(id && { headers: { 'x-request-id': id } }),
    });
    return answer.headers.get('x-request-id') ?? '';
  };
  expect(await ask('proxy-1.a:b')).toBe('proxy-1.a:b');
  const minted = [await ask(), await ask('not {sane}'), await ask('x'.repeat(129))];
  expect(new Set(minted).size).toBe(3);
  for (const id of minted) expect(id).toMatch(/^[\da-f-]{36}$/);
  for (const id of ['proxy-1.a:b', ...minted])
    await expect.poll(() => server.output()).toContain(`"requestId":"${id}"`);
});
