/**
 * A contestant with its databases open, and what is done with it outside of the timed part.
 */
import { keyOf, textOf } from './data.ts';
import { type KeyValue, type Library, STORE } from './key-value.ts';

/** How many records are put in one transaction. */
const CHUNK = 2000;

export interface Subject {
  readonly library: Library;
  readonly database: string;
  readonly keyValue: KeyValue;
}

/** Open a contestant's own database. */
export const openSubject = (library: Library): Promise<Subject> =>
  openOver(library, `bench-${library.name.replace(' ', '-')}`);

/** Open the database of many entries: it is read only, so those that keep the same records share it. */
export const openLarge = (library: Library): Promise<Subject> =>
  openOver(library, library.record ? 'bench-large-records' : 'bench-large');

async function openOver(library: Library, database: string): Promise<Subject> {
  const keyValue = await library.connect(database);
  // The first call makes the object store.
  await keyValue.get('nothing');
  return { library, database, keyValue };
}

/** Put the keys from 0 to `count` with their texts of version 0 into an empty database, beside the library. */
export async function fill(
  { library, database, keyValue }: Subject,
  count: number,
  size?: number,
): Promise<void> {
  await keyValue.clear();
  const db = await new Promise<IDBDatabase>((resolve, reject) => {
    const opening = indexedDB.open(database);
    opening.onsuccess = () => resolve(opening.result);
    opening.onerror = () => reject(opening.error);
  });
  for (let from = 0; from < count; from += CHUNK) {
    await new Promise<void>((resolve, reject) => {
      const transaction = db.transaction(STORE, 'readwrite');
      transaction.oncomplete = () => resolve();
      transaction.onabort = () => reject(transaction.error);
      const store = transaction.objectStore(STORE);
      for (let index = from; index < Math.min(from + CHUNK, count); index += 1) {
        const [key, value] = [keyOf(index), textOf(index, 0, size)];
        if (library.record) store.put(library.record(key, value));
        else store.put(value, key);
      }
    });
  }
  db.close();
}

/**
 * Whether every write transaction that a `set` needs has completed when its promise resolves.
 *
 * Listens before the library does, so that `complete` is seen first where both wait for it; and looks on from before the
 * library opens its database, because it may keep the method that it finds then.
 */
export async function resolvesOnComplete(library: Library): Promise<boolean> {
  const { transaction } = IDBDatabase.prototype;
  let open = 0;
  let begun = 0;
  IDBDatabase.prototype.transaction = function (...args) {
    const started = transaction.apply(this, args);
    if (started.mode === 'readwrite') {
      open += 1;
      begun += 1;
      started.addEventListener('complete', () => {
        open -= 1;
      });
    }
    return started;
  };
  try {
    const { keyValue } = await openOver(library, `bench-durable-${library.name}`);
    for (let round = 0; round < 20; round += 1) {
      await keyValue.set(keyOf(round), textOf(round, 0));
      if (open > 0) return false;
    }
  } finally {
    IDBDatabase.prototype.transaction = transaction;
  }
  if (begun === 0) throw new Error(`no write transaction of ${library.name} was seen`);
  return true;
}

/** @throws {Error} Where a value is not what was stored. */
export function expectValues(
  found: readonly unknown[],
  wanted: readonly unknown[],
  { library }: Subject,
): void {
  const wrong = wanted.findIndex(
    (value, place) =>
      found[place] !== value &&
      (typeof value !== 'object' || JSON.stringify(found[place]) !== JSON.stringify(value)),
  );
  if (found.length !== wanted.length || wrong >= 0)
    throw new Error(
      `${library.name} returned wrong data: ${found.length} of ${wanted.length} values, the first that is wrong ${wrong}`,
    );
}
