/** What goes wrong with the database of this device while the server is there: it is deleted, it does not answer, it is forbidden (docs/guarantees.md, 3.4, 7.2, 7.3, 11). */
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { type Level1Server, startLevel1Server } from '../support/level1-server.ts';
import { startOldServer } from '../support/old-server.ts';
import { rejection } from '../support/rejection.ts';
import { type SyncedStorage, shut, syncedStorages } from '../support/synced-storages.ts';

const open = syncedStorages();
let server: Level1Server;

beforeEach(async () => {
  server = await startLevel1Server();
});
afterEach(() => server.stop().catch(() => undefined));

const theirs = (key: string, value: unknown): void => {
  server.apply({ ops: [{ op: 'put', key, value }] });
};

const done = <T>(request: IDBRequest<T>): Promise<T> =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

/** Opens a storage that is online, and returns the name of its database too. */
async function opened(options: Parameters<typeof open>[1] = {}): Promise<[SyncedStorage, string]> {
  const before = new Set((await indexedDB.databases()).map(({ name }) => name));
  const storage = open(server.url, options);
  await storage.ready();
  await storage.filled();
  const added = (await indexedDB.databases()).find(({ name }) => !before.has(name));
  return [storage, String(added?.name)];
}

describe('a database that is deleted while a storage is open', () => {
  it('is filled again from the server, and reads go on', async () => {
    theirs('a', 1);
    theirs('b', 2);
    const [storage, name] = await opened();
    expect(await storage.get('a')).toBe(1);
    await done(indexedDB.deleteDatabase(name));
    expect(await storage.getMany(['a', 'b'])).toEqual([1, 2]);
    await storage.filled();
    shut(server);
    expect(await storage.getMany(['a', 'b', 'none'])).toEqual([1, 2, undefined]);
    expect(await storage.keys()).toEqual(['a', 'b']);
  });

  it('while the server is away: what it held is unavailable, not missing', async () => {
    theirs('a', 1);
    const [storage, name] = await opened();
    shut(server);
    expect(await storage.get('a')).toBe(1);
    await done(indexedDB.deleteDatabase(name));
    for (const call of [
      () => storage.get('a'),
      () => storage.has('a'),
      () => storage.keys(),
      () => storage.count(),
      () => storage.stats(),
      () => Array.fromAsync(storage.entries()),
      () => storage.update('a', (n) => n),
    ])
      expect(await rejection(call())).toMatchObject({ code: 'unavailable' });
    await storage.set('a', 'mine');
    expect(await storage.get('a')).toBe('mine');
  });

  it('does not keep an acknowledged clear() from the server', async () => {
    theirs('a', 1);
    const [storage, name] = await opened();
    shut(server);
    await storage.has('a');
    await done(indexedDB.deleteDatabase(name));
    await storage.clear();
    server.before = undefined;
    await storage.flush();
    expect([...server.data.keys()]).toEqual([]);
    expect(server.applied.at(-1)).toBe('clear');
  });
});

describe('a database that another tab keeps in a transaction', () => {
  /** Keeps a transaction open over a database, as a tab does that is suspended in one. Returns what ends that. */
  async function keepBusy(name: string): Promise<() => void> {
    const database = await done(indexedDB.open(name));
    database.onversionchange = () => database.close();
    const store = database.transaction('storage', 'readwrite').objectStore('storage');
    let isBusy = true;
    const goOn = (): void => {
      if (isBusy) store.count().onsuccess = goOn;
    };
    goOn();
    const end = (): void => {
      isBusy = false;
      database.close();
    };
    onTestFinished(end);
    return end;
  }

  /** Milliseconds that the tests wait for a call: its limit, and some for a slow machine. */
  const timeout = 2000;
  const LIMIT = 2 * timeout;

  async function took<T>(call: () => Promise<T>): Promise<T> {
    const begin = performance.now();
    const result = await call();
    expect(performance.now() - begin).toBeLessThan(LIMIT);
    return result;
  }

  it('is passed over by all calls while the server is there, and used again after that', async () => {
    theirs('a', 1);
    const [storage, name] = await opened({ timeout });
    const end = await keepBusy(name);
    expect(await took(() => storage.get('a'))).toBe(1);
    await took(() => storage.set('b', 2));
    await took(() => storage.ready());
    expect(await took(() => storage.getMany(['a', 'b']))).toEqual([1, 2]);
    expect(await took(() => storage.update('b', (n) => Number(n) + 1))).toBe(3);
    expect(await took(() => storage.keys())).toEqual(['a', 'b']);
    expect(await took(() => Array.fromAsync(storage.entries()))).toEqual([
      ['a', 1],
      ['b', 3],
    ]);
    expect(await took(() => storage.count())).toBe(2);
    await took(() => storage.delete('a'));
    expect(storage.status()).toMatchObject({ state: 'online', backend: 'flask' });
    end();
    await vi.waitFor(() => storage.conflicts(), { timeout: 10_000 });
    await storage.filled();
    shut(server);
    expect(await storage.getMany(['a', 'b'])).toEqual([undefined, 3]);
    await storage.set('c', 4);
    server.before = undefined;
    await storage.flush();
    expect(server.data.get('c')?.value).toBe(4);
    expect(storage.status()).toMatchObject({ pending: 0, conflicts: 0 });
  }, 60_000);

  it('rejects calls while the server is away, the first within its limit and later ones at once', async () => {
    theirs('a', 1);
    const [storage, name] = await opened({ timeout });
    await keepBusy(name);
    await server.stop();
    const codes: string[] = [];
    for (let n = 0; n < 4; n += 1) codes.push((await took(() => rejection(storage.set('b', n)))).code);
    expect(codes.at(-1)).toBe('blocked');
    for (const code of codes) expect(code).toMatch(/^(timeout|blocked|unavailable)$/);
    const begin = performance.now();
    expect(await rejection(storage.get('a'))).toMatchObject({ code: 'blocked' });
    expect(performance.now() - begin).toBeLessThan(timeout / 2);
  }, 60_000);

  it('many writes of one call do not keep other tabs waiting: they are several short transactions', async () => {
    const [storage] = await opened({ timeout });
    await server.stop();
    const puts = new Map<IDBTransaction, number>();
    const { put } = IDBObjectStore.prototype;
    const counted = vi.spyOn(IDBObjectStore.prototype, 'put').mockImplementation(function (
      this: IDBObjectStore,
      ...given: Parameters<typeof put>
    ) {
      puts.set(this.transaction, (puts.get(this.transaction) ?? 0) + 1);
      return put.apply(this, given);
    });
    onTestFinished(() => counted.mockRestore());
    const entries = Array.from({ length: 1000 }, (_, i) => [`k${i}`, i] as const);
    await storage.setMany(entries);
    expect(Math.max(...puts.values())).toBeLessThan(500);
    expect(storage.status().pending).toBe(1000);
    expect(await storage.getMany(entries.map(([key]) => key))).toEqual(entries.map(([, value]) => value));
  }, 60_000);
});

describe('a browser that lets a site store nothing, as Firefox with all cookies blocked', () => {
  const insecure = (): DOMException => new DOMException('The operation is insecure.', 'SecurityError');
  const fails: ReadonlyArray<readonly [string, () => IDBOpenDBRequest]> = [
    [
      'open() throws',
      () => {
        throw insecure();
      },
    ],
    [
      'open() fails later',
      () => {
        const request = new EventTarget() as IDBOpenDBRequest;
        Object.assign(request, { error: insecure(), readyState: 'done' });
        setTimeout(() => request.onerror?.call(request, new Event('error')));
        return request;
      },
    ],
  ];
  for (const [name, fail] of fails)
    it(`uses the server for all calls where ${name}`, async () => {
      const stub = vi.spyOn(indexedDB, 'open').mockImplementation(fail);
      const locks = vi.spyOn(navigator.locks, 'request').mockRejectedValue(insecure());
      vi.stubGlobal('BroadcastChannel', () => {
        throw insecure();
      });
      onTestFinished(() => {
        stub.mockRestore();
        locks.mockRestore();
        vi.unstubAllGlobals();
      });
      const storage = open(server.url);
      const heard: unknown[] = [];
      storage.watch(undefined, ({ type, key, value, source }) => heard.push([type, key, value, source]));
      await storage.clear();
      await storage.set('a', 1);
      await storage.setMany([
        ['b', 2],
        ['c', 3],
      ]);
      expect(await storage.update('c', (n) => Number(n) + 1)).toBe(4);
      await storage.delete('b');
      await storage.ready();
      expect(await storage.getMany(['a', 'b', 'c'])).toEqual([1, undefined, 4]);
      expect(await storage.keys()).toEqual(['a', 'c']);
      expect(await Array.fromAsync(storage.entries())).toEqual([
        ['a', 1],
        ['c', 4],
      ]);
      expect(await storage.count()).toBe(2);
      expect(await storage.conflicts()).toEqual([]);
      expect(heard).toEqual([
        ['clear', undefined, undefined, 'local'],
        ['set', 'a', 1, 'local'],
        ['set', 'b', 2, 'local'],
        ['set', 'c', 3, 'local'],
        ['set', 'c', 4, 'local'],
        ['delete', 'b', undefined, 'local'],
      ]);
      await storage.flush();
      expect(storage.status()).toMatchObject({ state: 'online', backend: 'flask', level: 1, pending: 0 });
      await server.stop();
      expect(await rejection(storage.set('a', 2))).toMatchObject({
        name: 'StorageError',
        code: 'unavailable',
      });
      expect(await rejection(storage.get('a'))).toMatchObject({
        name: 'StorageError',
        code: 'unavailable',
        message: expect.stringMatching(/does not allow this site to store data/),
      });
      await server.start();
      await storage.ready();
      expect(await storage.get('a')).toBe(1);
    });

  it('tells the changes of this tab on a server of level 0 too', async () => {
    const stub = vi.spyOn(indexedDB, 'open').mockImplementation(() => {
      throw insecure();
    });
    onTestFinished(() => stub.mockRestore());
    const old = await startOldServer();
    onTestFinished(() => old.close());
    const storage = open(old.url);
    const heard: unknown[] = [];
    storage.watch(undefined, ({ type, key, value, source }) => heard.push([type, key, value, source]));
    await storage.set('a', 1);
    await storage.delete('a');
    await Promise.all([
      storage.set('a', 2),
      storage.clear(),
      storage.set('b', new Date(5)),
      storage.get('a'),
    ]);
    await vi.waitFor(() => expect(heard).toHaveLength(4), { timeout: 10_000 });
    expect(heard).toEqual([
      ['set', 'a', 1, 'local'],
      ['delete', 'a', undefined, 'local'],
      ['clear', undefined, undefined, 'local'],
      ['set', 'b', new Date(5), 'local'],
    ]);
  });
});
