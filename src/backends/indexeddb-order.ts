/**
 * Reading an IndexedDB store in byte order.
 *
 * IndexedDB orders string keys by UTF-16 code units, the contract by code points. They differ only where two keys first
 * differ in a unit from U+D800 up: the keys that share what stands before such a unit are a block, and a block is sorted.
 * A page is sorted as a whole; only the block that its last key is in may go on beyond it, and is gathered.
 *
 * Spec: W3C Indexed Database API 3.0, §2.4 Keys.
 */
import { compareKeys } from '../core/keys.ts';

/** Entries read in one transaction. */
const PAGE = 1000;

export type Transact = <T>(mode: IDBTransactionMode, work: (store: IDBObjectStore) => T) => Promise<T>;
type Page = Array<readonly [string, unknown]>;

/** The least key that is no string: keys of other types are not ours. */
const END_OF_STRINGS = new ArrayBuffer(0);

/** The least key above every key that begins with `prefix`. */
function endOf(prefix: string): IDBValidKey {
  for (let end = prefix.length - 1; end >= 0; end--) {
    const unit = prefix.charCodeAt(end);
    if (unit < 0xffff) return prefix.slice(0, end) + String.fromCharCode(unit + 1);
  }
  return END_OF_STRINGS;
}

/** All string keys that begin with `prefix`. */
export const rangeOf = (prefix: string): IDBKeyRange => IDBKeyRange.bound(prefix, endOf(prefix), false, true);

/** All entries under `prefix` in byte order, a page a transaction. */
export async function* scan(transact: Transact, prefix: string): AsyncGenerator<Page> {
  const end = endOf(prefix);
  let from: IDBValidKey = prefix;
  let after = false;
  // The end of a block may be the end of all.
  while (from !== end) {
    const page = await readPage(transact, IDBKeyRange.bound(from, end, after, true));
    const last = page.at(-1)?.[0];
    const at = last === undefined || page.length < PAGE ? -1 : highUnit(last, prefix.length);
    if (last === undefined || at < 0) {
      yield sorted(page);
      if (last === undefined || page.length < PAGE) return;
      from = last;
      after = true;
    } else {
      const stem = last.slice(0, at);
      yield sorted(page.filter(([key]) => !isInBlock(key, stem)));
      yield* scanBlock(transact, stem);
      from = endOf(stem);
      after = false;
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

/** The entries whose key is `stem` and then a unit from U+D800 up. */
async function* scanBlock(transact: Transact, stem: string): AsyncGenerator<Page> {
  const range = IDBKeyRange.bound(`${stem}\ud800`, endOf(stem), false, true);
  const request = await transact('readonly', (store) => store.getAllKeys(range));
  const keys = (request.result as string[]).sort(compareKeys);
  for (let i = 0; i < keys.length; i += PAGE) {
    const requests = await transact('readonly', (store) =>
      keys.slice(i, i + PAGE).map((key) => [store.getKey(key), store.get(key)] as const),
    );
    yield requests
      .filter(([key]) => key.result !== undefined)
      .map(([key, value]) => [key.result as string, value.result] as const);
  }
}

async function readPage(transact: Transact, range: IDBKeyRange): Promise<Page> {
  const [keys, values] = await transact(
    'readonly',
    (store) => [store.getAllKeys(range, PAGE), store.getAll(range, PAGE)] as const,
  );
  return keys.result.map((key, i) => [key as string, values.result[i]] as const);
}
