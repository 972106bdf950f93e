/**
 * Reading an IndexedDB store in byte order.
 *
 * IndexedDB orders string keys by UTF-16 code units, the contract by code points. They differ only where two keys first
 * differ in a unit from U+D800 up: the keys that share what stands before such a unit are a block, and a block is sorted.
 * A page is sorted as a whole; only the block that its last key is in may go on beyond it, and is gathered.
 *
 * Spec: W3C Indexed Database API 3.0, §2.4 Keys.
 */
import { compareKeys } from '../core/order.ts';
import { amountFor } from './amount.ts';
import type { Connection } from './connection.ts';
import { resultOf } from './errors.ts';
import { endOf } from './range.ts';

/** Entries of the first page: they show how large the others are. */
const FIRST = 32;

type Page = Array<readonly [string, unknown]>;

/** All entries under `prefix` after the key `after` in byte order, in pages; the next is being read while one is handled. */
export async function* scan(read: Connection['read'], prefix: string, after?: string): AsyncGenerator<Page> {
  const end = endOf(prefix);
  let amount = FIRST;
  const start = (from: IDBValidKey, after: boolean): Promise<Page> | undefined => {
    // The end of a block may be the end of all.
    if (from === end) return undefined;
    const reading = readPage(read, IDBKeyRange.bound(from, end, after, true), amount);
    // Nobody waits for it where the listing is left early.
    reading.catch(() => {});
    return reading;
  };
  const at = after === undefined ? -1 : highUnit(after, prefix.length);
  const stem = after?.slice(0, at);
  if (at >= 0) yield* scanBlock(read, stem as string, after);
  let reading = at >= 0 ? start(endOf(stem as string), false) : start(after ?? prefix, after !== undefined);
  while (reading !== undefined) {
    const page: Page = await reading;
    const last = page.at(-1)?.[0];
    if (last === undefined || page.length < amount) {
      yield sorted(page);
      return;
    }
    amount = amountFor(page.map(([, value]) => value));
    const at = highUnit(last, prefix.length);
    if (at < 0) {
      reading = start(last, true);
      yield sorted(page);
    } else {
      const stem = last.slice(0, at);
      yield sorted(page.filter(([key]) => !isInBlock(key, stem)));
      yield* scanBlock(read, stem);
      reading = start(endOf(stem), false);
    }
  }
}

const sorted = (page: Page): Page => page.sort(([a], [b]) => compareKeys(a, b));

const isInBlock = (key: string, stem: string): boolean =>
  key.startsWith(stem) && key.charCodeAt(stem.length) >= 0xd800;

/** Where the first unit from U+D800 up stands, from `start` on, or -1. */
const highUnit = (key: string, start: number): number => {
  const at = key.slice(start).search(/[\ud800-\uffff]/);
  return at < 0 ? at : at + start;
};

/** The entries after `after` whose key is `stem` and then a unit from U+D800 up. */
async function* scanBlock(read: Connection['read'], stem: string, after = ''): AsyncGenerator<Page> {
  const range = IDBKeyRange.bound(`${stem}\ud800`, endOf(stem), false, true);
  const [request] = await read((store) => [store.getAllKeys(range)] as const);
  const keys = (resultOf(request, stem) as string[])
    .filter((key) => compareKeys(key, after) > 0)
    .sort(compareKeys);
  let amount = FIRST;
  for (let i = 0; i < keys.length; ) {
    const part = keys.slice(i, i + amount);
    i += part.length;
    const requests = await read((store) =>
      part.flatMap((key): IDBRequest[] => [store.getKey(key), store.get(key)]),
    );
    const results = requests.map((request, i) => resultOf(request, `Key ${part[i >> 1]}`));
    amount = amountFor(results.filter((_, i) => i % 2 === 1));
    yield part
      .map((key, i) => [key, results[2 * i + 1]] as const)
      .filter((_, i) => results[2 * i] !== undefined);
  }
}

async function readPage(read: Connection['read'], range: IDBKeyRange, amount: number): Promise<Page> {
  const [keys, values] = await read(
    (store) => [store.getAllKeys(range, amount), store.getAll(range, amount)] as const,
  );
  const held = resultOf(values, 'A page of values');
  return (resultOf(keys, 'A page of keys') as string[]).map((key, i) => [key, held[i]] as const);
}
