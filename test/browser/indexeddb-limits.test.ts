/**
 * Time limits, Blobs that an engine refuses, and durability of the IndexedDB backend, in a real browser.
 */
import { describe, expect, it, vi } from 'vitest';
import { databaseOfEachTest, settled } from '../support/browser-database.ts';

const { name, open } = databaseOfEachTest();

const LIMIT_MS = 400;

/** Begins a transaction of another tab that lasts until it is released. Others wait for it, as they wait for a suspended tab. */
async function occupy(): Promise<() => Promise<void>> {
  const db = await settled(indexedDB.open(name()));
  const transaction = db.transaction('storage', 'readwrite');
  const ended = new Promise((resolve) => {
    transaction.oncomplete = resolve;
  });
  const store = transaction.objectStore('storage');
  let isReleased = false;
  const next = (): void => {
    if (!isReleased) store.get('').onsuccess = next;
  };
  next();
  return async () => {
    isReleased = true;
    await ended;
    db.close();
  };
}

/** The time in milliseconds until `call` rejects with `timeout`, and its message. */
async function timeoutOf(call: Promise<unknown>): Promise<{ ms: number; message: string }> {
  const begun = performance.now();
  const error = await call.then(
    () => undefined,
    (error) => error,
  );
  expect(error).toMatchObject({ name: 'StorageError', code: 'timeout' });
  return { ms: performance.now() - begun, message: error.message };
}

describe('while a transaction of another tab does not end', () => {
  it('a write rejects within its time limit, says that it may have been stored, and arrives later', async () => {
    const storage = open({ timeout: LIMIT_MS });
    await storage.set('a', 1);
    const release = await occupy();
    const { ms, message } = await timeoutOf(storage.set('a', 2));
    expect(ms).toBeGreaterThan(LIMIT_MS / 2);
    expect(message).toMatch(/whether this write was stored is not known/i);
    await release();
    expect(await storage.get('a')).toBe(2);
  });

  it('an update is aborted, says that nothing was stored, and stores nothing later', async () => {
    const storage = open({ timeout: LIMIT_MS });
    await storage.set('a', 1);
    const release = await occupy();
    const { message } = await timeoutOf(storage.update('a', () => 2));
    expect(message).toMatch(/nothing was stored/i);
    await release();
    expect(await storage.get('a')).toBe(1);
  });

  it('every kind of read rejects within its time limit', async () => {
    const storage = open({ timeout: LIMIT_MS });
    const keys = Array.from({ length: 40 }, (_, i) => `k${i}`);
    await storage.setMany(keys.map((key) => [key, 1]));
    const release = await occupy();
    await timeoutOf(storage.get('k1'));
    await timeoutOf(storage.getMany(keys));
    await timeoutOf(storage.keys());
    await timeoutOf(Array.fromAsync(storage.entries()));
    await timeoutOf(storage.stats());
    await release();
    expect(await storage.getMany(keys)).toEqual(keys.map(() => 1));
  });

  it('close() ends, and the calls under way settle', async () => {
    const storage = open({ timeout: LIMIT_MS });
    await storage.set('a', 1);
    const release = await occupy();
    const calls = [storage.set('a', 2), storage.keys()];
    const outcomes = Promise.allSettled(calls);
    await storage.close();
    expect(await outcomes).toMatchObject([
      { status: 'rejected', reason: { code: expect.stringMatching(/timeout|closed/) } },
      { status: 'rejected', reason: { code: 'closed' } },
    ]);
    await release();
  });
});

describe('a time limit', () => {
  it('does not end a transaction that makes progress for longer', async () => {
    const limitMs = 2000;
    const storage = open({ timeout: limitMs });
    await storage.ready();
    const begun = performance.now();
    const increments = Array.from({ length: 600 }, () =>
      storage.update('n', (n) => {
        // Work of the app between two requests.
        const until = performance.now() + 5;
        while (performance.now() < until);
        return Number(n ?? 0) + 1;
      }),
    );
    expect((await Promise.all(increments)).at(-1)).toBe(600);
    expect(performance.now() - begun).toBeGreaterThan(limitMs);
  });
});

describe('Blobs', () => {
  it('are written in transactions of their own, in the order of the calls', async () => {
    const storage = open();
    await storage.ready();
    const transactions: IDBTransaction[] = [];
    const { put } = IDBObjectStore.prototype;
    vi.spyOn(IDBObjectStore.prototype, 'put').mockImplementation(function (this: IDBObjectStore, value, key) {
      if (!transactions.includes(this.transaction)) transactions.push(this.transaction);
      return put.call(this, value, key);
    });
    const blob = (text: string): Blob => new Blob([text]);
    await Promise.all([
      storage.set('a', 1),
      storage.set('b', blob('b')),
      storage.set('c', { inside: [blob('c')] }),
      storage.set('a', blob('a')),
      storage.set('b', 2),
      storage.set('d', 3),
    ]);
    expect(transactions).toHaveLength(3);
    expect(await storage.getMany(['b', 'd'])).toEqual([2, 3]);
    expect(await ((await storage.get('a')) as Blob).text()).toBe('a');
  });

  it('are refused by name where the engine refuses them, and everything else is stored', async () => {
    const storage = open({ timeout: LIMIT_MS });
    await storage.ready();
    const { put } = IDBObjectStore.prototype;
    // As WebKit does in a private window: if a request is under way, the transaction ends without an event.
    const pending = new Map<IDBTransaction, number>();
    vi.spyOn(IDBObjectStore.prototype, 'put').mockImplementation(function (this: IDBObjectStore, value, key) {
      const before = pending.get(this.transaction) ?? 0;
      if (!(value instanceof Blob)) {
        pending.set(this.transaction, before + 1);
        return put.call(this, value, key);
      }
      if (before > 0) {
        const endless = (): void => {
          this.get('').onsuccess = endless;
        };
        endless();
        vi.spyOn(this.transaction, 'commit').mockImplementation(() => {});
      }
      const request: IDBRequest<IDBValidKey> = this.get('');
      const error = new DOMException('Error preparing Blob/File data', 'UnknownError');
      Object.defineProperties(request, { error: { value: error }, result: { value: undefined } });
      return request;
    });
    const outcomes = await Promise.allSettled([
      storage.set('a', 1),
      storage.set('b', new Blob(['b'])),
      storage.update('c', () => new Blob(['c'])),
      storage.set('d', 2),
    ]);
    expect(outcomes).toMatchObject([
      { status: 'fulfilled' },
      {
        status: 'rejected',
        reason: {
          code: 'unsupported',
          message: expect.stringMatching(/Key b: Blobs cannot be stored in this window/),
        },
      },
      { status: 'rejected', reason: { code: 'unsupported' } },
      { status: 'fulfilled' },
    ]);
    vi.restoreAllMocks();
    expect(await storage.getMany(['a', 'b', 'c', 'd'])).toEqual([1, undefined, undefined, 2]);
  });
});

describe('durability', () => {
  /** The durability of each write transaction that `work` makes. */
  async function durabilityOf(work: () => Promise<unknown>): Promise<Set<string>> {
    const found = new Set<string>();
    const { transaction } = IDBDatabase.prototype;
    vi.spyOn(IDBDatabase.prototype, 'transaction').mockImplementation(function (this: IDBDatabase, ...given) {
      const made = transaction.apply(this, given);
      if (made.mode === 'readwrite') found.add(made.durability);
      return made;
    });
    await work();
    vi.restoreAllMocks();
    return found;
  }

  it('of a write is relaxed, and strict with the option', async () => {
    for (const durability of [undefined, 'relaxed', 'strict'] as const) {
      const storage = open({ durability });
      await storage.ready();
      const found = await durabilityOf(async () => {
        await storage.set('a', 1);
        await storage.update('a', () => 2);
        await storage.getMany(Array.from({ length: 40 }, (_, i) => `k${i}`));
        await storage.setMany([['b', new Blob(['b'])]]);
        await storage.clear();
      });
      expect([...found]).toEqual([durability ?? 'relaxed']);
      await storage.close();
    }
  });

  it('of an import is strict', async () => {
    const storage = open();
    await storage.setMany([
      ['a', 1],
      ['b', 2],
    ]);
    const backup = await storage.export({ as: 'blob' });
    await storage.clear();
    const found = await durabilityOf(() => storage.import(backup));
    expect([...found]).toEqual(['strict']);
    expect(await storage.getMany(['a', 'b'])).toEqual([1, 2]);
  });
});
