/**
 * Many reads at once: one request for a range of keys costs a fraction of one request a key.
 *
 * A range also reads what lies between the keys, so it is bounded at twice as many entries as were asked for. What it did
 * not reach is read key by key.
 */
import { isRead, type Operation } from '../core/backend.ts';
import type { Connection } from './indexeddb-connection.ts';

/** The operations whose place in a batch makes no difference: gets of keys that nothing before them writes. */
export function earlyReads(operations: readonly Operation[]): ReadonlySet<Operation> {
  const early = new Set<Operation>();
  const written = new Set<string>();
  for (const operation of operations) {
    // Whatever comes after it sees an empty store.
    if (operation.type === 'clear') break;
    if (!isRead(operation)) written.add(operation.key);
    else if (operation.type === 'get' && !written.has(operation.key)) early.add(operation);
  }
  return early;
}

/** The values under keys, as far as they exist. Nothing where a range cannot be read. */
export async function readMany(
  read: Connection['read'],
  keys: readonly string[],
): Promise<ReadonlyMap<string, unknown> | undefined> {
  const wanted = [...new Set(keys)].sort();
  const limit = 2 * wanted.length;
  const range = IDBKeyRange.bound(wanted[0], wanted.at(-1));
  const [found, values] = await read(
    (store) => [store.getAllKeys(range, limit), store.getAll(range, limit)] as const,
  );
  // The value that cannot be read may be none of these.
  if (found.error || values.error) return undefined;
  const held = new Map<string, unknown>(found.result.map((key, i) => [key as string, values.result[i]]));
  const reached = found.result.length < limit ? undefined : (found.result.at(-1) as string);
  const rest = reached === undefined ? [] : wanted.filter((key) => key > reached);
  if (rest.length === 0) return held;
  const requests = await read((store) => rest.map((key) => store.get(key)));
  if (requests.some(({ error }) => error)) return undefined;
  rest.forEach((key, i) => {
    held.set(key, requests[i]?.result);
  });
  return held;
}
