/**
 * The databases of older apps, read as they are.
 *
 * Invariants: nothing is created, no version is raised, and every transaction only reads. Another connection that wants to upgrade
 * or delete the database does not have to wait: this one is closed, and a new one is opened for the next page.
 *
 * Spec: W3C Indexed Database API 3.0.
 */
import { StorageError } from '../core/errors.ts';
import { findIndexedDb } from '../core/platform.ts';
import { withTimeLimit } from '../core/time.ts';
import { type Connection, settled } from './connection.ts';
import { asStorageError, readError, resultOf } from './errors.ts';
import { endOf, type Reader, rawPagesOf } from './listing.ts';

/** How an older app stores its entries: one record each. */
interface StoreLayout {
  /** The member of a record that is its key; `null` if the key is outside of the record. */
  readonly keyPath: 'key' | 'id' | null;
  /** The member of a record that is the value of the entry. By default the whole record is. */
  readonly member?: 'value';
  /** The text before the record's key in the key of the entry. */
  readonly prefix: string;
}

const byId = (store: string): StoreLayout => ({ keyPath: 'id', prefix: `${store}:` });

/** The known stores, by the names of their databases. The first store of each has no prefix. */
export const LAYOUTS = {
  'codeforge-storage': { 'kv-store': { keyPath: null, prefix: '' } },
  CodeForgeDB: {
    keyvalue: { keyPath: 'key', member: 'value', prefix: '' },
    projects: byId('projects'),
    files: byId('files'),
    models: byId('models'),
    components: byId('components'),
    workflows: byId('workflows'),
    settings: { keyPath: 'key', prefix: 'settings:' },
  },
} as const satisfies Readonly<Record<string, Readonly<Record<string, StoreLayout>>>>;

/** The name of a database with a known layout. */
export type OldName = keyof typeof LAYOUTS;

/** A record as an entry: its key and value, or a name for it and the reason why it cannot be adopted. */
export type OldRecord =
  | { readonly key: string; readonly value: unknown }
  | { readonly key: string; readonly refused: StorageError };

/** A store of an old database. */
export interface OldStoreSeen {
  readonly name: string;
  readonly entries: number;
  /** `undefined` if the layout of the store is not known. */
  readonly prefix: string | undefined;
}

/** An old database. It is opened for the first read, and again after the connection was closed. */
export interface OldReader {
  /** The version and the stores, known ones first. If there is no such database, or none with stores, the reason as text. */
  look(): Promise<{ readonly version: number; readonly stores: readonly OldStoreSeen[] } | string>;
  /**
   * The records of all stores. A store of an unknown layout is one refused record, unless it is empty. The key of a refused
   * record is a name for reports, which no entry has.
   */
  records(): AsyncGenerator<OldRecord>;
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
  const layouts: Readonly<Record<string, StoreLayout>> = LAYOUTS[name];
  const [main] = Object.keys(layouts) as [string];
  let connection: Promise<IDBDatabase | string> | undefined;
  /** Rejects each read that is under way. */
  const reading = new Set<(reason: unknown) => void>();

  const open = (): Promise<IDBDatabase | string> => {
    if (connection !== undefined) return connection;
    const opening = openExisting(name, timeout).then((db) => {
      if (!db?.objectStoreNames.length) {
        db?.close();
        return `There is no IndexedDB database ${name} at this origin: nothing to adopt.`;
      }
      const forget = (): void => {
        if (connection === opening) connection = undefined;
      };
      db.onversionchange = () => {
        // Reads that are under way finish before it closes.
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

  function readerOf(store: string): Reader {
    const readInSteps: Connection['readInSteps'] = async (work) => {
      const db = await existing();
      let fail = (_reason: unknown): void => {};
      const lost = new Promise<never>((_, reject) => {
        fail = reject;
        reading.add(fail);
      });
      try {
        const transaction = db.transaction(store, 'readonly');
        transaction.onerror = (event) => event.preventDefault();
        return await Promise.race([work(transaction.objectStore(store)), lost]);
      } catch (error) {
        throw asStorageError(error, `IndexedDB database ${name}`);
      } finally {
        reading.delete(fail);
      }
    };
    return { readInSteps, read: (work) => readInSteps((store) => settled(work(store))) };
  }

  /** The stores, known ones first. */
  async function storesOf(db: IDBDatabase): Promise<OldStoreSeen[]> {
    const names = [...db.objectStoreNames];
    const seen = names.map(async (store): Promise<OldStoreSeen> => {
      const layout = Object.hasOwn(layouts, store) ? layouts[store] : undefined;
      const { keyPath } = db.transaction(store, 'readonly').objectStore(store);
      const [count] = await readerOf(store).read((store) => [store.count()] as const);
      return {
        name: store,
        entries: resultOf(count, `The number of records in ${store}`),
        prefix: layout?.keyPath === keyPath ? layout.prefix : undefined,
      };
    });
    const order = (one: OldStoreSeen): number =>
      one.prefix === undefined ? names.length : Object.keys(layouts).indexOf(one.name);
    return (await Promise.all(seen)).sort((a, b) => order(a) - order(b));
  }

  const hasKey = async (store: string, key: string): Promise<boolean> => {
    const [found] = await readerOf(store).read((store) => [store.getKey(key)] as const);
    return resultOf(found, `Key ${key}`) !== undefined;
  };

  return {
    async look() {
      const db = await open();
      return typeof db === 'string' ? db : { version: db.version, stores: await storesOf(db) };
    },
    async *records() {
      const stores = await storesOf(await existing());
      const hasMain = stores[0]?.prefix === '';
      /** A name for a report that is not the key of an entry. */
      const nameFor = async (text: string): Promise<string> =>
        hasMain && (await hasKey(main, text)) ? nameFor(`${text} (not the key of this name)`) : text;
      const refuse = async (text: string, refused: StorageError): Promise<OldRecord> => ({
        key: await nameFor(text),
        refused,
      });
      for (const { name: store, entries, prefix } of stores) {
        if (prefix === undefined) {
          const reason = `The ${entries} records of the store ${store} were not copied: its layout is not known.`;
          if (entries > 0)
            yield await refuse(`store ${store}`, new StorageError('unsupported-value', reason));
          continue;
        }
        const { member } = layouts[store] as StoreLayout;
        const where = prefix === '' ? '' : `${store}: `;
        const reader = readerOf(store);
        const mayCollide = prefix !== '' && hasMain && (await hasPrefix(readerOf(main), prefix));
        const recordOf = async (id: string, shownId: string, record: unknown): Promise<OldRecord> => {
          const key = prefix + id;
          if (record instanceof StorageError) return { key, refused: record };
          if (mayCollide && (await hasKey(main, key)))
            return refuse(where + shownId, doubled(`the store ${main} has an entry with the key ${key}`));
          return member === undefined ? { key, value: record } : memberOf(key, record, member);
        };
        for await (const page of rawPagesOf(reader, {}, true))
          for (const [id, record] of page) yield await recordOf(id, shown(id), record);
        for await (const [id, record] of otherRecords(reader)) {
          if (prefix === '' || typeof id !== 'number')
            yield await refuse(where + shown(id), noString(store, id));
          else if (await hasKey(store, String(id)))
            yield await refuse(
              where + shown(id),
              doubled(`the store has a record with the text ${id} as key`),
            );
          else yield await recordOf(String(id), shown(id), record);
        }
      }
    },
    close() {
      connection?.then((db) => typeof db !== 'string' && db.close(), ignore);
      connection = undefined;
    },
  };
}

const ignore = (): void => {};

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

/** Whether a database is listed. Older engines have no list: there, opening shows it. */
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
      // Without a version, only a database that does not exist is upgraded. An aborted upgrade does not create it.
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

function memberOf(key: string, record: unknown, member: 'value'): OldRecord {
  if (Object.hasOwn(record as object, member))
    return { key, value: (record as Readonly<Record<string, unknown>>)[member] };
  return { key, refused: new StorageError('unsupported-value', `Key ${key}: its record has no value.`) };
}

async function hasPrefix({ read }: Reader, prefix: string): Promise<boolean> {
  const range = IDBKeyRange.bound(prefix, endOf(prefix), false, true);
  const [count] = await read((store) => [store.count(range)] as const);
  return resultOf(count, `The number of keys with ${prefix}`) > 0;
}

/** The records whose keys are not strings, read in pages. A `StorageError` in place of a record says why it cannot be read. */
async function* otherRecords({ read }: Reader): AsyncGenerator<readonly [IDBValidKey, unknown]> {
  const below = (after?: IDBValidKey): IDBKeyRange =>
    after === undefined ? IDBKeyRange.upperBound('', true) : IDBKeyRange.bound(after, '', true, true);
  const above = (after?: IDBValidKey): IDBKeyRange =>
    IDBKeyRange.lowerBound(after ?? endOf(''), after !== undefined);
  for (const rangeAfter of [below, above]) {
    let range = rangeAfter();
    for (;;) {
      const [request] = await read((store) => [store.getAllKeys(range, KEYS_AT_ONCE)] as const);
      const keys = resultOf(request, 'A page of keys');
      const records = await read((store) => keys.map((key) => store.get(key)));
      for (const [i, key] of keys.entries()) {
        const { error, result } = records[i] as IDBRequest;
        yield [key, error ? readError(error, shown(key), true) : result];
      }
      if (keys.length < KEYS_AT_ONCE) break;
      range = rangeAfter(keys.at(-1));
    }
  }
}

const noString = (store: string, key: IDBValidKey): StorageError =>
  new StorageError(
    'invalid-key',
    `A record of the store ${store} has the key ${shown(key)}, which is not a string.`,
  );

const doubled = (why: string): StorageError =>
  new StorageError('invalid-key', `The record was not copied, because ${why}.`);

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
