/** The databases that older apps have left, made as those apps made them. */
import { encode } from '../../src/core/json.ts';
import { snapshot } from '../../src/core/values.ts';

type Entries = ReadonlyArray<readonly [key: string, value: unknown]>;

const settled = <T>(request: IDBRequest<T>): Promise<T> =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

/** Make a database. */
export async function makeDatabase(
  name: string,
  version: number,
  make: (db: IDBDatabase) => void,
): Promise<void> {
  const request = indexedDB.open(name, version);
  request.onupgradeneeded = () => make(request.result);
  (await settled(request)).close();
}

/** `codeforge-storage`: keys outside of the values. */
export const makeCodeForgeStorage = (entries: Entries): Promise<void> =>
  makeDatabase('codeforge-storage', 1, (db) => {
    const store = db.createObjectStore('kv-store');
    for (const [key, value] of entries) store.put(value, key);
  });

/** `CodeForgeDB`: records of a key and a value. */
export const makeCodeForgeDb = (entries: Entries): Promise<void> =>
  makeDatabase('CodeForgeDB', 2, (db) => {
    const store = db.createObjectStore('keyvalue', { keyPath: 'key' });
    for (const [key, value] of entries) store.put({ key, value });
  });

/** `CodeForgeDB` with every store of the old app, and two that are not of it. */
export const makeFullCodeForgeDb = (): Promise<void> =>
  makeDatabase('CodeForgeDB', 2, (db) => {
    const keyvalue = db.createObjectStore('keyvalue', { keyPath: 'key' });
    keyvalue.put({ key: 'a', value: 1 });
    keyvalue.put({ key: 'b', value: 2 });
    for (const name of ['projects', 'files', 'models', 'components', 'workflows']) {
      const store = db.createObjectStore(name, { keyPath: 'id' });
      if (name !== 'projects') store.put({ id: 'x', of: name });
      else {
        store.put({ id: 'p1', name: 'First', at: new Date(5) });
        store.put({ id: 'ü' });
        store.put({ id: 7, name: 'Seventh' });
      }
    }
    db.createObjectStore('settings', { keyPath: 'key' }).put({ key: 'theme', value: 'dark' });
    db.createObjectStore('empty');
    const notes = db.createObjectStore('notes', { autoIncrement: true });
    notes.put('one');
    notes.put('two');
  });

/** Both of them with the same entries. */
export async function fillBoth(entries: Entries): Promise<void> {
  await makeCodeForgeStorage(entries);
  await makeCodeForgeDb(entries);
}

/** Everything that a database is: its version, its stores, and what is in them. */
export async function contentsOf(name: string) {
  const db = await settled(indexedDB.open(name));
  const stores = [];
  for (const store of [...db.objectStoreNames]) {
    const reading = db.transaction(store).objectStore(store);
    const { keyPath, autoIncrement } = reading;
    const [keys, values] = await Promise.all([settled(reading.getAllKeys()), settled(reading.getAll())]);
    stores.push({ store, keyPath, autoIncrement, indexes: [...reading.indexNames], keys, values });
  }
  const { version } = db;
  db.close();
  return { version, stores };
}

const textOf = async (value: unknown): Promise<string> => encode(snapshot(value));

/** The members of a record each by themselves: a value may be as deep as values may be. */
const textsOf = (record: object): Promise<unknown> =>
  Promise.all(Object.entries(record).map(async ([name, value]) => [name, await textOf(value)]));

/** The same as text, the bytes of Blobs included. */
export async function bytesOf(name: string): Promise<string> {
  const { version, stores } = await contentsOf(name);
  const texts = stores.map(async ({ values, ...store }) => ({
    ...store,
    values: await Promise.all(values.map(store.keyPath === null ? textOf : textsOf)),
  }));
  return JSON.stringify({ version, stores: await Promise.all(texts) });
}

export const deleteDatabase = async (name: string): Promise<void> => {
  await settled(indexedDB.deleteDatabase(name));
};
