/** A database for each test of a file that runs in a browser, and storages over it. */
import { afterEach, beforeEach, vi } from 'vitest';
import { createStorage, type KeyValueStorage, type StorageOptions } from '../../src/index.ts';

/** Milliseconds that deleting a database may wait for a connection that its test has left, such as idb-keyval's. */
const LEFT = 1000;

export const settled = <T>(request: IDBRequest<T>): Promise<T> =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

/** Call once in a file. Storages are closed after their test, and what was spied on is as it was. */
export function databaseOfEachTest() {
  let name = '';
  let databases = 0;
  const opened: KeyValueStorage[] = [];

  beforeEach(() => {
    databases += 1;
    name = `browser-${Date.now()}-${databases}`;
  });
  afterEach(async () => {
    vi.restoreAllMocks();
    await Promise.all(opened.splice(0).map((storage) => storage.close()));
    const deleted = settled(indexedDB.deleteDatabase(name));
    await Promise.race([deleted, new Promise((resolve) => setTimeout(resolve, LEFT))]);
  });

  return {
    name: (): string => name,
    /** A storage over it. */
    open(options: StorageOptions = {}): KeyValueStorage {
      const storage = createStorage({ database: name, logger: false, ...options });
      opened.push(storage);
      return storage;
    },
    /** Make it as another program would: with one store. */
    async make(storeName: string, fill?: (store: IDBObjectStore) => void): Promise<void> {
      const request = indexedDB.open(name, 1);
      request.onupgradeneeded = () => {
        const store = request.result.createObjectStore(storeName);
        fill?.(store);
      };
      (await settled(request)).close();
    },
  };
}
