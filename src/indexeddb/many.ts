/**
 * Many gets at once: one request for a range of keys costs a fraction of one request a key.
 *
 * A range is read only where it holds nothing but what is asked for. Everything is in one transaction, so it makes no difference
 * what in it is read first.
 */
import { isRead, type Operation, type Outcome } from '../core/backend.ts';
import { amountFor } from './amount.ts';
import { type Connection, type Requested, settled } from './connection.ts';
import { issue, outcomesOf } from './requests.ts';

/** Keys that are read first, to learn how large the values are. */
const FIRST = 4;
/** Where a range would have fewer keys, a request a key is faster. */
const FEWEST = 12;

/** Run a batch in which no operation depends on what is there. */
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
 * The gets whose place in a batch makes no difference, with their keys: nothing before them writes those. Of the gets of one
 * key only the first: each reader gets a copy of its own.
 */
function earlyGets(operations: readonly Operation[]): ReadonlyMap<Operation, string> {
  const early = new Map<Operation, string>();
  const met = new Set<string>();
  for (const operation of operations) {
    // Whatever comes after it sees an empty store.
    if (operation.type === 'clear') break;
    if (operation.type === 'get' && !met.has(operation.key)) early.set(operation, operation.key);
    if (operation.type === 'get' || !isRead(operation)) met.add(operation.key);
  }
  return early;
}

/** What is under keys, each named once: as requests that are done. */
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
  await readSingly(wanted.slice(0, FIRST));
  const amount = amountFor([...read.values()].map(({ result }) => result));
  const parts: string[][] = [];
  if (amount >= FEWEST)
    for (let i = FIRST; i < wanted.length; i += amount) parts.push(wanted.slice(i, i + amount));

  const listed = await settled(parts.map((part) => store.getAllKeys(rangeOf(part), part.length + 1)));
  const dense = parts.filter((part, i) => {
    const asked = new Set<IDBValidKey>(part);
    return !listed[i]?.error && listed[i]?.result.every((key) => asked.has(key));
  });
  const ranges = await settled(
    dense.flatMap((part) => [store.getAllKeys(rangeOf(part)), store.getAll(rangeOf(part))]),
  );
  for (const [i, part] of dense.entries()) {
    const [found, values] = [ranges[2 * i], ranges[2 * i + 1]];
    // Then one of its values cannot be read: which, only single reads tell.
    if (!found || !values || found.error || values.error) continue;
    for (const key of part) read.set(key, { result: undefined, error: null });
    for (const [j, key] of found.result.entries())
      read.set(key as string, { result: values.result[j], error: null });
  }
  await readSingly(wanted.filter((key) => !read.has(key)));
  return read;
}

const rangeOf = (sorted: readonly string[]): IDBKeyRange => IDBKeyRange.bound(sorted[0], sorted.at(-1));
