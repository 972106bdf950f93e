/**
 * What IndexedDB does in a real browser and nowhere else: transactions, other tabs, lost connections.
 */
import { describe, expect, it, vi } from 'vitest';
import type { KeyValueStorage } from '../../src/index.ts';
import { databaseOfEachTest, settled } from '../support/browser-database.ts';

const { name, open, make } = databaseOfEachTest();

describe('transactions', () => {
  it('stores 1,000 sets of one turn in one transaction', async () => {
    const storage = open();
    await storage.ready();
    const transactions = vi.spyOn(IDBDatabase.prototype, 'transaction');
    await Promise.all(Array.from({ length: 1000 }, (_, i) => storage.set(`k${i}`, { i })));
    expect(transactions).toHaveBeenCalledTimes(1);
    transactions.mockClear();
    await storage.getMany(Array.from({ length: 1000 }, (_, i) => `k${i}`));
    expect(transactions.mock.calls.map(([, mode]) => mode)).toEqual(['readonly']);
  });

  it('resolves a write on complete: a success in a transaction that then aborts is a rejection', async () => {
    const storage = open();
    await storage.set('a', 1);
    // After a commit nothing but the engine aborts a transaction.
    vi.spyOn(IDBTransaction.prototype, 'commit').mockImplementation(() => {});
    const put = IDBObjectStore.prototype.put;
    vi.spyOn(IDBObjectStore.prototype, 'put').mockImplementation(function (this: IDBObjectStore, ...args) {
      const request = put.apply(this, args);
      request.addEventListener('success', () => this.transaction.abort());
      return request;
    });
    await expect(storage.set('a', 2)).rejects.toMatchObject({ code: 'unavailable' });
    vi.restoreAllMocks();
    expect(await storage.get('a')).toBe(1);
  });

  it('adds up the increments of two connections', async () => {
    const [one, other] = [open(), open()];
    const increment = (storage: KeyValueStorage) => storage.update('n', (n) => Number(n ?? 0) + 1);
    await Promise.all(Array.from({ length: 100 }, (_, i) => increment(i % 2 ? one : other)));
    expect(await one.get('n')).toBe(100);
  });
});

describe('reading in byte order', () => {
  it('takes a few transactions a page where every key ends in an emoji of its own stem', async () => {
    const storage = open();
    await storage.setMany(Array.from({ length: 3000 }, (_, i) => [`note:${i}🎉`, i]));
    const transactions = vi.spyOn(IDBDatabase.prototype, 'transaction');
    expect(await Array.fromAsync(storage.entries())).toHaveLength(3000);
    expect(transactions.mock.calls.length).toBeLessThan(20);
  });

  it('leaves out what is deleted while it is read', async () => {
    const storage = open();
    const keys = Array.from({ length: 2500 }, (_, i) => `🗝${String(i).padStart(4, '0')}`);
    await storage.setMany(keys.map((key) => [key, 1]));
    const met: string[] = [];
    for await (const [key, value] of storage.entries()) {
      if (met.length === 0) await storage.deleteMany(keys.slice(1500));
      expect(value).toBe(1);
      met.push(key);
    }
    expect(met.slice(0, 1000)).toEqual(keys.slice(0, 1000));
    expect(met.length).toBeLessThanOrEqual(2000);
  });
});

describe('a value over the engine’s limit', () => {
  it('is rejected alone', async () => {
    const storage = open();
    const outcomes = await Promise.allSettled([
      storage.set('small', 1),
      storage.set('big', 'x'.repeat(140e6)),
      storage.get('other'),
      storage.set('last', 2),
    ]);
    expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled', 'fulfilled']);
    expect(await storage.keys()).toEqual(['last', 'small']);
    expect(String((outcomes[1] as PromiseRejectedResult).reason)).toMatch(/Key big: .* 100 MB/);
    await expect(storage.set('big', 'x'.repeat(140e6))).rejects.toMatchObject({ code: 'unavailable' });
    expect(await storage.getMany(['small', 'last'])).toEqual([1, 2]);
  });
});

describe('an engine that fails', () => {
  it('is tried with a few keys of a large batch, not with each, and the message says what the usual reasons are', async () => {
    const storage = open();
    await storage.ready();
    const { transaction } = IDBDatabase.prototype;
    const attempts = vi.spyOn(IDBDatabase.prototype, 'transaction').mockImplementation(function (
      this: IDBDatabase,
      stores,
      mode,
      options,
    ) {
      if (mode === 'readwrite') throw new DOMException('Internal error', 'UnknownError');
      return transaction.call(this, stores, mode, options);
    });
    const outcomes = await Promise.allSettled(
      Array.from({ length: 1000 }, (_, i) => storage.set(`k${i}`, i)),
    );
    for (const outcome of outcomes)
      expect(outcome).toMatchObject({
        status: 'rejected',
        reason: {
          code: 'unavailable',
          message: expect.stringMatching(/damaged files.*full disk.*free disk space/),
        },
      });
    // Two for each part: a fresh connection is tried once.
    expect(attempts.mock.calls.length).toBeLessThan(100);
    vi.restoreAllMocks();
    await storage.set('a', 1);
    expect(await storage.keys()).toEqual(['a']);
  });
});

describe('a database that already exists', () => {
  it('of another program is opened once, however often it is refused', async () => {
    await make('another');
    const storage = open();
    const openings = vi.spyOn(IDBFactory.prototype, 'open');
    for (let i = 0; i < 3; i += 1)
      await expect(storage.get('a')).rejects.toMatchObject({ code: 'unavailable' });
    expect(openings).toHaveBeenCalledTimes(1);
  });

  it('reads and writes what deployed apps hold, and never raises its version', async () => {
    await make('storage', (store) => {
      store.put({ theme: 'dark' }, 'settings');
      store.put('kept', 'k'.repeat(2000));
      store.put('not ours', 42);
      store.put('not ours', new Uint8Array([1]));
    });
    const storage = open();
    expect(await storage.get('settings')).toEqual({ theme: 'dark' });
    expect(await storage.keys()).toEqual(['k'.repeat(2000), 'settings']);
    expect(await Array.fromAsync(storage.entries())).toHaveLength(2);
    expect(await storage.get('k'.repeat(2000))).toBe('kept');
    await storage.delete('k'.repeat(2000));
    await storage.set('settings', 1);
    const db = await settled(indexedDB.open(name()));
    expect(db.version).toBe(1);
    expect([...db.objectStoreNames]).toEqual(['storage']);
    db.close();
  });

  it('counts what cannot travel as 0 bytes', async () => {
    const { publicKey } = (await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, false, [
      'sign',
    ])) as CryptoKeyPair;
    await make('storage', (store) => {
      store.put(publicKey, 'crypto-key');
      store.put('x', 'text');
    });
    expect(await open().stats()).toEqual({ keys: 2, sizeBytes: 3 });
  });
});

describe('other tabs and lost connections', () => {
  it('lets another tab delete the database, and opens a new one after that', async () => {
    const storage = open();
    await storage.set('a', 1);
    await settled(indexedDB.deleteDatabase(name()));
    expect(await storage.get('a')).toBeUndefined();
    await storage.set('a', 2);
    expect(await storage.get('a')).toBe(2);
  });

  it('reopens a connection that was lost, and does the batch on the new one', async () => {
    const connections: IDBDatabase[] = [];
    const transaction = IDBDatabase.prototype.transaction;
    vi.spyOn(IDBDatabase.prototype, 'transaction').mockImplementation(function (this: IDBDatabase, ...args) {
      connections.push(this);
      return transaction.apply(this, args);
    });
    const storage = open();
    await storage.set('a', 1);
    connections[0]?.close();
    await storage.set('b', 2);
    expect(await storage.getMany(['a', 'b'])).toEqual([1, 2]);
    expect(new Set(connections).size).toBe(2);
  });

  it('rejects a write under which the browser closes the database, and lets the storage close', async () => {
    const storage = open();
    await storage.set('a', 1);
    const { put } = IDBObjectStore.prototype;
    vi.spyOn(IDBObjectStore.prototype, 'put').mockImplementation(function (this: IDBObjectStore, ...args) {
      queueMicrotask(() => this.transaction.db.dispatchEvent(new Event('close')));
      return put.apply(this, args);
    });
    const writing = storage.set('a', 2);
    await expect(writing).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining('Whether this write was stored'),
    });
    expect(await storage.get('a')).toBeDefined();
    await storage.close();
  });

  it('rejects with blocked when another tab keeps it from opening, and works once that tab lets go', async () => {
    await make('storage', (store) => store.put(1, 'a'));
    const holder = await settled(indexedDB.open(name()));
    const deleting = settled(indexedDB.deleteDatabase(name()));
    // Long enough for a slow machine to open it afterwards.
    const storage = open({ timeout: 2000 });
    await expect(storage.set('a', 2)).rejects.toMatchObject({ code: 'blocked' });
    holder.close();
    await deleting;
    await storage.set('b', 3);
    expect(await storage.keys()).toEqual(['b']);
  });

  it('closes at once while another tab keeps it from opening', async () => {
    await make('storage', (store) => store.put(1, 'a'));
    const holder = await settled(indexedDB.open(name()));
    const deleting = settled(indexedDB.deleteDatabase(name()));
    const storage = open();
    const openings = vi.spyOn(IDBFactory.prototype, 'open');
    const call = storage.set('a', 2).catch((error) => error.code);
    await expect.poll(() => openings.mock.calls.length).toBeGreaterThan(0);
    await storage.close();
    expect(await call).toBe('closed');
    holder.close();
    await deleting;
  });

  it('rejects with unavailable where there is no IndexedDB, says so, and works when there is', async () => {
    const storage = open();
    const real = Object.getOwnPropertyDescriptor(globalThis, 'indexedDB') as PropertyDescriptor;
    Object.defineProperty(globalThis, 'indexedDB', { value: undefined, configurable: true });
    try {
      await expect(storage.get('a')).rejects.toMatchObject({
        code: 'unavailable',
        message: expect.stringContaining('no IndexedDB'),
      });
    } finally {
      Object.defineProperty(globalThis, 'indexedDB', real);
    }
    expect(await storage.get('a')).toBeUndefined();
  });
});
