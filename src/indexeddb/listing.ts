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
import { type Bounds, boundsOf, compareKeys, isWithin, type KeyRange, select } from '../core/order.ts';
import { snapshot } from '../core/values.ts';
import { type Connection, settled } from './connection.ts';
import { readError, resultOf } from './errors.ts';
import { fromStored } from './stored-value.ts';

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
export const prefixRange = (prefix: string): IDBKeyRange =>
  IDBKeyRange.bound(prefix, endOf(prefix), false, true);

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

/** How the entries of a store are read. */
export type Reader = Pick<Connection, 'read' | 'readInSteps'>;

/** The ends of a range of keys in IndexedDB's order: `low` inclusive, `high` exclusive. */
type Ends = readonly [low: IDBValidKey, high: IDBValidKey];

/** A range of keys in IndexedDB's order. A block that the range begins or ends in may hold more keys than the range. */
interface Extent {
  readonly bounds: Bounds;
  /** Everything, the blocks included. */
  readonly ends: Ends;
  /** The stem of the block that the range begins in. */
  readonly firstBlock: string | undefined;
  /** The stem of the block that the range ends in. */
  readonly lastBlock: string | undefined;
}

function extentOf(range: KeyRange): Extent | undefined {
  const bounds = boundsOf(range);
  if (bounds === undefined) return undefined;
  const { stem, start, end } = bounds;
  const firstBlock = blockAt(start, stem.length);
  const lastBlock = end === undefined ? undefined : blockAt(end, stem.length);
  const low = firstBlock === undefined ? start : startOfBlock(firstBlock);
  const high = lastBlock === undefined ? (end ?? endOf(stem)) : endOf(lastBlock);
  return { bounds, ends: [low, high], firstBlock, lastBlock };
}

const rangeOf = ([low, high]: Ends, isOpen = false): IDBKeyRange =>
  IDBKeyRange.bound(low, high, isOpen, true);

/** The keys of a range, in its order. */
export async function keysOf(reader: Reader, range: KeyRange): Promise<string[]> {
  const extent = extentOf(range);
  if (extent === undefined) return [];
  const keys: string[] = [];
  if (range.limit !== undefined) {
    for await (const page of rawPagesOf(reader, range, false)) for (const [key] of page) keys.push(key);
    return keys;
  }
  const [request] = await reader.read((store) => [store.getAllKeys(rangeOf(extent.ends))] as const);
  const found = resultOf(request, 'The keys') as string[];
  if (found.some((key) => HIGH_UNIT.test(key))) return select(found.sort(compareKeys), range);
  return range.reverse ? found.reverse() : found;
}

/**
 * The entries of a range, in its order, in pages. The next page is read while the caller handles one.
 *
 * @throws {StorageError} `unsupported-value` at an entry whose value cannot be read, after the entries before it.
 */
export async function* entriesOf(reader: Reader, range: KeyRange): AsyncGenerator<Page> {
  for await (const page of rawPagesOf(reader, range, true)) {
    const at = page.findIndex(([, value]) => value instanceof StorageError);
    const readable = at < 0 ? page : page.slice(0, at);
    yield readable.map(([key, value]) => [key, fromStored(value)] as const);
    if (at >= 0) throw page[at]?.[1];
  }
}

/** The number of keys of a range, whose order makes no difference. */
export async function countOf(reader: Reader, range: KeyRange): Promise<number> {
  const extent = extentOf(range);
  if (extent === undefined) return 0;
  if (extent.firstBlock !== undefined || extent.lastBlock !== undefined)
    return (await keysOf(reader, range)).length;
  const [request] = await reader.read((store) => [store.count(rangeOf(extent.ends))] as const);
  return resultOf(request, 'The number of keys');
}

/**
 * The pages of a range, in its order: the values as they are stored, and a `StorageError` in place of each that cannot be read.
 * Without values if only the keys are needed.
 */
export async function* rawPagesOf(reader: Reader, range: KeyRange, hasValues: boolean): AsyncGenerator<Page> {
  const extent = extentOf(range);
  if (extent === undefined || range.limit === 0) return;
  const { bounds, firstBlock, lastBlock } = extent;
  const { reverse = false, limit = Number.POSITIVE_INFINITY } = range;
  let left = limit;
  let amount = hasValues ? FIRST_PAGE_ENTRIES : limit;

  const arranged = (page: Page): Page => {
    page.sort(([a], [b]) => compareKeys(a, b));
    return reverse ? page.reverse() : page;
  };

  /** The entries of a block, as far as they are in the range. */
  async function* block(stem: string): AsyncGenerator<Page> {
    const ends = [startOfBlock(stem), endOf(stem)] as const;
    const [request] = await reader.read((store) => [store.getAllKeys(rangeOf(ends))] as const);
    const keys = (resultOf(request, stem) as string[])
      .filter((key) => isWithin(bounds, key))
      .sort(compareKeys);
    yield* readKeys(reader, reverse ? keys.reverse() : keys, hasValues);
  }

  /** The entries between two keys in IndexedDB's order, both outside of a block. */
  async function* between(low: IDBValidKey, high: IDBValidKey): AsyncGenerator<Page> {
    let [from, to, isOpen] = [low, high, false];
    let asked = 0;
    const startPage = (least: number): Promise<Page> | undefined => {
      asked = Math.min(amount, least);
      if (asked <= 0 || isEmpty(from, to)) return undefined;
      const page = readPage(reader, rangeOf([from, to], isOpen), { amount: asked, reverse, hasValues });
      // A caller that stops early never awaits this page.
      page.catch(() => {});
      return page;
    };
    let next = startPage(left);
    while (next !== undefined) {
      const page: Page = await next;
      const edge = page.at(reverse ? 0 : -1)?.[0];
      if (edge === undefined || page.length < asked) {
        yield arranged(page);
        return;
      }
      if (hasValues) amount = pageSizeFor(page.map(([, value]) => value));
      const stem = blockAt(edge, bounds.stem.length);
      if (stem === undefined) {
        if (reverse) to = edge;
        else [from, isOpen] = [edge, true];
        next = startPage(left - page.length);
        yield arranged(page);
      } else {
        yield arranged(page.filter(([key]) => !isInBlock(key, stem)));
        yield* block(stem);
        if (reverse) to = startOfBlock(stem);
        else [from, isOpen] = [endOf(stem), false];
        next = startPage(left);
      }
    }
  }

  const parts =
    firstBlock !== undefined && firstBlock === lastBlock
      ? [block(firstBlock)]
      : [
          ...(firstBlock === undefined ? [] : [block(firstBlock)]),
          between(
            firstBlock === undefined ? bounds.start : endOf(firstBlock),
            lastBlock === undefined ? extent.ends[1] : startOfBlock(lastBlock),
          ),
          ...(lastBlock === undefined ? [] : [block(lastBlock)]),
        ];
  for (const part of reverse ? parts.reverse() : parts)
    for await (const page of part) {
      const taken = page.slice(0, left);
      left -= taken.length;
      yield taken;
      if (left <= 0) return;
    }
}

/** The stem of the block that a key is in: the text before the first code unit from U+D800 up, at `from` or after it. */
function blockAt(key: string, from: number): string | undefined {
  const at = key.slice(from).search(HIGH_UNIT);
  return at < 0 ? undefined : key.slice(0, from + at);
}

const startOfBlock = (stem: string): string => `${stem}\ud800`;

const isInBlock = (key: string, stem: string): boolean =>
  key.startsWith(stem) && key.charCodeAt(stem.length) >= 0xd800;

/** Whether no string is between two keys in IndexedDB's order. */
const isEmpty = (low: IDBValidKey, high: IDBValidKey): boolean =>
  typeof low !== 'string' || (typeof high === 'string' && low >= high);

/** The entries of keys, in their order, in pages, but those of keys that do not exist. */
async function* readKeys(reader: Reader, keys: readonly string[], hasValues: boolean): AsyncGenerator<Page> {
  if (!hasValues) yield keys.map((key) => [key, undefined] as const);
  let amount = FIRST_PAGE_ENTRIES;
  for (let i = 0; hasValues && i < keys.length; ) {
    const part = keys.slice(i, i + amount);
    i += part.length;
    const page = await readSingly(reader, part);
    amount = pageSizeFor(page.map(([, value]) => value));
    yield page;
  }
}

/** The entries of `keys` that exist, read with one request each. */
async function readSingly({ read }: Reader, keys: readonly string[]): Promise<Page> {
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

interface PageSize {
  readonly amount: number;
  /** Whether the page is at the end of the range. */
  readonly reverse: boolean;
  readonly hasValues: boolean;
}

/** What `getAllKeys` takes as the number of keys: a 32-bit number. */
const MAX_COUNT = 0xffff_ffff;

/** The first or last entries of a range, in ascending order. */
async function readPage(
  reader: Reader,
  range: IDBKeyRange,
  { amount, reverse, hasValues }: PageSize,
): Promise<Page> {
  const most = amount > MAX_COUNT ? undefined : amount;
  const request = (store: IDBObjectStore, of: IDBKeyRange): IDBRequest[] => [
    store.getAllKeys(of, most),
    ...(hasValues ? [store.getAll(of, most)] : []),
  ];
  const [keys, values] = await (reverse && most !== undefined
    ? reader.readInSteps(async (store) => {
        // IndexedDB reads many entries in ascending order only. A cursor that skips all but one finds the first of the last ones.
        const cursor = store.openKeyCursor(range, 'prev');
        await settled([cursor]);
        if (cursor.result && most > 1) {
          cursor.result.advance(most - 1);
          await settled([cursor]);
        }
        const first = resultOf(cursor, 'The last keys')?.key ?? range.lower;
        return settled(request(store, IDBKeyRange.bound(first, range.upper, false, true)));
      })
    : reader.read((store) => request(store, range)));
  const page = resultOf(keys as IDBRequest<string[]>, 'A page of keys');
  // One value that cannot be read fails the whole request.
  if (values?.error) return readSingly(reader, page);
  return page.map((key, i) => [key, values?.result[i]] as const);
}

/** Loads the text form of values that JSON has no form for. */
export type LoadCodec = () => Promise<Codec>;
type Codec = Pick<typeof import('../core/json.ts'), 'encode'>;

/** The number and size of all entries. IndexedDB records no sizes, so every value is read. */
export async function statsOf(reader: Reader, codec: LoadCodec): Promise<StorageStats> {
  let keys = 0;
  let sizeBytes = 0;
  let loading: Promise<Codec | undefined> | undefined;
  const codecOnce = () => {
    loading ??= codec().catch(() => undefined);
    return loading;
  };
  for await (const page of rawPagesOf(reader, {}, true)) {
    keys += page.length;
    for (const [, value] of page) sizeBytes += await sizeOfText(value, codecOnce);
  }
  return { keys, sizeBytes };
}

/** The bytes of a value's JSON text, estimated without a codec; 0 if it has none, or if its Blobs cannot be read. */
async function sizeOfText(value: unknown, codec: () => Promise<Codec | undefined>): Promise<number> {
  let copy: Snapshot;
  try {
    copy = snapshot(fromStored(value));
  } catch {
    // Another program stored it, or it cannot be read.
    return 0;
  }
  if (copy.plain && !mayNeedEscape(copy.value)) return utf8Length(JSON.stringify(copy.value));
  const loaded = await codec();
  if (loaded === undefined) return sizeOf(value);
  try {
    return utf8Length(await loaded.encode(copy));
  } catch {
    return 0;
  }
}

/** Whether a plain value may look like an envelope. Only the codec knows. */
function mayNeedEscape(value: unknown): boolean {
  if (typeof value === 'object') for (const first in value) return first.startsWith('$cf');
  return false;
}
