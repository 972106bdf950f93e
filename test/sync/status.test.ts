/** What a storage says of its server while that goes and comes back: `status()`, `watchStatus()`, one log line a transition (docs/guarantees.md, 4.1). */
import { afterEach, beforeEach, expect, it, onTestFinished, vi } from 'vitest';
import { type Level1Server, startLevel1Server } from '../support/level1-server.ts';
import { shut, syncedStorages } from '../support/synced-storages.ts';

const open = syncedStorages();
let server: Level1Server;

beforeEach(async () => {
  server = await startLevel1Server();
});
afterEach(() => server.stop().catch(() => undefined));

const AWAY = expect.stringMatching(
  /^warn: @codeforge\/storage uses IndexedDB, because the server cannot be used: /,
);
const back = (): string => `info: @codeforge/storage uses the Flask backend at ${server.url}/`;

it('says that nobody was asked before the first call', () => {
  const storage = open(server.url);
  expect(storage.status()).toEqual({
    backend: 'indexeddb',
    state: 'offline',
    level: undefined,
    pending: 0,
    conflicts: 0,
    lastSyncAtMs: undefined,
    reason: `${server.url}/ was not asked yet`,
  });
  expect(server.seen).toEqual([]);
  expect(storage.lines).toEqual([]);
});

it('says everything of a server that is there', async () => {
  const before = Date.now();
  const storage = open(server.url);
  await storage.set('a', 1);
  expect(storage.status()).toEqual({
    backend: 'flask',
    state: 'online',
    level: 1,
    pending: 0,
    conflicts: 0,
    lastSyncAtMs: expect.any(Number),
    reason: `${server.url}/health announced contract 1`,
  });
  expect(Number(storage.status().lastSyncAtMs)).toBeGreaterThanOrEqual(before);
  expect(Number(storage.status().lastSyncAtMs)).toBeLessThanOrEqual(Date.now());
  expect(storage.lines).toEqual([back()]);
});

it('goes online, offline, reconnecting, online, with one line for each time that somebody else serves', async () => {
  const storage = open(server.url);
  await storage.set('a', 1);
  for (let round = 0; round < 2; round += 1) {
    await server.stop();
    await storage.set('a', round);
    expect(storage.getBackendType()).toBe('indexeddb');
    expect(storage.status()).toMatchObject({ backend: 'indexeddb', level: 1, pending: 1 });
    // Tried again in vain, which is no news.
    await storage.flush().catch(() => undefined);
    await server.start();
    await storage.sent();
    expect(storage.status()).toMatchObject({ backend: 'flask', pending: 0, conflicts: 0 });
    expect(storage.getBackendType()).toBe('flask');
  }
  const states = storage.statuses.map(({ state }) => state).filter((state, i, all) => state !== all[i - 1]);
  expect(states.join(' ')).toMatch(
    /^reconnecting online( offline( reconnecting offline)* reconnecting online){2}$/,
  );
  expect(storage.lines).toEqual([back(), AWAY, back(), AWAY, back()]);
}, 20_000);

it('has counted a write by the time that it resolves', async () => {
  await server.stop();
  const storage = open(server.url);
  for (let n = 1; n <= 5; n += 1) {
    await storage.set(`k${n}`, n);
    expect(storage.status().pending).toBe(n);
  }
  await storage.set('k1', 'again');
  expect(storage.status().pending).toBe(5);
  expect(storage.statuses.at(-1)?.pending).toBe(5);
});

it('tells every watcher each change until it stops, and never the same twice', async () => {
  const storage = open(server.url);
  const [stopped, kept]: [unknown[], unknown[]] = [[], []];
  const stop = storage.watchStatus((status) => void stopped.push(status));
  storage.watchStatus((status) => void kept.push(status));
  await storage.set('a', 1);
  expect(stopped).toEqual(kept);
  const count = stopped.length;
  stop();
  stop();
  await server.stop();
  await storage.set('a', 2);
  expect(stopped).toHaveLength(count);
  expect(kept.length).toBeGreaterThan(count);
  for (const [i, status] of kept.entries()) if (i > 0) expect(status).not.toEqual(kept[i - 1]);
  expect(kept.at(-1)).toEqual(storage.status());
});

it('does what was called though a watcher throws', async () => {
  const storage = open(server.url);
  storage.watchStatus(() => {
    throw new Error('a watcher of the app');
  });
  await storage.set('a', 1);
  expect(await storage.get('a')).toBe(1);
  await server.stop();
  await storage.set('a', 2);
  expect(await storage.get('a')).toBe(2);
});

it('knows when it last met the server after it was opened anew', async () => {
  const first = open(server.url, { database: 'met' });
  await first.set('a', 1);
  const { lastSyncAtMs } = first.status();
  await first.close();
  await server.stop();
  const second = open(server.url, { database: 'met' });
  expect(await second.get('a')).toBe(1);
  expect(second.status().lastSyncAtMs).toBe(lastSyncAtMs);
});

it('looks every 30 s for what others have changed, and says when that was', async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
  onTestFinished(() => void vi.useRealTimers());
  const storage = open(server.url);
  await storage.set('a', 1);
  await storage.filled();
  server.apply({ ops: [{ op: 'put', key: 'b', value: 2 }] });
  const before = Date.now();
  await vi.advanceTimersByTimeAsync(30_000);
  const { lastSyncAtMs } = await storage.reaches(({ lastSyncAtMs }) => Number(lastSyncAtMs) >= before);
  expect(lastSyncAtMs).toBeLessThanOrEqual(Date.now());
  shut(server);
  expect(await storage.get('b')).toBe(2);
});

it('tells two storages of one origin of each other’s writes, and sends each once', async () => {
  await server.stop();
  const [one, two] = [open(server.url, { database: 'both' }), open(server.url, { database: 'both' })];
  await one.set('a', 'one');
  expect(await two.get('a')).toBe('one');
  await two.set('b', 'two');
  await one.reaches(({ pending }) => pending === 2);
  await server.start();
  await Promise.all(
    [one, two].map((storage) => storage.reaches(({ pending, state }) => pending === 0 && state === 'online')),
  );
  expect([...server.applied].sort()).toEqual(['put a "one"', 'put b "two"']);
});

it('asks nobody any more, and waits for nothing, once it is closed', async () => {
  await server.stop();
  const storage = open(server.url);
  await storage.set('a', 1);
  await storage.close();
  const told = storage.statuses.length;
  await server.start();
  const other = open(server.url);
  await other.set('b', 2);
  expect(server.applied).toEqual(['put b 2']);
  expect(storage.statuses).toHaveLength(told);
  await expect(storage.flush()).rejects.toMatchObject({ code: 'closed' });
});
