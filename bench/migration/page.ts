/**
 * The page's side of the migration bench: it fills databases, migrates them, and copies key by key without the library.
 */
import { createStore, get, set } from 'idb-keyval';
import { createStorage } from '../../src/index.ts';
import { keyOf } from '../browser/data.ts';
import { STORE } from '../browser/key-value.ts';
import { createCheck, type Size, VALUES } from './values.ts';

/** Entries that are written, or looked at, in one transaction beside the library. */
const CHUNK = 2000;
/** Milliseconds that a request may take, on a machine that is busy. */
const TIMEOUT = 60_000;

export type Direction = 'to the server' | 'to IndexedDB';

/** What is copied. */
export interface Copy {
  readonly direction: Direction;
  /** The database of this origin. */
  readonly database: string;
  /** The server, without a trailing slash. */
  readonly url: string;
  readonly count: number;
}

declare global {
  var migrationBench: {
    /** Put entries into a database, beside the library. */
    fill(database: string, size: Size, count: number): Promise<void>;
    /** Open what a migration needs: what it takes until then is not measured. */
    open(copy: Copy): Promise<void>;
    /** Milliseconds, and what the library says to have verified. */
    migrate(): Promise<{ readonly ms: number; readonly verified: number }>;
    /** Milliseconds of one `get` and one `PUT`, or one `GET` and one `set`, per key. */
    copyEach(copy: Copy): Promise<number>;
    /** How many entries a database holds. Throws where one is another one than it was. */
    check(database: string, size: Size): Promise<number>;
  };
}

let migrate: () => Promise<number> = () => Promise.reject(new Error('nothing was opened'));

/** Make `migrationBench` known: the package says that its modules have no side effects, so an import alone would do nothing. */
export function install(): void {
  globalThis.migrationBench = {
    async fill(database, size, count) {
      const store = createStore(database, STORE);
      for (let from = 0; from < count; from += CHUNK)
        await store('readwrite', async (store) => {
          for (let index = from; index < Math.min(from + CHUNK, count); index += 1)
            store.put(VALUES[size](index), keyOf(index));
          store.transaction.commit();
          await ended(store.transaction);
        });
    },
    async open({ direction, database, url }) {
      const toServer = direction === 'to the server';
      const storage = createStorage({
        database,
        logger: false,
        timeout: TIMEOUT,
        ...(!toServer && { useFlask: true, flaskUrl: url }),
      });
      await storage.ready();
      if (!toServer && storage.status().backend !== 'flask') throw new Error(`${url} is not used`);
      migrate = () => (toServer ? storage.migrateToFlask(url) : storage.migrateToIndexedDB());
    },
    async migrate() {
      const begun = performance.now();
      const verified = await migrate();
      return { ms: performance.now() - begun, verified };
    },
    async copyEach({ direction, database, url, count }) {
      const store = createStore(database, STORE);
      const begun = performance.now();
      for (let index = 0; index < count; index += 1) {
        const key = keyOf(index);
        const address = `${url}/api/storage/${encodeURIComponent(key)}`;
        if (direction === 'to the server') await put(address, await get(key, store));
        else await set(key, (await answerOf(address)).value, store);
      }
      return performance.now() - begun;
    },
    async check(database, size) {
      const store = createStore(database, STORE);
      const check = createCheck(size, database);
      let count = 0;
      let after: string | undefined;
      do {
        // The keys of entries are texts. The library's own record has an array as its key, and arrays come after texts.
        const range = IDBKeyRange.bound(after ?? '', [], after !== undefined, true);
        const [keys, values] = await store('readonly', (store) =>
          Promise.all([resultOf(store.getAllKeys(range, CHUNK)), resultOf(store.getAll(range, CHUNK))]),
        );
        after = keys.at(-1) as string | undefined;
        keys.forEach((key, at) => {
          count = check(key, values[at]);
        });
      } while (after !== undefined);
      return count;
    },
  };
}

function put(address: string, value: unknown): Promise<unknown> {
  return answerOf(address, {
    method: 'PUT',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ value }),
  });
}

async function answerOf(address: string, init?: RequestInit): Promise<{ readonly value: unknown }> {
  const answer = await fetch(address, init);
  if (!answer.ok) throw new Error(`${address}: ${answer.status}`);
  return answer.json();
}

function ended(transaction: IDBTransaction): Promise<void> {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => reject(transaction.error);
  });
}

function resultOf<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
