/**
 * Keys, entries and counts of a server of level 1 (docs/contract.md, section 6).
 */
import type { Protocol } from '../../core/backend.ts';
import { type ChunkLimits, chunksOf } from '../../core/chunks.ts';
import { StorageError } from '../../core/errors.ts';
import type { JsonObject } from '../../core/json.ts';
import { compareKeys } from '../../core/order.ts';
import { type Delivery, entryOf, errorOf } from './batches.ts';
import type { Delivered, Level1 } from './protocol.ts';
import type { Settled } from './request.ts';

/** Keys that are listed with one request, and those of them whose values are read soon. */
const KEYS = 10_000;
const KEYS_TO_READ = 2000;
/** Entries of a page, and bytes of their values, unless it is one. */
const ENTRIES = 500;
const BYTES = 4 * 1024 * 1024;

/** What lists and counts over `level1`. */
export function createLists(level1: Level1, delivery: Delivery): Omit<Protocol, 'run' | 'check'> {
  return {
    async keys(prefix) {
      const keys: string[] = [];
      for await (const page of pagesOf(level1, prefix, KEYS)) for (const { key } of page) keys.push(key);
      return keys;
    },
    async *entries(prefix, after) {
      for await (const page of pagesOf(level1, prefix, KEYS_TO_READ, after))
        for (const keys of chunksOf(page, READ_AT_ONCE)) yield await readEntries(delivery, keys);
    },
    stats: async () =>
      answerOf(
        await level1.read('stats', ({ keys, sizeBytes }) =>
          isCount(keys) && isCount(sizeBytes) ? { keys, sizeBytes } : undefined,
        ),
      ),
  };
}

/** The entries of keys, but for those that were deleted after they were listed. */
async function readEntries(
  delivery: Delivery,
  keys: readonly KeySize[],
): Promise<Array<readonly [string, unknown]>> {
  const read = await delivery.deliver(keys.map(({ key }) => ({ op: 'get', key })));
  const entries: Array<readonly [string, unknown]> = [];
  for (const [i, { key }] of keys.entries()) {
    const result = read[i] as Delivered;
    if (result instanceof StorageError) throw result;
    if (result.status === 404) continue;
    const entry = await entryOf(key, result);
    if (entry === undefined) throw errorOf(key, result);
    entries.push([key, entry.value]);
  }
  return entries;
}

/** What no key holds, or more of a prefix than a URL should. */
const BEYOND_URL = /[\0\p{Surrogate}].*$/su;
const PREFIX_UNITS = 400;

/** The keys under a prefix in pages. Only what a URL can say of the prefix is asked for; the rest is looked at here. */
async function* pagesOf(
  level1: Level1,
  prefix: string,
  limit: number,
  from?: string,
): AsyncGenerator<KeySize[]> {
  const asked = prefix.slice(0, PREFIX_UNITS).replace(BEYOND_URL, '');
  let after = from;
  do {
    const query = [
      asked === '' ? '' : `prefix=${encodeURIComponent(asked)}&`,
      after === undefined ? '' : `after=${encodeURIComponent(after)}&`,
    ].join('');
    const { keys, next } = answerOf(
      await level1.read(`keys?${query}limit=${limit}`, (json) => pageOf(json, asked, after)),
    );
    yield keys.filter(({ key }) => key.startsWith(prefix));
    after = next;
  } while (after !== undefined);
}

/** Limits of a page whose values are read at once. */
const READ_AT_ONCE: ChunkLimits<KeySize> = { count: ENTRIES, bytes: BYTES, sizeOf: ({ size }) => size };

function answerOf<T>(sent: Settled<T>): T {
  if (sent.error) throw sent.error;
  return sent.answer;
}

/** A key, and the bytes of its value; 0 where the server does not tell. */
interface KeySize {
  readonly key: string;
  readonly size: number;
}

/** A page of keys, and where the next one begins. */
interface KeyPage {
  readonly keys: readonly KeySize[];
  readonly next: string | undefined;
}

function pageOf({ keys: list, next }: JsonObject, prefix: string, after = ''): KeyPage | undefined {
  if (!Array.isArray(list)) return undefined;
  const keys: KeySize[] = [];
  let last = after;
  for (const item of list) {
    const key: unknown = item?.key;
    // Strictly ascending, so that a walk always ends.
    if (typeof key !== 'string' || !key.startsWith(prefix) || compareKeys(key, last) <= 0) return undefined;
    keys.push({ key, size: isCount(item.size) ? item.size : 0 });
    last = key;
  }
  if (next === null) return { keys, next: undefined };
  return typeof next === 'string' && compareKeys(next, last) >= 0 && next !== after
    ? { keys, next }
    : undefined;
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && Number(value) >= 0;
