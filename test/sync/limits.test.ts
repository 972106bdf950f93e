/** A server that accepts requests and never answers: one call has one limit, not one for each step (docs/guarantees.md, 11). */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Level1Server, startLevel1Server } from '../support/level1-server.ts';
import { type OldServer, startOldServer } from '../support/old-server.ts';
import { type SyncedStorage, syncedStorages } from '../support/synced-storages.ts';

const open = syncedStorages();
const timeout = 3000;
/** What a slow machine may take besides. */
const MARGIN = 1500;

const CALLS: Readonly<Record<string, (storage: SyncedStorage) => Promise<unknown>>> = {
  get: (storage) => storage.get('a'),
  getEntry: (storage) => storage.getEntry('a'),
  getMany: (storage) => storage.getMany(['a', 'b', 'c']),
  has: (storage) => storage.has('a'),
  keys: (storage) => storage.keys(),
  entries: (storage) => Array.fromAsync(storage.entries()),
  count: (storage) => storage.count(),
  stats: (storage) => storage.stats(),
  set: (storage) => storage.set('a', 1),
  setMany: (storage) => storage.setMany(Array.from({ length: 300 }, (_, i) => [`k${i}`, i] as const)),
  'set with a condition': (storage) => storage.set('a', 1, { ifRevision: null }),
  delete: (storage) => storage.delete('a'),
  update: (storage) => storage.update('a', (n) => Number(n) + 1),
  'several updates': (storage) =>
    Promise.all(['a', 'b', 'a'].map((key) => storage.update(key, (n) => Number(n) + 1))),
  'update and set': (storage) =>
    Promise.all([storage.update('a', (n) => Number(n) + 1), storage.set('a', 1), storage.get('a')]),
  clear: (storage) => storage.clear(),
  'clear({ prefix })': (storage) => storage.clear({ prefix: 'a' }),
  ready: (storage) => storage.ready(),
  flush: (storage) => storage.flush(),
};

/** Milliseconds until a call settles, however it does. */
async function took(call: Promise<unknown>): Promise<number> {
  const begin = performance.now();
  await call.catch(() => undefined);
  return performance.now() - begin;
}

describe('level 1', () => {
  let server: Level1Server;
  beforeEach(async () => {
    server = await startLevel1Server();
  });
  afterEach(() => server.stop().catch(() => undefined));

  /** Makes each call, and again, over a server of its own that is silent by then. Returns those that took too long. */
  async function tooLong(before: (storage: SyncedStorage) => Promise<unknown>): Promise<string[]> {
    const late: string[] = [];
    // The first call of all loads what talks to servers.
    await open(server.url).ready();
    await Promise.all(
      Object.entries(CALLS).map(async ([name, call]) => {
        const silent = await startLevel1Server();
        const storage = open(silent.url, { timeout });
        await before(storage);
        silent.before = () => true;
        for (const which of ['first', 'second']) {
          const ms = await took(call(storage));
          if (ms > timeout + MARGIN) late.push(`the ${which} ${name}: ${Math.round(ms)} ms`);
        }
        await storage.close();
        await silent.stop();
      }),
    );
    return late;
  }

  it('the first calls settle within the limit', async () => {
    expect(await tooLong(async () => undefined)).toEqual([]);
  });

  it('calls after ones that were answered settle within the limit', async () => {
    expect(await tooLong((storage) => storage.set('a', 0))).toEqual([]);
  });

  it('a server whose /health answers, and nothing else, is found to be away within the limit', async () => {
    server.before = ({ url }) => url !== '/health';
    const storage = open(server.url, { timeout });
    expect(await took(storage.set('a', 1))).toBeLessThan(timeout + MARGIN);
    expect(storage.status()).toMatchObject({ pending: 1, backend: 'indexeddb' });
    expect(await took(storage.get('b'))).toBeLessThan(timeout + MARGIN);
  });
});

describe('level 0', () => {
  let server: OldServer;
  beforeEach(async () => {
    server = await startOldServer();
  });
  afterEach(() => server.close());

  it('each call settles within the limit', async () => {
    const storage = open(server.url, { timeout });
    await storage.set('a', 0);
    server.intercept = () => true;
    for (const [name, call] of Object.entries(CALLS))
      expect(await took(call(storage)), name).toBeLessThan(timeout + MARGIN);
  }, 120_000);
});
