/**
 * Keys, entries and counts of a server of level 1 (docs/contract.md, section 6).
 */
import type { Delete, Protocol } from '../../core/backend.ts';
import { type ChunkLimits, chunksOf } from '../../core/chunks.ts';
import type { JsonObject } from '../../core/json.ts';
import { type Bounds, boundsOf, compareKeys, isWithin, type KeyRange } from '../../core/order.ts';
import { type Deadline, remainingMs } from '../../core/time.ts';
import { type Delivery, entryOf, errorOf } from './batches.ts';
import type { Delivered, Level1, Settled } from './protocol.ts';

/** The keys that one request lists, and fewer of them if their values are read next. */
const KEYS = 10_000;
const KEYS_TO_READ = 2000;
/** The entries of a page, and the bytes of their values. A page of one entry may have more. */
const ENTRIES = 500;
const BYTES = 4 * 1024 * 1024;

/** The lists and counts of a backend over `level1`. */
export function createLists(level1: Level1, delivery: Delivery): Omit<Protocol, 'run' | 'check'> {
  return {
    async keys(range, deadline) {
      const keys: string[] = [];
      for await (const page of pagesIn(level1, range, KEYS, deadline))
        for (const { key } of page) keys.push(key);
      return keys;
    },
    async *entries(range) {
      for await (const page of pagesIn(level1, range, KEYS_TO_READ))
        for (const keys of chunksOf(page, READ_AT_ONCE)) yield await readEntries(delivery, keys);
    },
    async deletesOf(prefix, deadline) {
      const deletes: Delete[] = [];
      for await (const page of pagesIn(level1, { prefix }, KEYS, deadline))
        for (const { key, revision } of page) deletes.push({ type: 'delete', key, ifRevision: revision });
      return deletes;
    },
    stats: async (deadline) =>
      answerOf(
        await level1.read(
          'stats',
          ({ keys, sizeBytes }) => (isCount(keys) && isCount(sizeBytes) ? { keys, sizeBytes } : undefined),
          deadline && remainingMs(deadline),
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
    if (result.status === undefined) throw result.error;
    if (result.status === 404) continue;
    const entry = await entryOf(key, result);
    if (entry === undefined) throw errorOf(key, result);
    entries.push([key, entry.value]);
  }
  return entries;
}

/** The first character that no key of a server holds, and what follows it. */
const NOT_PORTABLE = /[\0\p{Surrogate}].*$/su;
/** Units of a prefix or a start that a URL is asked for at most. */
const MAX_URL_UNITS = 400;

/** As much of a text as a URL can say. */
const askable = (text: string): string => text.slice(0, MAX_URL_UNITS).replace(NOT_PORTABLE, '');

/**
 * The keys of a range in pages, in its order and at most as many. Descending keys are listed in ascending order first.
 *
 * @param deadline By when the first page is to be there. Each further one has a limit of its own.
 */
async function* pagesIn(
  level1: Level1,
  range: KeyRange,
  size: number,
  deadline?: Deadline,
): AsyncGenerator<readonly KeySize[]> {
  const bounds = boundsOf(range);
  const { limit = Number.POSITIVE_INFINITY } = range;
  if (bounds === undefined || limit === 0) return;
  if (range.reverse) {
    const all: KeySize[] = [];
    for await (const page of pagesOf(level1, bounds, KEYS, deadline)) all.push(...page);
    all.reverse();
    for (let from = 0; from < Math.min(all.length, limit); from += size)
      yield all.slice(from, Math.min(from + size, limit));
    return;
  }
  let left = limit;
  for await (const page of pagesOf(level1, bounds, Math.min(size, limit), deadline)) {
    yield page.slice(0, left);
    left -= page.length;
    if (left <= 0) return;
  }
}

/**
 * The keys within bounds in pages, in ascending order. What a URL cannot say of the bounds is compared here.
 *
 * @param size Keys of a page at most.
 */
async function* pagesOf(
  level1: Level1,
  bounds: Bounds,
  size: number,
  deadline: Deadline | undefined,
): AsyncGenerator<KeySize[]> {
  let by = deadline;
  const prefix = askable(bounds.stem);
  let after = keyBefore(askable(bounds.start), prefix);
  do {
    const query = [
      prefix === '' ? '' : `prefix=${encodeURIComponent(prefix)}&`,
      after === undefined ? '' : `after=${encodeURIComponent(after)}&`,
    ].join('');
    const { keys, next } = answerOf(
      await level1.read(
        `keys?${query}limit=${size}`,
        (json) => pageOf(json, prefix, after),
        by && remainingMs(by),
      ),
    );
    by = undefined;
    yield keys.filter(({ key }) => isWithin(bounds, key));
    const last = keys.at(-1)?.key ?? '';
    after = bounds.end !== undefined && compareKeys(last, bounds.end) >= 0 ? undefined : next;
  } while (after !== undefined);
}

/** Limits of a page whose values are read at once. */
const READ_AT_ONCE: ChunkLimits<KeySize> = { count: ENTRIES, bytes: BYTES, sizeOf: ({ size }) => size };

/**
 * A text that `start` follows in byte order, and of which few keys, if any, are in between; nothing where that is before every key
 * that begins with `prefix`. The protocol lists what comes after a key, a range begins with one.
 */
function keyBefore(start: string, prefix: string): string | undefined {
  if (start.length <= prefix.length) return undefined;
  const last = [...start].at(-1) as string;
  const stem = start.slice(0, -last.length);
  const point = last.codePointAt(0) as number;
  // A server holds no U+0000. Before U+E000 are the surrogates, which are no characters.
  if (point === 1) return stem;
  return `${stem}${String.fromCodePoint(point === 0xe000 ? 0xd7ff : point - 1)}\u{10ffff}`;
}

function answerOf<T>(sent: Settled<T>): T {
  if (sent.error) throw sent.error;
  return sent.answer;
}

/** A key, its revision, and the bytes of its value; 0 if the server does not say. */
interface KeySize {
  readonly key: string;
  readonly revision: string;
  readonly size: number;
}

/** A page of keys, and where the next one begins. */
interface KeyPage {
  readonly keys: readonly KeySize[];
  readonly next: string | undefined;
}

function pageOf({ keys: list, next, epoch }: JsonObject, prefix: string, after = ''): KeyPage | undefined {
  if (!Array.isArray(list)) return undefined;
  const keys: KeySize[] = [];
  let last = after;
  for (const item of list) {
    const key: unknown = item?.key;
    // Strictly ascending, so that a walk always ends.
    if (typeof key !== 'string' || !key.startsWith(prefix) || compareKeys(key, last) <= 0) return undefined;
    if (!/^\d+$/.test(item.rev)) return undefined;
    keys.push({ key, revision: `${epoch}.${item.rev}`, size: isCount(item.size) ? item.size : 0 });
    last = key;
  }
  if (next === null) return { keys, next: undefined };
  return typeof next === 'string' && compareKeys(next, last) >= 0 && next !== after
    ? { keys, next }
    : undefined;
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && Number(value) >= 0;
