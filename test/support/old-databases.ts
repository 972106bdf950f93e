/** The databases that older apps have left, made as those apps made them. */

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

export const deleteDatabase = async (name: string): Promise<void> => {
  await settled(indexedDB.deleteDatabase(name));
};
