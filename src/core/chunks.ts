/**
 * Chunks: lists split by count and bytes, and lists that are bisected because a part of them was refused.
 */

/** The limits of a chunk. A single item is never split, so a chunk of one item may exceed `bytes`. */
export interface ChunkLimits<T> {
  /** Maximum number of items. Default: no limit. */
  readonly count?: number;
  /** Maximum number of bytes of all items. Default: no limit. */
  readonly bytes?: number;
  /** The size of an item in bytes. Default: 0. */
  sizeOf?(item: T): number;
  /**
   * Whether an item must be the first of a chunk for another reason. Called once for each item with the chunk that the item would
   * join. That chunk is empty if the item starts a new chunk anyway.
   */
  startsChunk?(item: T, chunk: readonly T[]): boolean;
}

/** Splits items into chunks as they are added, in their order. */
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
    /** Adds an item. Returns the previous chunk if the item starts a new one. */
    add(item: T): T[] | undefined {
      const size = sizeOf?.(item) ?? 0;
      let full = chunk.length > 0 && (chunk.length >= count || bytes + size > most) ? take() : undefined;
      if (startsChunk?.(item, chunk) && chunk.length > 0) full = take();
      chunk.push(item);
      bytes += size;
      return full;
    },
    /** Returns the last chunk. It is empty only if no item was added. */
    rest: take,
  };
}

/** Splits a list into chunks, in the order of the items. No chunk is empty. */
export function* chunksOf<T>(items: Iterable<T>, limits: ChunkLimits<T>): Generator<T[], undefined> {
  const cutter = createCutter(limits);
  for (const item of items) {
    const full = cutter.add(item);
    if (full) yield full;
  }
  const rest = cutter.rest();
  if (rest.length > 0) yield rest;
}

/** The same for an asynchronous iterable. */
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

/** How to carry out a list whose parts may succeed although the whole list is refused. */
export interface Bisection<T> {
  /** Carries out a part, all or nothing. Rejects if nothing of it was carried out. */
  attempt(part: readonly T[]): Promise<void>;
  /** Whether, after this failure, a half of the part may succeed, or another item if the part is a single item. */
  isDivisible(error: unknown): boolean;
  /** Records a part that failed permanently. If it throws, the rest is not carried out. */
  fail(part: readonly T[], error: unknown): void;
  /** Whether the failure of a single item counts towards the limit. Default: every failure counts. */
  counts?(error: unknown): boolean;
  /**
   * Number of single items that may fail before parts are no longer bisected. With more failures the items are not the cause, and the
   * number of attempts would multiply. Default 3.
   */
  readonly maxFailures?: number;
}

/**
 * Returns a function that carries out a list. If the list is refused, the function carries out its halves, in their order, so that
 * only items that are refused alone fail. All calls of the function share one count of failed items.
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
