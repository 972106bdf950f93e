/**
 * The numbers of commits: a transaction whose changes are told takes the next one, while no other transaction can write.
 *
 * The number is a record of the same object store. Its key is no string, so no method of the SDK lists it.
 */
import { type Requested, settled } from './connection.ts';
import { prefixRange } from './listing.ts';

const COMMITS: IDBValidKey = ['codeforge-storage', 'commits'];

/** @throws The error of a request that has failed: a number must not be given twice. */
function numberIn({ error, result }: Requested): number {
  if (error) throw error;
  return typeof result === 'number' ? result : 0;
}

/** The number of the last commit that has taken one; 0 if none has. */
export async function lastNumberIn(store: IDBObjectStore): Promise<number> {
  const [found] = await settled([store.get(COMMITS)] as const);
  return numberIn(found);
}

/** The keys that begin with one of `prefixes`. */
export async function existingKeys(store: IDBObjectStore, prefixes: readonly string[]): Promise<string[]> {
  const found = await settled(prefixes.map((prefix) => store.getAllKeys(prefixRange(prefix))));
  return found.flatMap(({ result }) => result as string[]);
}

/**
 * Runs the work of a transaction, and takes the next number in it.
 *
 * The number is stored after the work, which may clear the store. It is read at the same time, so that this costs no further step.
 */
export async function takingNumber<T>(
  store: IDBObjectStore,
  work: (store: IDBObjectStore) => T | Promise<T>,
): Promise<{ readonly number: number; readonly result: T }> {
  const reading = settled([store.get(COMMITS)] as const);
  // If the work fails, nobody waits for it.
  reading.catch(() => undefined);
  const result = await work(store);
  const [found] = await reading;
  const number = numberIn(found) + 1;
  store.put(number, COMMITS);
  return { number, result };
}
