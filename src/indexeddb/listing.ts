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

/** A range of keys in IndexedDB's order. */
interface Extent {
  readonly bounds: Bounds;
  /** If the range begins or ends within a block, the whole block is between the ends. */
  readonly ends: Ends;
  /** Whether every key between the ends is in the range. */
  readonly isExact: boolean;
}

function extentOf(range: KeyRange): Extent | undefined {
  const bounds = boundsOf(range);
  if (bounds === undefined) return undefined;
  const { stem, start, end = '' } = bounds;
  const first = blockAt(start, stem.length);
  const last = blockAt(end, stem.length);
  return {
    bounds,
    ends: [
      first === undefined ? start : startOfBlock(first),
      last === undefined && end !== '' ? end : endOf(last ?? stem),
    ],
    isExact: first === undefined && last === undefined,
  };
}

const rangeOf = ([low, high]: Ends, isOpen = false): IDBKeyRange =>
  IDBKeyRange.bound(low, high, isOpen, true);

/** The keys of a range, in its order. */
export async function keysOf(reader: Reader, range: KeyRange): Promise<string[]> {
  if (range.limit !== undefined) {
    const keys: string[] = [];
    for await (const page of rawPagesOf(reader, range, false)) for (const [key] of page) keys.push(key);
    return keys;
  }
  const extent = extentOf(range);
  if (extent === undefined) return [];
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
  if (!extent?.isExact) return (await keysOf(reader, range)).length;
  const [request] = await reader.read((store) => [store.count(rangeOf(extent.ends))] as const);
  return resultOf(request, 'The number of keys');
}

/**
 * The pages of a range, in its order: the values as they are stored, and a `StorageError` in place of each that cannot be read.
 *
 * @param hasValues Whether the values are read too.
 */
export async function* rawPagesOf(reader: Reader, range: KeyRange, hasValues: boolean): AsyncGenerator<Page> {
  const extent = extentOf(range);
  const { reverse = false, limit = Number.POSITIVE_INFINITY } = range;
  if (extent === undefined || limit === 0) return;
  const { bounds } = extent;
  let [low, high] = extent.ends;
  let isOpen = false;
  let amount = hasValues ? FIRST_PAGE_ENTRIES : limit;
  /** How many entries the caller still takes, and how many the page that is being read may hold. */
  let left = limit;
  let asked = 0;

  const startPage = (least: number): ReturnType<typeof readPage> | undefined => {
    asked = Math.min(amount, least);
    if (asked <= 0 || isEmpty(low, high)) return undefined;
    const page = readPage(reader, rangeOf([low, high], isOpen), { amount: asked, reverse, hasValues });
    // A caller that stops early never awaits this page.
    page.catch(() => {});
    return page;
  };
  const arranged = (page: Page): Page => {
    const within = page.filter(([key]) => isWithin(bounds, key)).sort(([a], [b]) => compareKeys(a, b));
    return reverse ? within.reverse() : within;
  };
  async function* scan(): AsyncGenerator<Page> {
    for (let next = startPage(left); next !== undefined; ) {
      const { keys, page }: Awaited<ReturnType<typeof readPage>> = await next;
      const edge = keys.at(reverse ? 0 : -1);
      if (edge === undefined || keys.length < asked) return yield arranged(page);
      if (hasValues) amount = pageSizeFor(page.map(([, value]) => value));
      const stem = blockAt(edge, bounds.stem.length);
      if (stem === undefined) {
        if (reverse) high = edge;
        else [low, isOpen] = [edge, true];
        const part = arranged(page);
        next = startPage(left - part.length);
        yield part;
      } else {
        yield arranged(page.filter(([key]) => !isInBlock(key, stem)));
        yield* blockOf(stem);
        if (reverse) high = startOfBlock(stem);
        else [low, isOpen] = [endOf(stem), false];
        next = startPage(left);
      }
    }
  }
  /** The entries of a block. Its order is not that of IndexedDB, so all of its keys are read first. */
  async function* blockOf(stem: string): AsyncGenerator<Page> {
    const ends = [startOfBlock(stem), endOf(stem)] as const;
    const [request] = await reader.read((store) => [store.getAllKeys(rangeOf(ends))] as const);
    const entries = (resultOf(request, stem) as string[]).map((key) => [key, undefined] as const);
    const all = arranged(entries);
    if (!hasValues) return yield all;
    let size = FIRST_PAGE_ENTRIES;
    for (let i = 0; i < all.length; ) {
      const keys = all.slice(i, i + size).map(([key]) => key);
      i += keys.length;
      const page = await readSingly(reader, keys);
      size = pageSizeFor(page.map(([, value]) => value));
      yield page;
    }
  }

  for await (const page of scan()) {
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

/** The first or last keys of a range, in ascending order, and their entries, but of keys that were deleted meanwhile. */
async function readPage(
  reader: Reader,
  range: IDBKeyRange,
  { amount, reverse, hasValues }: PageSize,
): Promise<{ readonly keys: readonly string[]; readonly page: Page }> {
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
  const found = resultOf(keys as IDBRequest<string[]>, 'A page of keys');
  // One value that cannot be read fails the whole request.
  if (values?.error) return { keys: found, page: await readSingly(reader, found) };
  return { keys: found, page: found.map((key, i) => [key, values?.result[i]] as const) };
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
