/**
 * What adoption promises about a real browser's databases: they are what they were, nothing is created, nobody is held up.
 */
import { afterEach, describe, expect, inject, it, vi } from 'vitest';
import { type KeyValueStorage, MigrationError } from '../../src/index.ts';
import { VALUES } from '../contract/samples.ts';
import { databaseOfEachTest, settled } from '../support/browser-database.ts';
import {
  bytesOf,
  deleteDatabase,
  fillBoth,
  makeCodeForgeDb,
  makeCodeForgeStorage,
} from '../support/old-databases.ts';
import { failure } from '../support/rejection.ts';

const NAMES = ['codeforge-storage', 'CodeForgeDB'] as const;
const { open } = databaseOfEachTest();
/** Nobody else uses this one in a browser: the contract suite cuts and clears its own. */
const server = inject('documentedServer');

afterEach(async () => {
  vi.restoreAllMocks();
  await Promise.all(NAMES.map(deleteDatabase));
});

const many = (count: number) => Array.from({ length: count }, (_, i) => [`k${i}`, { i }] as const);
const isOld = (name: string | undefined) => (NAMES as readonly unknown[]).includes(name);
/** WebKit lists a database of version 0 where one was opened and its creation aborted. It is not there to anybody else. */
const here = async () =>
  (await indexedDB.databases()).filter(({ name, version }) => isOld(name) && version !== 0);

/** What was begun in one of the old databases, and what was opened with a version. */
function watched() {
  const modes = new Set<unknown>();
  const versions = new Set<unknown>();
  const { transaction } = IDBDatabase.prototype;
  vi.spyOn(IDBDatabase.prototype, 'transaction').mockImplementation(function (this: IDBDatabase, ...args) {
    if (isOld(this.name)) modes.add(args[1]);
    return transaction.apply(this, args);
  });
  const { open } = IDBFactory.prototype;
  vi.spyOn(IDBFactory.prototype, 'open').mockImplementation(function (this: IDBFactory, ...args) {
    if (isOld(args[0])) versions.add(args[1]);
    return open.apply(this, args);
  });
  return { modes, versions };
}

describe('where nothing is', () => {
  for (const [engine, listed] of [
    ['that lists its databases', true],
    ['that does not', false],
  ] as const)
    it(`creates nothing in an engine ${engine}, and the old app begins at version 0 as ever`, async () => {
      if (!listed) vi.spyOn(IDBFactory.prototype, 'databases').mockRejectedValue(new Error('no list'));
      const storage = open();
      expect(await storage.oldDatabases()).toEqual([]);
      for (const name of NAMES)
        expect(await failure(storage.adopt(name))).toMatchObject({ code: 'unavailable' });
      vi.restoreAllMocks();
      expect(await here()).toEqual([]);
      const request = indexedDB.open('CodeForgeDB', 2);
      const upgrade = new Promise<number>((resolve) => {
        request.onupgradeneeded = ({ oldVersion }) => resolve(oldVersion);
      });
      expect(await upgrade).toBe(0);
      (await settled(request)).close();
    });
});

describe('every kind of value', () => {
  const entries = [
    ...VALUES,
    ['a File', new File(['bytes of a file'], 'notes.txt', { type: 'text/plain', lastModified: 5 })],
    ['a Blob inside', { blob: new Blob([new Uint8Array([0, 255, 128])], { type: 'x/y' }) }],
    ['ключ/🗝', 'a key of any script'],
  ] as const;

  async function adopts(storage: KeyValueStorage, name: (typeof NAMES)[number]): Promise<void> {
    await fillBoth(entries);
    const before = await bytesOf(name);
    const { modes, versions } = watched();
    expect(await storage.adopt(name)).toBe(entries.length);
    expect([...modes]).toEqual(['readonly']);
    expect([...versions]).toEqual([undefined]);
    vi.restoreAllMocks();
    for (const [key, value] of VALUES) expect(await storage.get(key), key).toStrictEqual(value);
    const file = (await storage.get('a File')) as File;
    expect([file.name, file.type, await file.text()]).toEqual(['notes.txt', 'text/plain', 'bytes of a file']);
    const { blob } = (await storage.get('a Blob inside')) as { blob: Blob };
    expect([...new Uint8Array(await blob.arrayBuffer())]).toEqual([0, 255, 128]);
    expect(await bytesOf(name)).toEqual(before);
  }

  for (const name of NAMES) {
    it(`of ${name} arrives in IndexedDB, and the old database is byte for byte what it was`, () =>
      adopts(open(), name));

    it(`of ${name} arrives at a server, and the old database is byte for byte what it was`, async () => {
      const remote = open({ useFlask: true, flaskUrl: server.url });
      await remote.clear();
      expect(remote.getBackendType()).toBe('flask');
      await adopts(remote, name);
      expect(remote.getBackendType()).toBe('flask');
      await remote.clear();
    });
  }

  it('that cannot travel is named, and the others are stored', async () => {
    const key = await crypto.subtle.generateKey({ name: 'AES-GCM', length: 128 }, false, ['encrypt']);
    await makeCodeForgeStorage([
      ['a', 1],
      ['secret', key],
    ]);
    const storage = open();
    const error = await failure(storage.adopt('codeforge-storage'));
    expect(error).toBeInstanceOf(MigrationError);
    expect(error).toMatchObject({ migrated: 1, failed: [{ key: 'secret' }] });
    expect(await storage.keys()).toEqual(['a']);
  });
});

describe('many entries', () => {
  for (const [name, make, store, version] of [
    ['codeforge-storage', makeCodeForgeStorage, 'kv-store', 1],
    ['CodeForgeDB', makeCodeForgeDb, 'keyvalue', 2],
  ] as const)
    it(`adopts 5,000 of ${name} in several pages`, async () => {
      await make(many(5000));
      const before = await bytesOf(name);
      const storage = open();
      expect(await storage.oldDatabases()).toEqual([
        { name, version, entries: 5000, stores: [{ name: store, entries: 5000, prefix: '' }] },
      ]);
      const pages: number[] = [];
      expect(await storage.adopt(name, { onProgress: ({ done }) => pages.push(done) })).toBe(5000);
      expect(pages.length).toBeGreaterThan(9);
      expect((await storage.stats()).keys).toBe(5000);
      expect(await storage.get('k4999')).toEqual({ i: 4999 });
      expect(await bytesOf(name)).toEqual(before);
    });
});

describe('old tabs of the old app', () => {
  it('go on writing, and are not told to let go', async () => {
    await makeCodeForgeDb(many(3000));
    const tab = await settled(indexedDB.open('CodeForgeDB'));
    let told = 0;
    tab.onversionchange = () => {
      told += 1;
    };
    const writes: Promise<unknown>[] = [];
    const onProgress = () => {
      const store = tab.transaction('keyvalue', 'readwrite').objectStore('keyvalue');
      writes.push(settled(store.put({ key: 'k7', value: `changed ${writes.length}` })));
    };
    const storage = open();
    await storage.oldDatabases();
    expect(await storage.adopt('CodeForgeDB', { onProgress })).toBe(3000);
    await Promise.all(writes);
    expect(writes.length).toBeGreaterThan(5);
    expect(told).toBe(0);
    tab.close();
  });

  it('upgrade the database while it is adopted: nothing blocks them, and every entry arrives', async () => {
    await makeCodeForgeDb(many(5000));
    let blocked = 0;
    let upgraded: Promise<IDBDatabase> | undefined;
    const onProgress = () => {
      if (upgraded !== undefined) return;
      const request = indexedDB.open('CodeForgeDB', 3);
      request.onblocked = () => {
        blocked += 1;
      };
      request.onupgradeneeded = () => request.result.createObjectStore('new');
      upgraded = settled(request);
    };
    const storage = open();
    expect(await storage.adopt('CodeForgeDB', { onProgress })).toBe(5000);
    const db = (await upgraded) as IDBDatabase;
    expect([db.version, blocked]).toEqual([3, 0]);
    expect(await storage.oldDatabases()).toMatchObject([{ version: 3, entries: 5000 }]);
    db.close();
  });

  it('delete the database while it is adopted: that is an error, and it stays deleted', async () => {
    await makeCodeForgeDb(many(5000));
    let deleted: Promise<void> | undefined;
    const onProgress = () => {
      deleted ??= deleteDatabase('CodeForgeDB');
    };
    const error = await failure(open().adopt('CodeForgeDB', { onProgress }));
    expect(error).toMatchObject({ code: 'migration', cause: { code: 'unavailable' } });
    expect(error.message).toContain('no IndexedDB database CodeForgeDB');
    expect(error.migrated).toBeLessThan(5000);
    await deleted;
    expect(await here()).toEqual([]);
  });
});

describe('a database that another tab keeps from opening', () => {
  it('is blocked after the time limit, and creates nothing when it opens at last', async () => {
    await makeCodeForgeDb(many(1));
    const holder = await settled(indexedDB.open('CodeForgeDB'));
    const deleting = deleteDatabase('CodeForgeDB');
    const storage = open({ timeout: 200 });
    await expect(storage.oldDatabases()).rejects.toMatchObject({ code: 'blocked' });
    await expect(storage.adopt('CodeForgeDB')).rejects.toMatchObject({ code: 'blocked' });
    holder.close();
    await deleting;
    // Of its own: on a busy machine opening takes longer than the other one waits.
    expect(await open().oldDatabases()).toEqual([]);
    expect(await here()).toEqual([]);
  });

  it('is not held by the call that no longer waits', async () => {
    await makeCodeForgeDb(many(1));
    const holder = await settled(indexedDB.open('CodeForgeDB'));
    const upgrading = settled(indexedDB.open('CodeForgeDB', 3));
    const storage = open({ timeout: 200 });
    await expect(storage.oldDatabases()).rejects.toMatchObject({ code: 'blocked' });
    holder.close();
    (await upgrading).close();
    expect(await open().oldDatabases()).toMatchObject([{ version: 3, entries: 1 }]);
    // It would wait for ever for a connection that nobody closes. That it waits at all tells nothing: closing takes effect later.
    await deleteDatabase('CodeForgeDB');
    expect(await here()).toEqual([]);
  });
});
