/** A server that accepts requests and never answers: one call has one limit, not one for each step (docs/guarantees.md, 11). */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Level1Server, startLevel1Server } from '../support/level1-server.ts';
import { type OldServer, startOldServer } from '../support/old-server.ts';
import { type SyncedStorage, syncedStorages } from '../support/synced-storages.ts';

const open = syncedStorages();
const timeout = 3000;
/** What a slow machine may take besides. Less than another limit. */
const MARGIN = 2000;
/** The same where many storages work at once. */
const MANY = { timeout: 12_000, margin: 6000 };

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

/** Holds a database in a transaction that does not end, as a tab does that is suspended inside one. Returns what ends it. */
async function holdDatabase(name: string): Promise<() => Promise<void>> {
  const database = await new Promise<IDBDatabase>((resolve, reject) => {
    const opening = indexedDB.open(name);
    opening.onsuccess = () => resolve(opening.result);
    opening.onerror = () => reject(opening.error);
  });
  const transaction = database.transaction([...database.objectStoreNames], 'readwrite');
  const store = transaction.objectStore(String(database.objectStoreNames[0]));
  let isReleased = false;
  const goOn = (): void => {
    if (!isReleased) store.get('').onsuccess = goOn;
  };
  goOn();
  return async () => {
    isReleased = true;
    await new Promise((done) => {
      transaction.oncomplete = done;
    });
    database.close();
  };
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
        const storage = open(silent.url, { timeout: MANY.timeout });
        await before(storage);
        silent.before = () => true;
        for (const which of ['first', 'second']) {
          const ms = await took(call(storage));
          if (ms > MANY.timeout + MANY.margin) late.push(`the ${which} ${name}: ${Math.round(ms)} ms`);
        }
        await storage.close();
        await silent.stop();
      }),
    );
    return late;
  }

  it('the first calls settle within the limit', async () => {
    expect(await tooLong(async () => undefined)).toEqual([]);
  }, 90_000);

  it('calls after ones that were answered settle within the limit', async () => {
    expect(await tooLong((storage) => storage.set('a', 0))).toEqual([]);
  }, 90_000);

  it('a server whose /health answers, and nothing else, is found to be away within the limit', async () => {
    server.before = ({ url }) => url !== '/health';
    const storage = open(server.url, { timeout });
    expect(await took(storage.set('a', 1))).toBeLessThan(timeout + MARGIN);
    expect(storage.status()).toMatchObject({ pending: 1, backend: 'indexeddb' });
    expect(await took(storage.get('b'))).toBeLessThan(timeout + MARGIN);
  });
});

describe('level 1, while writes wait', () => {
  let server: Level1Server;
  beforeEach(async () => {
    server = await startLevel1Server();
  });
  afterEach(() => server.stop().catch(() => undefined));

  /** A request without an answer ends with this, and so do each of the two that ask why. */
  const REQUEST_MS = 0.8 * timeout;
  const QUESTION_MS = 2000;
  /** Until an attempt to send has ended. */
  const ATTEMPT_MS = REQUEST_MS + 2 * QUESTION_MS;

  /** A storage that is online with an outbox, and whose server is silent from the first request with writes on. */
  async function withOutbox(isSilent: () => boolean): Promise<SyncedStorage> {
    await server.stop();
    const storage = open(server.url, { timeout });
    await storage.setMany([
      ['a1', 1],
      ['a2', 2],
    ]);
    let begin = (): void => {};
    const begun = new Promise<void>((resolve) => {
      begin = resolve;
    });
    let hasBegun = false;
    server.before = ({ batch }) => {
      if (batch?.m === undefined) return hasBegun && isSilent();
      hasBegun = true;
      begin();
      return true;
    };
    await server.start();
    await begun;
    return storage;
  }

  for (const [name, isSilent] of [
    ['that answers nothing', () => true],
    ['that answers reads only', () => false],
  ] as const) {
    it(`flush() with a server ${name} rejects after the attempts, and the writes stay`, async () => {
      const storage = await withOutbox(isSilent);
      // The attempt that is under way may have failed for what was so before: there is one more.
      const flushing = storage.flush();
      expect(await took(flushing)).toBeLessThan(2 * ATTEMPT_MS + MARGIN);
      await expect(flushing).rejects.toMatchObject({ code: 'unavailable' });
      expect(storage.status()).toMatchObject({ pending: 2, conflicts: 0 });
    }, 60_000);

    it(`clear({ prefix }) with a server ${name} settles within the limit, though the outbox is not sent by then`, async () => {
      const storage = await withOutbox(isSilent);
      expect(await took(storage.clear({ prefix: 'a' }))).toBeLessThan(timeout + MARGIN);
    }, 60_000);
  }

  it('flush() rejects while another tab sends nothing for 10 s', async () => {
    const database = 'held by another tab';
    await server.stop();
    const sender = open(server.url, { database, timeout: 300_000 });
    await sender.set('a', 1);
    let isOver = false;
    const sent = new Promise<void>((resolve) => {
      server.before = ({ batch }, response) => {
        if (batch?.m === undefined) return false;
        response.on('close', () => {
          isOver = true;
        });
        resolve();
        return true;
      };
    });
    await server.start();
    await sent;
    const storage = open(server.url, { database, timeout });
    const flushing = storage.flush();
    const ms = await took(flushing);
    await expect(flushing).rejects.toMatchObject({ code: 'unavailable' });
    // The other tab still waits for its answer.
    expect(isOver).toBe(false);
    expect(ms).toBeGreaterThan(9000);
    // The limit is one for the whole call: the lock is not waited for a second time.
    expect(ms).toBeLessThan(10_000 + MANY.margin);
    expect(storage.status()).toMatchObject({ pending: 1, conflicts: 0 });
    server.before = undefined;
  }, 90_000);
});

describe('a database of this device that another tab holds', () => {
  it('flush() in a new tab rejects within the limit', async () => {
    const server = await startLevel1Server();
    try {
      const database = 'held in a transaction';
      await server.stop();
      const storage = open(server.url, { database, timeout });
      await storage.set('a', 1);
      await storage.close();
      await server.start();
      const [entry] = (await open(server.url).outbox()).filter(({ serverUrl }) => serverUrl === server.url);
      const name = String(entry?.id).split(' ')[0] as string;
      const release = await holdDatabase(name);
      const flushing = open(server.url, { database, timeout }).flush();
      const ms = await took(flushing);
      await release();
      await expect(flushing).rejects.toMatchObject({ code: 'timeout' });
      expect(ms).toBeLessThan(timeout + MARGIN);
    } finally {
      await server.stop();
    }
  }, 60_000);
});

it('clear({ prefix }) settles after the limit of each further request, where a later one is not answered', async () => {
  const server = await startLevel1Server();
  try {
    const storage = open(server.url, { timeout });
    await storage.setMany(Array.from({ length: 600 }, (_, i) => [`a${i}`, i] as const));
    let deletes = 0;
    server.before = ({ batch }) => batch?.ops[0]?.op === 'delete' && ++deletes > 1;
    const ms = await took(storage.clear({ prefix: 'a' }));
    expect(deletes).toBeGreaterThan(1);
    expect(ms).toBeLessThan(timeout + 0.8 * timeout + MARGIN);
    expect(server.data.size).toBe(100);
    expect(await storage.keys()).toEqual([]);
  } finally {
    await server.stop();
  }
}, 60_000);

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
