/**
 * Many reads at once: one request for a range of keys costs a fraction of one request a key.
 *
 * A range also reads what lies between the keys, so it is bounded at twice as many entries as were asked for. What it did
 * not reach is read key by key.
 */
import { isRead, type Operation } from '../core/backend.ts';
import { amountFor } from './indexeddb-amount.ts';
import type { Connection } from './indexeddb-connection.ts';

/**
 * The operations whose place in a batch makes no difference: gets of keys that nothing before them writes. Of those of one
 * key only the first: each reader gets a copy of its own.
 */
export function earlyReads(operations: readonly Operation[]): ReadonlySet<Operation> {
  const early = new Set<Operation>();
  const met = new Set<string>();
  for (const operation of operations) {
    // Whatever comes after it sees an empty store.
    if (operation.type === 'clear') break;
    if (operation.type === 'get' && !met.has(operation.key)) early.add(operation);
    if (operation.type === 'get' || !isRead(operation)) met.add(operation.key);
  }
  return early;
}

/** Keys that are read first, to learn how large the values are. */
const FIRST = 4;
/** Where a range would have fewer keys, a request a key is faster. */
const FEWEST = 12;

/** The values under keys, each named once, as far as they exist. Nothing where a range cannot be read. */
export async function readMany(
  read: Connection['read'],
  keys: readonly string[],
): Promise<ReadonlyMap<string, unknown> | undefined> {
  const held = new Map<string, unknown>();
  /** Keys that are to be read one by one. */
  const singles: string[] = [];

  /** Read ranges of up to `amount` keys. False where that failed. */
  async function readRanges(wanted: readonly string[], amount: number): Promise<boolean> {
    const parts: string[][] = [];
    for (let i = 0; i < wanted.length; i += amount) parts.push(wanted.slice(i, i + amount));
    const requests = await read((store) =>
      parts.flatMap((part): IDBRequest[] => {
        const range = IDBKeyRange.bound(part[0], part.at(-1));
        return [store.getAllKeys(range, 2 * part.length), store.getAll(range, 2 * part.length)];
      }),
    );
    // The value that cannot be read may be none of these.
    if (requests.some(({ error }) => error)) return false;
    for (const [i, part] of parts.entries()) {
      const found = requests[2 * i]?.result as string[];
      const values = requests[2 * i + 1]?.result as unknown[];
      for (const [j, key] of found.entries()) held.set(key, values[j]);
      const reached = found.at(-1);
      if (reached !== undefined && found.length === 2 * part.length)
        singles.push(...part.filter((key) => key > reached));
    }
    return true;
  }

  const wanted = [...keys].sort();
  const others = wanted.slice(FIRST);
  if (!(await readRanges(wanted.slice(0, FIRST), FIRST))) return undefined;
  const amount = amountFor([...held.values()]);
  if (amount < FEWEST) singles.push(...others);
  else if (!(await readRanges(others, amount))) return undefined;
  if (singles.length === 0) return held;
  const requests = await read((store) => singles.map((key) => store.get(key)));
  if (requests.some(({ error }) => error)) return undefined;
  for (const [i, key] of singles.entries()) held.set(key, requests[i]?.result);
  return held;
}
