/**
 * The databases of older apps, read as they are found.
 *
 * Invariants: nothing is created, no version is raised, every transaction only reads. Whoever wants to upgrade or delete the
 * database need not wait: the connection is closed for them, and another one is opened for the next page.
 *
 * Spec: W3C Indexed Database API 3.0.
 */

import { StorageError } from '../core/errors.ts';
import { keyAfter } from '../core/order.ts';
import { findIndexedDb } from '../core/platform.ts';
import { withTimeLimit } from '../core/time.ts';
import { type Connection, settled } from './connection.ts';
import { asStorageError, resultOf } from './errors.ts';

import { endOf, entriesOf } from './listing.ts';

/** How an older app keeps its entries: one record each. */
interface Layout {
  readonly store: string;
  /** Where a record has its key: `null`, outside, and then the record is the value; or the name of a member beside `value`. */
  readonly keyPath: 'key' | null;
}

/** Those that are known, by the names of their databases. */
export const LAYOUTS = {
  'codeforge-storage': { store: 'kv-store', keyPath: null },
  CodeForgeDB: { store: 'keyvalue', keyPath: 'key' },
} as const satisfies Readonly<Record<string, Layout>>;

/** The name of a database whose layout is known. */
export type OldName = keyof typeof LAYOUTS;

/** What a record is: its key and its value, or the key and why there is no value. */
export type OldRecord =
  | { readonly key: string; readonly value: unknown }
  | { readonly key: string; readonly refused: StorageError };

/** An old database, opened when it is first read, and again when the connection was let go. */
export interface OldReader {
  /** Its version, and how many records it has: nothing, but the reason, where there is no such database, or another layout. */
  look(): Promise<{ readonly version: number; readonly entries: number } | string>;
  /** The records whose key is a string, in byte order, after the key `after`; then those with another key. */
  records(after?: string): AsyncGenerator<OldRecord>;
  /** Let go of it. */
  close(): void;
}

/** Keys that one request reads. */
const KEYS_AT_ONCE = 250;

/**
 * A reader of one old database.
 *
 * @param timeout Milliseconds that opening may take before it counts as blocked.
 */
export function createOldReader(name: OldName, timeout: number): OldReader {
  const layout: Layout = LAYOUTS[name];
  let connection: Promise<IDBDatabase | string> | undefined;
  /** Rejects each read that is under way. */
  const reading = new Set<(reason: unknown) => void>();

  const open = (): Promise<IDBDatabase | string> => {
    if (connection !== undefined) return connection;
    const opening = openExisting(name, timeout).then((db) => {
      const reason = mismatch(name, layout, db);
      if (db === undefined || reason !== undefined) {
        db?.close();
        return reason as string;
      }
      const forget = (): void => {
        if (connection === opening) connection = undefined;
      };
      db.onversionchange = () => {
        // What is being read is read to its end before it closes.
        db.close();
        forget();
      };
      db.onclose = () => {
        forget();
        for (const reject of reading) reject(unavailable(`The browser closed IndexedDB database ${name}.`));
      };
      return db;
    });
    connection = opening;
    return opening;
  };

  const existing = async (): Promise<IDBDatabase> => {
    const db = await open();
    if (typeof db === 'string') throw unavailable(db);
    return db;
  };

  const readInSteps: Connection['readInSteps'] = async (work) => {
    const db = await existing();
    let fail = (_reason: unknown): void => {};
    const lost = new Promise<never>((_, reject) => {
      fail = reject;
      reading.add(fail);
    });
    try {
      const transaction = db.transaction(layout.store, 'readonly');
      transaction.onerror = (event) => event.preventDefault();
      return await Promise.race([work(transaction.objectStore(layout.store)), lost]);
    } catch (error) {
      throw asStorageError(error, `IndexedDB database ${name}`);
    } finally {
      reading.delete(fail);
    }
  };
  const read: Connection['read'] = (work) => readInSteps((store) => settled(work(store)));

  return {
    async look() {
      const db = await open();
      if (typeof db === 'string') return db;
      const [count] = await read((store) => [store.count()] as const);
      return { version: db.version, entries: resultOf(count, 'The number of records') };
    },
    async *records(after) {
      const range = after === undefined ? {} : { start: keyAfter(after) };
      for await (const page of entriesOf({ read, readInSteps }, range, asItIs))
        for (const [key, record] of page) yield recordOf(layout, key, record);
      // After the strings: what stands for such a key in a report could be the key of another record, and is the one that counts.
      for await (const key of otherKeys(read)) yield { key: shown(key), refused: noString(name, key) };
    },
    close() {
      connection?.then((db) => typeof db !== 'string' && db.close(), ignore);
      connection = undefined;
    },
  };
}

const ignore = (): void => {};

const asItIs = (stored: unknown): unknown => stored;

const unavailable = (text: string, options?: ErrorOptions): StorageError =>
  new StorageError('unavailable', text, options);

/** Opens a database that exists. Returns `undefined` where there is none: none is created. */
async function openExisting(name: string, timeout: number): Promise<IDBDatabase | undefined> {
  if (!findIndexedDb())
    throw unavailable('There is no IndexedDB here: old databases are adopted in the browser that has them.');
  let isLate = false;
  const open = async (): Promise<IDBDatabase | undefined> => {
    // After the time limit nobody would close the connection.
    if (!(await mayExist(name)) || isLate) return undefined;
    return openAsItIs(name, (db) => isLate && db.close());
  };
  return withTimeLimit(open(), timeout, () => {
    isLate = true;
    throw new StorageError(
      'blocked',
      `IndexedDB database ${name} did not open within ${timeout} ms: close the other tabs that hold it.`,
    );
  });
}

/** Whether a database is listed. Older engines have no list, and opening tells. */
async function mayExist(name: string): Promise<boolean> {
  const listed = await findIndexedDb()
    ?.databases?.()
    .catch(() => undefined);
  return listed?.some((database) => database.name === name) ?? true;
}

function openAsItIs(name: string, opened: (db: IDBDatabase) => void): Promise<IDBDatabase | undefined> {
  return new Promise((resolve, reject) => {
    const request = (findIndexedDb() as IDBFactory).open(name);
    let isNew = false;
    request.onupgradeneeded = () => {
      // Without a version only a database that does not exist is upgraded: aborted, it never did.
      isNew = true;
      request.transaction?.abort();
    };
    request.onsuccess = () => {
      opened(request.result);
      resolve(request.result);
    };
    request.onerror = (event) => {
      event.preventDefault();
      if (isNew) resolve(undefined);
      else reject(asStorageError(request.error, `IndexedDB database ${name}`));
    };
  });
}

/** Why a database is not one that is known, in words. */
function mismatch(name: string, { store, keyPath }: Layout, db: IDBDatabase | undefined): string | undefined {
  if (db === undefined) return `There is no IndexedDB database ${name} at this origin: nothing to adopt.`;
  const wanted = `a store ${store} whose keys are ${keyPath === null ? 'outside of its values' : `in the member ${keyPath} of its records`}`;
  const has = `IndexedDB database ${name} (version ${db.version}) has`;
  const names = [...db.objectStoreNames];
  if (!names.includes(store)) return `${has} the stores [${names.join(', ')}], and not ${wanted}.`;
  const path = db.transaction(store, 'readonly').objectStore(store).keyPath;
  if (path === keyPath) return undefined;
  return `${has} a store ${store} with the key path ${JSON.stringify(path)}, and not ${wanted}.`;
}

function recordOf({ keyPath }: Layout, key: string, record: unknown): OldRecord {
  if (keyPath === null) return { key, value: record };
  if (Object.hasOwn(record as object, 'value')) return { key, value: (record as { value: unknown }).value };
  return { key, refused: new StorageError('unsupported-value', `Key ${key}: its record has no value.`) };
}

/** The keys that are no strings, in pages of bounded size. */
async function* otherKeys(read: Connection['read']): AsyncGenerator<IDBValidKey> {
  const below = (after?: IDBValidKey): IDBKeyRange =>
    after === undefined ? IDBKeyRange.upperBound('', true) : IDBKeyRange.bound(after, '', true, true);
  const above = (after?: IDBValidKey): IDBKeyRange =>
    IDBKeyRange.lowerBound(after ?? endOf(''), after !== undefined);
  for (const rangeAfter of [below, above]) {
    let range = rangeAfter();
    for (;;) {
      const [request] = await read((store) => [store.getAllKeys(range, KEYS_AT_ONCE)] as const);
      const keys = resultOf(request, 'A page of keys');
      yield* keys;
      if (keys.length < KEYS_AT_ONCE) break;
      range = rangeAfter(keys.at(-1));
    }
  }
}

const noString = (name: string, key: IDBValidKey): StorageError =>
  new StorageError('invalid-key', `A record of ${name} has the key ${shown(key)}, which is no string.`);

/** A key as a report names it. */
function shown(key: IDBValidKey): string {
  if (typeof key === 'string') return JSON.stringify(key);
  if (Array.isArray(key)) return `array [${key.map(shown).join(', ')}]`;
  if (key instanceof Date) return `date ${key.toISOString()}`;
  if (typeof key === 'number') return `number ${key}`;
  const bytes = ArrayBuffer.isView(key)
    ? new Uint8Array(key.buffer, key.byteOffset, key.byteLength)
    : new Uint8Array(key);
  return `bytes ${Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')}`;
}
