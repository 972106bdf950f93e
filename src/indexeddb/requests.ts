/**
 * A batch of operations that depend on nothing but their own requests: its requests, and their outcomes.
 *
 * Two things make a batch cheaper than a request for each operation. A write that a later write of the batch overwrites
 * unread is not carried out. Many gets are read as ranges of keys, where a range holds nothing else.
 */
import { fulfilled, isRead, type Operation, type Outcome, rejected } from '../core/backend.ts';
import { type Connection, type Requested, settled } from './connection.ts';
import { readError, writeError } from './errors.ts';
import { pageSizeFor, prefixRange } from './listing.ts';
import { fromStored, toStored } from './stored-value.ts';

const DONE = fulfilled();

/** Requests a batch: for each operation its request, or the request of the write that overwrites it. */
export function issue(store: IDBObjectStore, operations: readonly Operation[]): Requested[] {
  const substitutes = substitutesOf(operations);
  const requests = operations.map((operation, i) =>
    substitutes[i] === i ? request(store, operation) : undefined,
  );
  return substitutes.map((i) => requests[i] as Requested);
}

/** The outcomes of operations whose requests are done. */
export function outcomesOf(operations: readonly Operation[], requests: readonly Requested[]): Outcome[] {
  const works = requests.some(({ error }) => !error);
  return operations.map((operation, i) => {
    const request = requests[i] as Requested;
    const { error } = request;
    if (error && operation.type === 'get') return rejected(readError(error, operation.key, works));
    if (error) return rejected(writeError(error, operation));
    if (!isRead(operation)) return DONE;
    const { result } = request;
    return fulfilled(operation.type === 'has' ? result !== undefined : fromStored(result));
  });
}

/**
 * For each operation the index of the one that is carried out instead: a write that is overwritten unread is skipped. Only a
 * write of plain data, a delete or a clear replaces another: they cannot fail alone.
 */
function substitutesOf(operations: readonly Operation[]): number[] {
  const next = new Map<string, number>();
  const substitutes: number[] = [];
  for (let i = operations.length - 1; i >= 0; i--) {
    const operation = operations[i] as Operation;
    substitutes[i] = i;
    // A write before a clear stays: the clear removes it anyway.
    if (!('key' in operation)) continue;
    if (isRead(operation)) next.delete(operation.key);
    else {
      const substitute = next.get(operation.key) ?? i;
      substitutes[i] = substitute;
      if (operation.type === 'put' && !operation.plain) next.delete(operation.key);
      else next.set(operation.key, substitute);
    }
  }
  return substitutes;
}

function request(store: IDBObjectStore, operation: Operation): Requested {
  const { type } = operation;
  if (type === 'clear') return store.clear();
  if (type === 'clear-prefix') return store.delete(prefixRange(operation.prefix));
  if (type !== 'put') return store[type === 'has' ? 'getKey' : (type as 'get' | 'delete')](operation.key);
  try {
    return store.put(toStored(operation), operation.key);
  } catch (error) {
    // Any other error concerns the whole transaction.
    if ((error as DOMException).name !== 'DataCloneError') throw error;
    return { result: undefined, error: error as DOMException };
  }
}

/** From this number of gets on, ranges are faster. */
const MANY = 32;
/** Keys that are read first, to learn how large the values are. */
const FIRST_KEYS = 4;
/** With fewer keys in a range, one request a key is faster. */
const MIN_RANGE_KEYS = 12;

/** Whether a batch holds enough gets for {@link runMany}. */
export const hasManyGets = (operations: readonly Operation[]): boolean =>
  operations.length >= MANY && operations.filter(({ type }) => type === 'get').length >= MANY;

/** Runs a batch with many gets in one transaction, so the order of its reads makes no difference. */
export async function runMany(
  { readInSteps, write }: Connection,
  operations: readonly Operation[],
): Promise<Outcome[]> {
  const early = earlyGets(operations);
  const others = operations.filter((operation) => !early.has(operation));
  const onlyReads = operations.every(isRead);
  const requests = await (onlyReads ? readInSteps : write)(async (store) => {
    const read = await readMany(store, [...early.values()]);
    const issued = issue(store, others);
    if (onlyReads) await settled(issued);
    let next = 0;
    return operations.map((operation) => {
      const key = early.get(operation);
      return (key === undefined ? issued[next++] : read.get(key)) as Requested;
    });
  });
  return outcomesOf(operations, requests);
}

/**
 * The gets that may run before the rest of a batch, with their keys: no earlier operation writes those keys. Of several gets
 * of one key only the first: each caller gets a copy of its own.
 */
function earlyGets(operations: readonly Operation[]): ReadonlyMap<Operation, string> {
  const early = new Map<Operation, string>();
  const used = new Set<string>();
  for (const operation of operations) {
    // Gets after a clear see a store that lacks keys.
    if (!('key' in operation)) break;
    if (operation.type === 'get' && !used.has(operation.key)) early.set(operation, operation.key);
    if (operation.type === 'get' || !isRead(operation)) used.add(operation.key);
  }
  return early;
}

/** The values of distinct keys, as requests that are done. */
async function readMany(
  store: IDBObjectStore,
  keys: readonly string[],
): Promise<ReadonlyMap<string, Requested>> {
  const read = new Map<string, Requested>();
  const readSingly = async (keys: readonly string[]): Promise<void> => {
    const requests = await settled(keys.map((key) => store.get(key)));
    for (const [i, key] of keys.entries()) read.set(key, requests[i] as Requested);
  };

  const wanted = [...keys].sort();
  await readSingly(wanted.slice(0, FIRST_KEYS));
  const amount = pageSizeFor([...read.values()].map(({ result }) => result));
  const parts: string[][] = [];
  if (amount >= MIN_RANGE_KEYS)
    for (let i = FIRST_KEYS; i < wanted.length; i += amount) parts.push(wanted.slice(i, i + amount));

  const listed = await settled(parts.map((part) => store.getAllKeys(spanOf(part), part.length + 1)));
  const dense = parts.filter((part, i) => {
    const asked = new Set<IDBValidKey>(part);
    return !listed[i]?.error && listed[i]?.result.every((key) => asked.has(key));
  });
  const ranges = await settled(
    dense.flatMap((part) => [store.getAllKeys(spanOf(part)), store.getAll(spanOf(part))]),
  );
  for (const [i, part] of dense.entries()) {
    const [found, values] = [ranges[2 * i], ranges[2 * i + 1]];
    // One of the values cannot be read. Single reads show which one.
    if (!found || !values || found.error || values.error) continue;
    for (const key of part) read.set(key, { result: undefined, error: null });
    for (const [j, key] of found.result.entries())
      read.set(key as string, { result: values.result[j], error: null });
  }
  await readSingly(wanted.filter((key) => !read.has(key)));
  return read;
}

const spanOf = (sorted: readonly string[]): IDBKeyRange => IDBKeyRange.bound(sorted[0], sorted.at(-1));
