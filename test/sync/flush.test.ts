/** When what waits is sent, and when it is not: `flush()`, `Retry-After`, tokens, values that the server never takes (docs/guarantees.md, 2.4, 4.2, 4.3). */
import type { ServerResponse } from 'node:http';
import { afterEach, beforeEach, expect, it, onTestFinished, vi } from 'vitest';
import { type Level1Request, type Level1Server, startLevel1Server } from '../support/level1-server.ts';
import { syncedStorages } from '../support/synced-storages.ts';

const open = syncedStorages();
let server: Level1Server;

beforeEach(async () => {
  server = await startLevel1Server();
});
afterEach(() => server.stop().catch(() => undefined));

const json = { 'content-type': 'application/json' };
const refuse = (response: ServerResponse, status: number, headers: Record<string, string> = {}): boolean => {
  response
    .writeHead(status, { ...json, ...headers })
    .end(JSON.stringify({ error: `refused with ${status}` }));
  return true;
};
/** 401 to everything but `/health`, unless it comes with this token. */
const wants =
  (token: string) =>
  ({ url, headers }: Level1Request, response: ServerResponse): boolean =>
    url !== '/health' &&
    headers.authorization !== `Bearer ${token}` &&
    refuse(response, 401, { 'www-authenticate': 'Bearer' });
const isWrite = ({ batch }: Level1Request): boolean => batch?.m !== undefined;

it('flush() resolves at once where nothing waits', async () => {
  const storage = open(server.url);
  await storage.flush();
  expect(storage.getBackendType()).toBe('flask');
  expect(server.applied).toEqual([]);
});

it('flush() sends what waits, in order, and resolves when it is there', async () => {
  await server.stop();
  const storage = open(server.url);
  await storage.set('a', 1);
  await storage.set('b', 1);
  await storage.set('c', 1);
  await storage.delete('b');
  await server.start();
  await storage.flush();
  expect(Object.fromEntries([...server.data].map(([key, { value }]) => [key, value]))).toEqual({
    a: 1,
    c: 1,
  });
  expect(storage.status()).toMatchObject({ state: 'online', pending: 0 });
  expect(server.mostWritesAtOnce).toBe(1);
});

it('flush() rejects with the reason while the server is away, and everything is kept', async () => {
  await server.stop();
  const storage = open(server.url);
  await storage.set('a', 1);
  await expect(storage.flush()).rejects.toMatchObject({
    name: 'StorageError',
    code: 'unavailable',
    message: expect.stringMatching(/refused/),
  });
  expect(storage.status().pending).toBe(1);
  expect(await storage.get('a')).toBe(1);
  await server.start();
  await storage.flush();
  expect(server.applied).toEqual(['put a 1']);
});

it('flush() tries again where an attempt has failed that began before it', async () => {
  const storage = open(server.url);
  await storage.set('a', 1);
  server.before = wants('none');
  await storage.set('a', 2);
  expect(storage.status()).toMatchObject({ state: 'auth-required', pending: 1 });
  const refusals: Array<() => boolean> = [];
  server.before = ({ url }, response) => url !== '/health' && refusals.push(() => refuse(response, 401)) > 0;
  const early = storage.flush().catch(() => undefined);
  await expect.poll(() => refusals.length).toBeGreaterThan(0);
  server.before = undefined;
  const late = storage.flush();
  for (const send of refusals) send();
  await late;
  expect(server.data.get('a')?.value).toBe(2);
  await early;
});

it('flush() resolves where what waited went to the conflicts', async () => {
  await server.stop();
  const storage = open(server.url);
  await storage.set('a', 'mine');
  server.apply({ ops: [{ op: 'put', key: 'a', value: 'theirs' }] });
  await server.start();
  await storage.flush();
  expect(storage.status()).toMatchObject({ pending: 0, conflicts: 1 });
});

it('flush() resolves when what waited is sent, though others go on writing', async () => {
  const storage = open(server.url, { ack: 'local' });
  await storage.ready();
  let goesOn = true;
  const writing = (async () => {
    for (let i = 0; goesOn; i += 1) await storage.set(`k${i % 50}`, i);
  })();
  await expect.poll(() => server.applied.length, { timeout: 10_000 }).toBeGreaterThan(10);
  await storage.flush();
  goesOn = false;
  await writing;
});

it('closes while writes wait, also where there are no Web Locks', async () => {
  vi.stubGlobal('navigator', {});
  onTestFinished(() => void vi.unstubAllGlobals());
  // In the middle of whatever it is doing.
  for (let turns = 0; turns < 60; turns += 1) {
    const storage = open(server.url, { ack: 'local' });
    await storage.ready();
    void storage.set('a', turns).catch(() => {});
    for (let i = 0; i < turns; i += 1) await new Promise(setImmediate);
    await storage.close();
  }
  // 60 storages, one after the other.
}, 60_000);

it('a clear() that the token may not do is among the conflicts, and keeps nothing else waiting', async () => {
  const storage = open(server.url);
  await storage.set('a', 1);
  await storage.filled();
  await server.stop();
  await storage.clear();
  await storage.set('b', 2);
  server.before = ({ batch }, response) =>
    batch?.ops.some(({ op }) => op === 'clear') === true && refuse(response, 403);
  await server.start();
  await storage.flush();
  expect(await storage.conflicts()).toMatchObject([{ key: '', reason: 'rejected' }]);
  expect(await storage.getMany(['a', 'b'])).toEqual([1, 2]);
  await storage.resolve('', 'server');
  expect(storage.status()).toMatchObject({ state: 'online', pending: 0, conflicts: 0 });
});

it('a clear() deletes in requests that the server takes, where others have written meanwhile', async () => {
  server.health = { ...server.health, limits: { batchOps: 20, bodyBytes: 100_000 } };
  let largest = 0;
  server.before = ({ batch, text }) => {
    largest = Math.max(largest, batch?.ops.length ?? 0);
    expect(text.length).toBeLessThan(100_000);
    return false;
  };
  const storage = open(server.url);
  await storage.setMany(Array.from({ length: 90 }, (_, i) => [`k${i}`, i] as const));
  await storage.filled();
  await server.stop();
  await storage.clear();
  server.apply({ ops: [{ op: 'put', key: 'theirs', value: 1 }] });
  await server.start();
  await storage.flush();
  expect([...server.data.keys()]).toEqual(['theirs']);
  expect(largest).toBe(20);
});

it('a server without a change feed stays online', async () => {
  server.health = { ...server.health, capabilities: ['batch', 'keys'] };
  server.before = ({ url }, response) => url.startsWith('/api/v1/changes') && refuse(response, 404);
  const storage = open(server.url);
  await storage.set('a', 1);
  await storage.flush();
  expect(await storage.keys()).toEqual(['a']);
  await storage.set('b', 2);
  await storage.flush();
  expect(storage.statuses.map(({ state }) => state)).not.toContain('offline');
  expect(server.seen.filter(({ url }) => url.startsWith('/api/v1/changes'))).toEqual([]);
});

it('is left alone when it asks for more than timers can count', async () => {
  const timers = vi.spyOn(globalThis, 'setTimeout');
  onTestFinished(() => timers.mockRestore());
  const storage = open(server.url);
  await storage.set('a', 1);
  server.before = (_, response) => refuse(response, 503, { 'retry-after': '2592000' });
  await storage.set('a', 2);
  const asked = server.seen.length;
  for (let i = 0; i < 20; i += 1) await storage.set(`b${i}`, await storage.get('a'));
  expect(server.seen.length).toBe(asked);
  // A timer that counts further ends at once.
  expect(Math.max(...timers.mock.calls.map(([, delay]) => Number(delay ?? 0)))).toBeLessThan(2 ** 31);
});

it('is left alone for as long as it asks to be with Retry-After', async () => {
  const storage = open(server.url, { timeout: 2000 });
  await storage.set('a', 1);
  const since = performance.now();
  server.seen.length = 0;
  server.before = (_, response) => refuse(response, 503, { 'retry-after': '2' });
  await Promise.all([storage.set('a', 2), storage.reaches('offline')]);
  const last = server.seen.at(-1)?.atMs ?? 0;
  const asked = server.seen.length;
  server.before = undefined;
  // Calls of the app are hints, which do not win over what it asked for.
  for (let n = 0; n < 20; n += 1) expect(await storage.get('a')).toBe(2);
  expect(server.seen).toHaveLength(asked);
  await storage.sent();
  const again = server.seen[asked]?.atMs ?? 0;
  expect(again - last).toBeGreaterThanOrEqual(1900);
  expect(performance.now() - since).toBeLessThan(9000);
  expect(server.data.get('a')?.value).toBe(2);
}, 20_000);

it('pauses where the token is not good, and goes on with a better one', async () => {
  let token = 'good';
  server.before = wants('good');
  const storage = open(server.url, { token: () => token });
  await storage.set('a', 1);
  token = 'expired';
  await storage.set('a', 2);
  await storage.set('b', 2);
  expect(storage.status()).toMatchObject({ state: 'auth-required', backend: 'indexeddb', pending: 2 });
  expect(storage.status().reason).toMatch(/401/);
  expect(await storage.getMany(['a', 'b'])).toEqual([2, 2]);
  await expect(storage.flush()).rejects.toMatchObject({ code: 'forbidden' });
  expect(storage.status().pending).toBe(2);
  token = 'good';
  await storage.flush();
  expect(storage.status()).toMatchObject({ state: 'online', pending: 0, conflicts: 0 });
  expect(server.applied).toEqual(['put a 1', 'put a 2', 'put b 2']);
  expect(storage.lines.map((line) => line.slice(0, 4))).toEqual(['info', 'warn', 'info']);
});

it('keeps writes that were made before there ever was a good token', async () => {
  let token: () => string = () => {
    throw new Error('signed out');
  };
  server.before = wants('good');
  const storage = open(server.url, { token: () => token() });
  await storage.set('a', 1);
  expect(storage.status()).toMatchObject({ state: 'auth-required', pending: 1 });
  expect(await storage.get('a')).toBe(1);
  token = () => 'good';
  await storage.flush();
  expect(server.applied).toEqual(['put a 1']);
});

it('rejects a write that a token may not do, and stays online: what it may read is read', async () => {
  server.apply({ ops: [{ op: 'put', key: 'a', value: 'theirs' }] });
  server.before = (request, response) => isWrite(request) && refuse(response, 403);
  const storage = open(server.url);
  await expect(storage.set('a', 1)).rejects.toMatchObject({ code: 'forbidden' });
  await expect(storage.delete('a')).rejects.toMatchObject({ code: 'forbidden' });
  await expect(storage.clear()).rejects.toMatchObject({ code: 'forbidden' });
  await expect(storage.update('a', () => 1)).rejects.toMatchObject({ code: 'forbidden' });
  expect(storage.status()).toMatchObject({ state: 'online', pending: 0, conflicts: 0 });
  expect(await storage.get('a')).toBe('theirs');
  expect(storage.lines).toHaveLength(1);
});

it('keeps what a token may not do, when that was written while the server was away', async () => {
  await server.stop();
  const storage = open(server.url);
  await storage.set('a', 1);
  server.before = (request, response) => isWrite(request) && refuse(response, 403);
  await server.start();
  await expect(storage.flush()).rejects.toMatchObject({
    code: expect.stringMatching(/forbidden|unavailable/),
  });
  expect(storage.status()).toMatchObject({ pending: 1, conflicts: 0 });
  expect(await storage.get('a')).toBe(1);
  server.before = undefined;
  await storage.flush();
  expect(server.applied).toEqual(['put a 1']);
});

it('puts a value over the server’s limit among the conflicts, and sends what was written before and after it', async () => {
  const tooLarge = 'x'.repeat(5000);
  server.health = {
    ...server.health,
    limits: { keyBytes: 1024, valueBytes: 4000, batchOps: 500, bodyBytes: 8000 },
  };
  server.before = ({ text }, response) => text.length > 4000 && refuse(response, 413);
  await server.stop();
  const storage = open(server.url);
  await storage.setMany([
    ['before', 1],
    ['large', tooLarge],
    ['after', 2],
  ]);
  await server.start();
  await storage.flush();
  expect([...server.data.keys()].sort()).toEqual(['after', 'before']);
  expect(await storage.conflicts()).toEqual([
    {
      key: 'large',
      reason: 'rejected',
      base: undefined,
      local: { value: tooLarge },
      server: undefined,
      detail: expect.stringMatching(/./),
      atMs: expect.any(Number),
    },
  ]);
  expect(storage.status()).toMatchObject({ state: 'online', pending: 0, conflicts: 1 });
  await storage.resolve('large', { value: 'small' });
  expect(server.data.get('large')?.value).toBe('small');
  expect(storage.status()).toMatchObject({ pending: 0, conflicts: 0 });
});

it('keeps what the server has no room for, and is online meanwhile', async () => {
  await server.stop();
  const storage = open(server.url);
  await storage.set('a', 1);
  server.before = (request, response) => isWrite(request) && refuse(response, 507);
  await server.start();
  await storage.reaches('online');
  expect(storage.status()).toMatchObject({ pending: 1, conflicts: 0 });
  server.before = undefined;
  await storage.flush();
  expect(server.applied).toEqual(['put a 1']);
});
