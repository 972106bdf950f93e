/**
 * Lists cut into chunks, by count and bytes, and lists that are cut because a chunk of them was refused.
 */

/** How large a chunk may be. A single item is never cut, so a chunk of one item may be larger. */
export interface ChunkLimits<T> {
  /** Items at most. Default: no limit. */
  readonly count?: number;
  /** Bytes of all items at most. Default: no limit. */
  readonly bytes?: number;
  /** Bytes of one item. Default: none. */
  sizeOf?(item: T): number;
  /**
   * Whether an item must be the first of a chunk for another reason. It is called once for each item, with the chunk that the item
   * would join, which is empty where the list is cut before it anyway.
   */
  startsChunk?(item: T, chunk: readonly T[]): boolean;
}

/** Cuts items, in their order, as they are added. */
export function createCutter<T>({
  count = Infinity,
  bytes: most = Infinity,
  sizeOf,
  startsChunk,
}: ChunkLimits<T>) {
  let chunk: T[] = [];
  let bytes = 0;
  const take = (): T[] => {
    const taken = chunk;
    chunk = [];
    bytes = 0;
    return taken;
  };
  return {
    /** Adds an item. Returns the chunk before it, if it begins a new one. */
    add(item: T): T[] | undefined {
      const size = sizeOf?.(item) ?? 0;
      let full = chunk.length > 0 && (chunk.length >= count || bytes + size > most) ? take() : undefined;
      if (startsChunk?.(item, chunk) && chunk.length > 0) full = take();
      chunk.push(item);
      bytes += size;
      return full;
    },
    /** The last chunk. Empty only where nothing was added. */
    rest: take,
  };
}

/** The items of a list in chunks, in their order. No chunk is empty. */
export function* chunksOf<T>(items: Iterable<T>, limits: ChunkLimits<T>): Generator<T[], undefined> {
  const cutter = createCutter(limits);
  for (const item of items) {
    const full = cutter.add(item);
    if (full) yield full;
  }
  const rest = cutter.rest();
  if (rest.length > 0) yield rest;
}

/** The same over items that arrive one after the other. */
export async function* chunksOfStream<T>(
  items: AsyncIterable<T>,
  limits: ChunkLimits<T>,
): AsyncGenerator<T[], undefined> {
  const cutter = createCutter(limits);
  for await (const item of items) {
    const full = cutter.add(item);
    if (full) yield full;
  }
  const rest = cutter.rest();
  if (rest.length > 0) yield rest;
}

/** How a list is carried out whose parts may succeed where the whole is refused. */
export interface Bisection<T> {
  /** Carries out a part, all or nothing. Rejects where nothing of it was carried out. */
  attempt(part: readonly T[]): Promise<void>;
  /** Whether halves of a part may succeed after this failure, or another item may where the part is a single one. */
  isDivisible(error: unknown): boolean;
  /** Takes note of a part that failed for good. What it throws ends the whole. */
  fail(part: readonly T[], error: unknown): void;
  /** Whether the failure of a single item counts towards the limit. Default: each does. */
  counts?(error: unknown): boolean;
  /**
   * How many single items may fail before parts are no longer halved: then the items are not the reason, and attempts would
   * multiply. Default 3.
   */
  readonly maxFailures?: number;
}

/**
 * Returns a function that carries out a list, and where it is refused as a whole, its halves, in their order, so that only items
 * that are refused alone fail. Its calls share one count of single failures.
 */
export function createBisection<T>(bisection: Bisection<T>): (items: readonly T[]) => Promise<void> {
  const { maxFailures = 3 } = bisection;
  let failures = 0;
  return async function run(part) {
    try {
      await bisection.attempt(part);
    } catch (error) {
      if (part.length > 1 && failures < maxFailures && bisection.isDivisible(error)) {
        const middle = part.length >> 1;
        await run(part.slice(0, middle));
        await run(part.slice(middle));
        return;
      }
      if (part.length === 1 && (bisection.counts?.(error) ?? true)) failures += 1;
      bisection.fail(part, error);
    }
  };
}
