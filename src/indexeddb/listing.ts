/**
 * Reading an IndexedDB store as a whole: entries in byte order of their keys, ranges of keys, counts and sizes.
 *
 * IndexedDB orders string keys by UTF-16 code units, the contract by code points. The two orders differ only where two keys
 * first differ in a code unit from U+D800 up. All keys with the same text before such a unit form a block. Each page is
 * sorted as a whole. Only the block of its last key may continue beyond the page, so that block is read separately.
 *
 * Spec: W3C Indexed Database API 3.0, §2.4 Keys.
 */
import type { Snapshot, StorageStats } from '../core/backend.ts';
import { StorageError } from '../core/errors.ts';
import { utf8Length } from '../core/keys.ts';
import { compareKeys } from '../core/order.ts';
import { snapshot } from '../core/values.ts';
import type { Connection } from './connection.ts';
import { readError, resultOf } from './errors.ts';

/** Code units that IndexedDB and the contract order differently. */
const HIGH_UNIT = /[\ud800-\uffff]/;

/**
 * Bytes and entries that one request reads. The engine delivers the result of a request in one piece: many small pieces cost
 * one request each, and a large piece blocks everything else. About 200 KB was fastest for values of every size.
 */
const PAGE_BYTES = 200_000;
const MAX_PAGE_ENTRIES = 250;
/** Entries of the first page, which shows how large the values are. */
const FIRST_PAGE_ENTRIES = 32;

const NO_BYTES = new ArrayBuffer(0);
const ONE_BYTE = new ArrayBuffer(1);

/**
 * The least key that is not a string. Keys of other types belong to other programs.
 *
 * fake-indexeddb on Node.js 20 takes an empty buffer for a detached one and refuses it as a key. No such key is stored there.
 */
function endOfStrings(): IDBValidKey {
  try {
    IDBKeyRange.only(NO_BYTES);
    return NO_BYTES;
  } catch {
    return ONE_BYTE;
  }
}

/** The least key above every key that begins with `prefix`. */
export function endOf(prefix: string): IDBValidKey {
  for (let end = prefix.length - 1; end >= 0; end--) {
    const unit = prefix.charCodeAt(end);
    if (unit < 0xffff) return prefix.slice(0, end) + String.fromCharCode(unit + 1);
  }
  return endOfStrings();
}

/** All string keys that begin with `prefix`. */
const rangeOf = (prefix: string): IDBKeyRange => IDBKeyRange.bound(prefix, endOf(prefix), false, true);

/** The number of entries like these that one request should read. */
export function pageSizeFor(values: readonly unknown[]): number {
  const samples = [0, values.length >> 1, values.length - 1].map((i) => sizeOf(values[i]));
  const mean = samples.reduce((sum, size) => sum + size, 1) / samples.length;
  return Math.max(1, Math.min(MAX_PAGE_ENTRIES, Math.round(PAGE_BYTES / mean)));
}

/** The approximate size of a value in bytes. */
function sizeOf(value: unknown): number {
  if (typeof value === 'string') return value.length;
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) return value.byteLength;
  try {
    return JSON.stringify(value)?.length ?? 0;
  } catch {
    // A cycle or a bigint has no JSON text.
    return 1000;
  }
}

/** Entries as they are read. A `StorageError` in place of a value says why it cannot be read: IndexedDB never returns one. */
type Page = Array<readonly [key: string, value: unknown]>;

/** All keys that begin with `prefix`, in byte order. */
export async function keysOf(read: Connection['read'], prefix: string): Promise<string[]> {
  const [request] = await read((store) => [store.getAllKeys(rangeOf(prefix))] as const);
  const keys = resultOf(request, 'keys') as string[];
  return keys.some((key) => HIGH_UNIT.test(key)) ? keys.sort(compareKeys) : keys;
}

/**
 * All entries whose key begins with `prefix` and comes after the key `after`, in byte order, in pages. The next page is read
 * while the caller handles one.
 *
 * @throws {StorageError} `unsupported-value` at an entry whose value cannot be read, after the entries before it.
 */
export async function* entriesOf(
  read: Connection['read'],
  prefix: string,
  after?: string,
): AsyncGenerator<Page> {
  for await (const page of scan(read, prefix, after)) {
    const at = page.findIndex(([, value]) => value instanceof StorageError);
    yield at < 0 ? page : page.slice(0, at);
    if (at >= 0) throw page[at]?.[1];
  }
}

/** The same, with the entries whose value cannot be read, each with the reason. */
async function* scan(read: Connection['read'], prefix: string, after?: string): AsyncGenerator<Page> {
  const end = endOf(prefix);
  let amount = FIRST_PAGE_ENTRIES;
  const startPage = (from: IDBValidKey, isOpen: boolean): Promise<Page> | undefined => {
    // The end of a block may be the end of the listing.
    if (from === end) return undefined;
    const page = readPage(read, IDBKeyRange.bound(from, end, isOpen, true), amount);
    // A caller that stops early never awaits this page.
    page.catch(() => {});
    return page;
  };
  const at = after === undefined ? -1 : highUnitIn(after, prefix.length);
  const stem = after?.slice(0, at);
  if (at >= 0) yield* blockOf(read, stem as string, after);
  let next =
    at >= 0 ? startPage(endOf(stem as string), false) : startPage(after ?? prefix, after !== undefined);
  while (next !== undefined) {
    const page: Page = await next;
    const last = page.at(-1)?.[0];
    if (last === undefined || page.length < amount) {
      yield sorted(page);
      return;
    }
    amount = pageSizeFor(page.map(([, value]) => value));
    const at = highUnitIn(last, prefix.length);
    if (at < 0) {
      next = startPage(last, true);
      yield sorted(page);
    } else {
      const stem = last.slice(0, at);
      yield sorted(page.filter(([key]) => !isInBlock(key, stem)));
      yield* blockOf(read, stem);
      next = startPage(endOf(stem), false);
    }
  }
}

const sorted = (page: Page): Page => page.sort(([a], [b]) => compareKeys(a, b));

const isInBlock = (key: string, stem: string): boolean =>
  key.startsWith(stem) && key.charCodeAt(stem.length) >= 0xd800;

/** The index of the first code unit from U+D800 up at or after `start`, or -1. */
const highUnitIn = (key: string, start: number): number => {
  const at = key.slice(start).search(HIGH_UNIT);
  return at < 0 ? at : at + start;
};

/** The entries of the block after `stem` whose key comes after `after`. */
async function* blockOf(read: Connection['read'], stem: string, after = ''): AsyncGenerator<Page> {
  const range = IDBKeyRange.bound(`${stem}\ud800`, endOf(stem), false, true);
  const [request] = await read((store) => [store.getAllKeys(range)] as const);
  const keys = (resultOf(request, stem) as string[])
    .filter((key) => compareKeys(key, after) > 0)
    .sort(compareKeys);
  let amount = FIRST_PAGE_ENTRIES;
  for (let i = 0; i < keys.length; ) {
    const part = keys.slice(i, i + amount);
    i += part.length;
    const page = await readSingly(read, part);
    amount = pageSizeFor(page.map(([, value]) => value));
    yield page;
  }
}

async function readPage(read: Connection['read'], range: IDBKeyRange, amount: number): Promise<Page> {
  const [keys, values] = await read(
    (store) => [store.getAllKeys(range, amount), store.getAll(range, amount)] as const,
  );
  const page = resultOf(keys, 'A page of keys') as string[];
  // One value that cannot be read fails the whole request.
  if (values.error) return readSingly(read, page);
  return page.map((key, i) => [key, values.result[i]] as const);
}

/** The entries of `keys` that exist, read with one request each. */
async function readSingly(read: Connection['read'], keys: readonly string[]): Promise<Page> {
  const requests = await read((store) =>
    keys.flatMap((key): IDBRequest[] => [store.get(key), store.getKey(key)]),
  );
  return keys.flatMap((key, i): Page => {
    const [value, found] = [requests[2 * i], requests[2 * i + 1]] as [IDBRequest, IDBRequest];
    // That the key was found shows that the database works, and only this value cannot be read.
    if (resultOf(found, `Key ${key}`) === undefined) return [];
    return [[key, value.error ? readError(value.error, key, true) : value.result]];
  });
}

/** The number of entries with a string key. */
export async function countOf(read: Connection['read']): Promise<number> {
  const [request] = await read((store) => [store.count(rangeOf(''))] as const);
  return resultOf(request, 'The number of keys');
}

/** Loads the text form of values that JSON has no form for. */
export type LoadCodec = () => Promise<Pick<typeof import('../core/json.ts'), 'encode'>>;

/** The number and size of all entries. IndexedDB records no sizes, so every value is read. */
export async function statsOf(read: Connection['read'], codec: LoadCodec): Promise<StorageStats> {
  let keys = 0;
  let sizeBytes = 0;
  for await (const page of scan(read, '')) {
    keys += page.length;
    for (const [, value] of page) sizeBytes += await sizeOfText(value, codec);
  }
  return { keys, sizeBytes };
}

/** The bytes of a value's JSON text; 0 if it has none, or if its Blobs cannot be read. */
async function sizeOfText(value: unknown, codec: LoadCodec): Promise<number> {
  let copy: Snapshot;
  try {
    copy = snapshot(value);
  } catch {
    // Another program stored it, or it cannot be read.
    return 0;
  }
  if (copy.plain && !mayNeedEscape(copy.value)) return utf8Length(JSON.stringify(copy.value));
  const { encode } = await codec();
  try {
    return utf8Length(await encode(copy));
  } catch {
    return 0;
  }
}

/** Whether a plain value may look like an envelope. Only the codec knows. */
function mayNeedEscape(value: unknown): boolean {
  if (typeof value === 'object') for (const first in value) return first.startsWith('$cf');
  return false;
}
