/**
 * IndexedDB written by hand, as the limit: what an app makes in one turn is one transaction, committed explicitly.
 *
 * A write resolves on `complete`, a read on the success of its last request.
 */
import { type Call, type KeyValue, type Library, STORE } from '../key-value.ts';

/** How many entries are read at once, while those before them are visited. */
const PAGE = 5000;

export const library: Library = {
  name: 'by hand',
  async connect(database) {
    const opening = indexedDB.open(database, 1);
    opening.onupgradeneeded = () => {
      opening.result.createObjectStore(STORE);
    };
    return keyValueOf(await resultOf(opening));
  },
};

function keyValueOf(db: IDBDatabase): KeyValue {
  const read = (): IDBObjectStore => db.transaction(STORE, 'readonly').objectStore(STORE);
  const write = (work: (store: IDBObjectStore) => void): Promise<void> =>
    new Promise((resolve, reject) => {
      const transaction = db.transaction(STORE, 'readwrite');
      transaction.oncomplete = () => resolve();
      transaction.onabort = () => reject(transaction.error);
      work(transaction.objectStore(STORE));
      transaction.commit();
    });

  /** Results of requests: of one transaction they succeed in order, so the last one is the end. */
  const resultsOf = async (requests: readonly IDBRequest[]): Promise<unknown[]> => {
    const last = requests.at(-1);
    if (last !== undefined) await resultOf(last);
    return requests.map(({ result }) => result);
  };

  return {
    get: (key) => resultOf(read().get(key)),
    set: (key, value) =>
      write((store) => {
        store.put(value, key);
      }),
    getMany(keys) {
      const store = read();
      return resultsOf(keys.map((key) => store.get(key)));
    },
    setMany: (entries) =>
      write((store) => {
        for (const [key, value] of entries) store.put(value, key);
      }),
    clear: () =>
      write((store) => {
        store.clear();
      }),
    keys: async () => (await resultOf(read().getAllKeys())) as string[],
    readAll: (visit) => readPages(read, visit),
    async turn(calls) {
      if (calls.every((call) => !('value' in call))) return this.getMany(calls.map(({ key }) => key));
      const requests: IDBRequest[] = [];
      await write((store) => {
        for (const call of calls) requests.push(requestOf(store, call));
      });
      return requests.map(({ result }) => result);
    },
  };
}

const requestOf = (store: IDBObjectStore, call: Call): IDBRequest =>
  'value' in call ? store.put(call.value, call.key) : store.get(call.key);

type Page = readonly [keys: IDBValidKey[], values: unknown[]];

/** Page after page, each requested before the one before it is visited. */
async function readPages(
  read: () => IDBObjectStore,
  visit: (key: string, value: unknown) => void,
): Promise<void> {
  const page = (after?: string): Promise<Page> => {
    const store = read();
    const range = after === undefined ? null : IDBKeyRange.lowerBound(after, true);
    return Promise.all([resultOf(store.getAllKeys(range, PAGE)), resultOf(store.getAll(range, PAGE))]);
  };
  let next: Promise<Page> | undefined = page();
  while (next !== undefined) {
    const [keys, values]: Page = await next;
    next = keys.length < PAGE ? undefined : page(keys.at(-1) as string);
    keys.forEach((key, place) => {
      visit(key as string, values[place]);
    });
  }
}

function resultOf<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
