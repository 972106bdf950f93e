import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createStorage, type KeyValueStorage, MigrationError, type StorageOptions } from '../../src/index.ts';
import {
  contentsOf,
  deleteDatabase,
  fillBoth,
  makeCodeForgeDb,
  makeCodeForgeStorage,
  makeDatabase,
  makeFullCodeForgeDb,
} from '../support/old-databases.ts';
import { startOldServer } from '../support/old-server.ts';
import { failure } from '../support/rejection.ts';

const NAMES = ['codeforge-storage', 'CodeForgeDB'] as const;
const opened: KeyValueStorage[] = [];
let databases = 0;
let storage: KeyValueStorage;

function open(options: StorageOptions = {}): KeyValueStorage {
  const one = createStorage({ database: `adoption-${databases}`, logger: false, ...options });
  opened.push(one);
  return one;
}

beforeEach(() => {
  databases += 1;
  storage = open();
});
afterEach(async () => {
  vi.restoreAllMocks();
  await Promise.all(opened.splice(0).map((one) => one.close()));
  await Promise.all(NAMES.map(deleteDatabase));
});

const namesHere = async () => (await indexedDB.databases()).map(({ name }) => name);
/** What an engine that has no list of its databases does. */
const withoutList = () => vi.spyOn(indexedDB, 'databases').mockRejectedValue(new Error('no list'));

describe('oldDatabases()', () => {
  it('lists what is there, with its stores, version and number of records', async () => {
    await fillBoth([
      ['a', 1],
      ['b', 2],
    ]);
    expect(await storage.oldDatabases()).toEqual([
      {
        name: 'codeforge-storage',
        version: 1,
        entries: 2,
        stores: [{ name: 'kv-store', entries: 2, prefix: '' }],
      },
      { name: 'CodeForgeDB', version: 2, entries: 2, stores: [{ name: 'keyvalue', entries: 2, prefix: '' }] },
    ]);
  });

  it('lists every store of the old app, and stores that nobody knows', async () => {
    await makeFullCodeForgeDb();
    expect(await storage.oldDatabases()).toEqual([
      {
        name: 'CodeForgeDB',
        version: 2,
        entries: 12,
        stores: [
          { name: 'keyvalue', entries: 2, prefix: '' },
          ...['projects', 'files', 'models', 'components', 'workflows'].map((name) => ({
            name,
            entries: name === 'projects' ? 3 : 1,
            prefix: `${name}:`,
          })),
          { name: 'settings', entries: 1, prefix: 'settings:' },
          { name: 'empty', entries: 0, prefix: undefined },
          { name: 'notes', entries: 2, prefix: undefined },
        ],
      },
    ]);
  });

  it('lists nothing where nothing is, and creates nothing', async () => {
    const before = await namesHere();
    expect(await storage.oldDatabases()).toEqual([]);
    expect(await namesHere()).toEqual(before);
  });

  it('creates nothing where the engine does not list its databases either', async () => {
    const before = await namesHere();
    const list = withoutList();
    expect(await storage.oldDatabases()).toEqual([]);
    expect(await failure(storage.adopt('CodeForgeDB'))).toMatchObject({ code: 'unavailable' });
    list.mockRestore();
    expect(await namesHere()).toEqual(before);
  });

  it('finds what is there where the engine does not list its databases', async () => {
    await makeCodeForgeDb([['a', 1]]);
    withoutList();
    expect(await storage.oldDatabases()).toMatchObject([{ name: 'CodeForgeDB', entries: 1 }]);
  });

  it('lists another layout under a known name, of which nothing can be adopted', async () => {
    await makeDatabase('codeforge-storage', 3, (db) => {
      db.createObjectStore('items');
      db.createObjectStore('other');
    });
    await makeDatabase('CodeForgeDB', 2, (db) => void db.createObjectStore('keyvalue', { keyPath: 'id' }));
    const unknown = { entries: 0, prefix: undefined };
    expect(await storage.oldDatabases()).toEqual([
      {
        name: 'codeforge-storage',
        version: 3,
        entries: 0,
        stores: [
          { name: 'items', ...unknown },
          { name: 'other', ...unknown },
        ],
      },
      { name: 'CodeForgeDB', version: 2, entries: 0, stores: [{ name: 'keyvalue', ...unknown }] },
    ]);
    expect(await failure(storage.adopt('codeforge-storage'))).toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining(
        '(version 3) has the stores [items, other], and none of a known layout',
      ),
    });
    expect(await failure(storage.adopt('CodeForgeDB'))).toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining('the stores [keyvalue]'),
    });
  });

  it('is closed with the storage', async () => {
    await storage.close();
    expect(await failure(storage.oldDatabases())).toMatchObject({ code: 'closed' });
    expect(await failure(storage.adopt('CodeForgeDB'))).toMatchObject({ code: 'closed' });
  });
});

describe('adopt()', () => {
  for (const name of NAMES) {
    it(`copies every entry of ${name}, and leaves it as it is`, async () => {
      await fillBoth(Array.from({ length: 1234 }, (_, i) => [`k${i}`, { i, at: new Date(i) }]));
      const before = await contentsOf(name);
      const progress: unknown[] = [];
      expect(await storage.adopt(name, { onProgress: (one) => progress.push(one) })).toBe(1234);
      expect(await storage.get('k77')).toEqual({ i: 77, at: new Date(77) });
      expect((await storage.stats()).keys).toBe(1234);
      expect(await contentsOf(name)).toEqual(before);
      expect(progress.at(-1)).toMatchObject({ phase: 'copy', done: 1234, total: 1234 });
    });

    it(`tells with dryRun what would become of ${name}, and writes nothing`, async () => {
      await fillBoth([
        ['a', 1],
        ['b', 2],
        ['c', 3],
        ['', 4],
      ]);
      await storage.setMany([
        ['a', 1],
        ['b', 'other'],
      ]);
      expect(await storage.adopt(name, { dryRun: true })).toEqual({
        entries: 4,
        bytes: 3,
        equal: 1,
        conflicts: ['b'],
        refused: [{ key: '', reason: expect.stringContaining('a key is') }],
      });
      expect(await storage.keys()).toEqual(['a', 'b']);
    });

    it(`adopts an empty ${name} as 0`, async () => {
      await fillBoth([]);
      expect(await storage.adopt(name)).toBe(0);
    });
  }

  it('reads pages of at most 250 records, and loses no key between them, whatever its script', async () => {
    const keys = ['a', 'ü', '\uffff', '🗝', '🗝🗝', 'z'];
    await makeCodeForgeStorage([
      ...keys.map((key) => [key, key] as const),
      ...Array.from({ length: 3000 }, (_, i) => [`n${i}`, i] as const),
    ]);
    const getAll = vi.spyOn(IDBObjectStore.prototype, 'getAll');
    expect(await storage.adopt('codeforge-storage')).toBe(3006);
    const pages = getAll.mock.calls.filter(
      (_, i) => (getAll.mock.contexts[i] as IDBObjectStore).name === 'kv-store',
    );
    expect(pages.length).toBeGreaterThanOrEqual(12);
    for (const [, count] of pages) expect(count).toBeLessThanOrEqual(250);
    expect(await storage.getMany(keys)).toEqual(keys);
  });

  it('overwrites, skips or fails where another value is there', async () => {
    await makeCodeForgeDb([
      ['a', 'old'],
      ['b', 'old'],
    ]);
    await storage.set('a', 'new');
    const error = await failure(storage.adopt('CodeForgeDB', { onConflict: 'fail' }));
    expect(error).toBeInstanceOf(MigrationError);
    expect(error).toMatchObject({ migrated: 0, failed: [{ key: 'a' }] });
    expect(await storage.keys()).toEqual(['a']);
    expect(await storage.adopt('CodeForgeDB', { onConflict: 'skip' })).toBe(1);
    expect(await storage.getMany(['a', 'b'])).toEqual(['new', 'old']);
    expect(await storage.adopt('CodeForgeDB')).toBe(2);
    expect(await storage.get('a')).toBe('old');
  });

  it('names records that are not of the layout, and stores the others', async () => {
    await makeDatabase('CodeForgeDB', 2, (db) => {
      const store = db.createObjectStore('keyvalue', { keyPath: 'key' });
      store.put({ key: 'kept', value: undefined });
      store.put({ key: 'more', value: 1, savedAt: 5 });
      store.put({ key: 'bare' });
      store.put({ key: 42, value: 1 });
      store.put({ key: new Date(0), value: 1 });
      store.put({ key: ['a', 1], value: 1 });
      store.put({ key: new Uint8Array([1, 171]), value: 1 });
    });
    const error = await failure(storage.adopt('CodeForgeDB'));
    expect(error).toMatchObject({ code: 'migration', migrated: 2, skipped: 0 });
    expect(error.failed.map(({ key }) => key)).toEqual([
      'bare',
      'number 42',
      'date 1970-01-01T00:00:00.000Z',
      'bytes 01ab',
      'array ["a", number 1]',
    ]);
    expect(error.failed[0]?.reason).toContain('no value');
    expect(error.failed[1]?.reason).toContain('not a string');
    expect(await storage.keys()).toEqual(['kept', 'more']);
    expect(await storage.get('more')).toBe(1);
  });

  it('never counts a key that is no string as the string that stands for it', async () => {
    await makeDatabase('codeforge-storage', 1, (db) => {
      const store = db.createObjectStore('kv-store');
      store.put('of the number', 42);
      store.put('of the text', 'number 42');
    });
    const error = await failure(storage.adopt('codeforge-storage'));
    expect(error).toMatchObject({ migrated: 1, failed: [{ key: 'number 42 (not the key of this name)' }] });
    expect(await storage.get('number 42')).toBe('of the text');
  });

  it('copies the records of every known store as <store>:<id>, and names the others', async () => {
    await makeFullCodeForgeDb();
    const before = await contentsOf('CodeForgeDB');
    const error = await failure(storage.adopt('CodeForgeDB'));
    expect(error).toMatchObject({
      migrated: 10,
      failed: [{ key: 'store notes', reason: expect.stringContaining('2 records of the store notes') }],
    });
    const refused: string[] = [];
    const onRefused = ({ key }: { key: string }) => void refused.push(key);
    expect(await storage.adopt('CodeForgeDB', { onRefused })).toBe(10);
    expect(refused).toEqual(['store notes']);
    expect(await storage.keys()).toEqual([
      'a',
      'b',
      'components:x',
      'files:x',
      'models:x',
      'projects:7',
      'projects:p1',
      'projects:ü',
      'settings:theme',
      'workflows:x',
    ]);
    expect(await storage.get('projects:p1')).toEqual({ id: 'p1', name: 'First', at: new Date(5) });
    expect(await storage.get('projects:7')).toEqual({ id: 7, name: 'Seventh' });
    expect(await storage.get('settings:theme')).toEqual({ key: 'theme', value: 'dark' });
    expect(await contentsOf('CodeForgeDB')).toEqual(before);
  });

  it('never copies two records to one key: the second one is named', async () => {
    await makeDatabase('CodeForgeDB', 2, (db) => {
      db.createObjectStore('keyvalue', { keyPath: 'key' }).put({ key: 'projects:p1', value: 'of keyvalue' });
      const projects = db.createObjectStore('projects', { keyPath: 'id' });
      for (const id of ['p1', '42', 42, 43, new Date(0)]) projects.put({ id });
    });
    const error = await failure(storage.adopt('CodeForgeDB'));
    expect(error.failed.map(({ key }) => key)).toEqual([
      'projects: "p1"',
      'projects: number 42',
      'projects: date 1970-01-01T00:00:00.000Z',
    ]);
    expect(await storage.getMany(['projects:p1', 'projects:42', 'projects:43'])).toEqual([
      'of keyvalue',
      { id: '42' },
      { id: 43 },
    ]);
    expect(error.migrated).toBe(3);
  });

  it('names a record that the engine cannot read, and copies the others', async () => {
    await makeCodeForgeDb([
      ['a', 1],
      ['b', 2],
      ['c', 3],
    ]);
    const { get, getAll } = IDBObjectStore.prototype;
    const fail = (request: IDBRequest): IDBRequest =>
      Object.defineProperties(request, {
        error: { get: () => new DOMException('The file is gone.', 'NotReadableError'), set() {} },
        result: { get: () => undefined, set() {} },
      });
    vi.spyOn(IDBObjectStore.prototype, 'get').mockImplementation(function (this: IDBObjectStore, key) {
      const request = get.call(this, key);
      return this.name === 'keyvalue' && key === 'b' ? fail(request) : request;
    });
    vi.spyOn(IDBObjectStore.prototype, 'getAll').mockImplementation(function (this: IDBObjectStore, ...args) {
      const request = getAll.apply(this, args);
      return this.name === 'keyvalue' ? fail(request) : request;
    });
    const error = await failure(storage.adopt('CodeForgeDB'));
    expect(error).toMatchObject({ migrated: 2, failed: [{ key: 'b' }] });
    expect(error.failed[0]?.reason).toContain('NotReadableError');
  });

  it('names hundreds of keys that are no strings, on both sides of those that are', async () => {
    await makeDatabase('codeforge-storage', 1, (db) => {
      const store = db.createObjectStore('kv-store');
      for (let i = 0; i < 600; i++) {
        store.put(i, i);
        store.put(i, [i]);
      }
      store.put('kept', 'kept');
    });
    const error = await failure(storage.adopt('codeforge-storage'));
    expect(error.failed).toHaveLength(1200);
    expect(error.migrated).toBe(1);
  });

  it('names values that cannot be stored', async () => {
    await makeCodeForgeStorage([
      ['a', 1],
      ['match', /a/.exec('a')],
    ]);
    const error = await failure(storage.adopt('codeforge-storage'));
    expect(error).toMatchObject({ migrated: 1, failed: [{ key: 'match' }] });
  });

  it('copies to a server that is in use', async () => {
    const server = await startOldServer();
    try {
      const remote = open({ useFlask: true, flaskUrl: server.url });
      await makeCodeForgeDb([
        ['a', 1],
        ['d', new Date(5)],
      ]);
      expect(await remote.adopt('CodeForgeDB')).toBe(2);
      expect(server.data.get('a')).toBe(1);
      expect(await remote.get('d')).toEqual(new Date(5));
      await remote.close();
    } finally {
      await server.close();
    }
  });

  it('refuses a name that is none, with those that are known', async () => {
    const error = await failure(storage.adopt('other' as 'CodeForgeDB'));
    expect(error).toMatchObject({ code: 'invalid-option' });
    expect(error.message).toContain("'codeforge-storage' or 'CodeForgeDB'");
  });

  it('refuses options that there are not', async () => {
    const given = { activate: true } as object;
    expect(await failure(storage.adopt('CodeForgeDB', given))).toMatchObject({ code: 'invalid-option' });
  });

  it('says that a database is not there, and creates none', async () => {
    const before = await namesHere();
    const error = await failure(storage.adopt('CodeForgeDB'));
    expect(error).toMatchObject({ name: 'StorageError', code: 'unavailable' });
    expect(error.message).toContain('no IndexedDB database CodeForgeDB');
    expect(await namesHere()).toEqual(before);
  });

  it('refuses the database that the storage itself uses, and does not list it', async () => {
    const own = open({ database: 'codeforge-storage' });
    await own.set('a', 1);
    expect(await own.oldDatabases()).toEqual([]);
    expect(await failure(own.adopt('codeforge-storage'))).toMatchObject({
      code: 'invalid-option',
      message: expect.stringContaining('itself uses'),
    });
  });

  it('ends with what was verified when it is aborted', async () => {
    await makeCodeForgeStorage(Array.from({ length: 2000 }, (_, i) => [`k${i}`, i]));
    const aborting = new AbortController();
    const onProgress = () => aborting.abort();
    const error = await failure(storage.adopt('codeforge-storage', { signal: aborting.signal, onProgress }));
    expect(error).toMatchObject({
      code: 'migration',
      message: expect.stringContaining('start from the beginning'),
    });
    expect(error.migrated).toBeLessThan(2000);
    expect(await storage.adopt('codeforge-storage')).toBe(2000);
  });
});

describe('where there is no IndexedDB', () => {
  it('rejects with unavailable, not with an empty list', async () => {
    const server = await startOldServer();
    vi.stubGlobal('indexedDB', undefined);
    try {
      const remote = open({ useFlask: true, flaskUrl: server.url });
      for (const one of [storage, remote]) {
        expect(await failure(one.oldDatabases())).toMatchObject({ code: 'unavailable' });
        expect(await failure(one.adopt('CodeForgeDB'))).toMatchObject({
          code: 'unavailable',
          message: expect.stringContaining('no IndexedDB'),
        });
      }
    } finally {
      vi.unstubAllGlobals();
      await server.close();
    }
  });
});
