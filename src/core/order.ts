/**
 * The order of keys, and ranges of keys in it.
 *
 * Keys are ordered by their UTF-8 bytes, which is the order of code points. It is not the order of JavaScript's `<`, which compares
 * UTF-16 code units.
 */

/** Compares two keys in byte order, for `Array.prototype.sort`. */
export function compareKeys(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const x = a.charCodeAt(i);
    const y = b.charCodeAt(i);
    // Surrogates (U+D800 to U+DFFF) stand for code points above every other code unit.
    if (x !== y) return codePointRank(x) - codePointRank(y);
  }
  return a.length - b.length;
}

const codePointRank = (unit: number): number => (unit >= 0xd800 && unit <= 0xdfff ? unit + 0x10000 : unit);

/** A range of keys. A member that is left out does not limit it. */
export interface KeyRange {
  /** The text that every key begins with. */
  readonly prefix?: string | undefined;
  /** The least key, inclusive. */
  readonly start?: string | undefined;
  /** The upper bound, exclusive. */
  readonly end?: string | undefined;
  /** The highest number of keys, counted from where the listing begins. */
  readonly limit?: number | undefined;
  /** Whether the keys are listed in descending order. */
  readonly reverse?: boolean | undefined;
}

/** The same range of keys, which holds the keys that begin with `stem`, from `start` (inclusive) to `end` (exclusive). */
export interface Bounds {
  /** The longest text that is known to begin every key. */
  readonly stem: string;
  /** Begins with `stem`. */
  readonly start: string;
  /** Begins with `stem`. Without it the range reaches to the last key that does. */
  readonly end: string | undefined;
}

/** The bounds of a range, or `undefined` if no key can be in it. */
export function boundsOf({ prefix = '', start = '', end }: KeyRange): Bounds | undefined {
  const from = compareKeys(start, prefix) > 0 ? start : prefix;
  if (!from.startsWith(prefix) || (end !== undefined && compareKeys(end, from) <= 0)) return undefined;
  if (!end?.startsWith(prefix)) return { stem: prefix, start: from, end: undefined };
  // Every key between two texts begins with what both begin with.
  let length = prefix.length;
  while (length < from.length && from[length] === end[length]) length += 1;
  return { stem: end.slice(0, length), start: from, end };
}

/** Whether a key is within bounds. */
export const isWithin = ({ stem, start, end }: Bounds, key: string): boolean =>
  key.startsWith(stem) && compareKeys(key, start) >= 0 && (end === undefined || compareKeys(key, end) < 0);

/** Whether every key is in a range. */
export const isUnbounded = ({ prefix = '', start = '', end }: KeyRange): boolean =>
  prefix === '' && start === '' && end === undefined;

/** The keys of a range among keys in ascending order: in the order, and at most as many, as the range asks for. */
export function select(keys: readonly string[], range: KeyRange): string[] {
  const bounds = boundsOf(range);
  const within = bounds ? keys.filter((key) => isWithin(bounds, key)) : [];
  if (range.reverse) within.reverse();
  return within.slice(0, range.limit);
}

/** The same range of keys that are put after `prefix`, without the empty key. */
export const rangeWithin = (prefix: string, range: KeyRange): KeyRange =>
  prefix === ''
    ? range
    : {
        ...range,
        prefix: prefix + (range.prefix ?? ''),
        // The key that equals the prefix is not part of it.
        start: range.start ? prefix + range.start : keyAfter(prefix),
        end: range.end === undefined ? undefined : prefix + range.end,
      };

/** What is left of a range, in its order, after a page of its entries. */
export function restOf(
  range: KeyRange,
  page: ReadonlyArray<readonly [key: string, value: unknown]>,
): KeyRange {
  const last = page.at(-1)?.[0];
  if (last === undefined) return range;
  return {
    ...range,
    ...(range.reverse ? { end: last } : { start: keyAfter(last) }),
    ...(range.limit !== undefined && { limit: range.limit - page.length }),
  };
}

/** The least key above `key`: the `start` of a range that goes on after it. */
export const keyAfter = (key: string): string => `${key}\0`;
