/**
 * Sources: read entries, check and encode them, and group them into pages.
 */
import type { Backend, Operation, Outcome, Snapshot } from '../../core/backend.ts';
import { chunksOfStream } from '../../core/chunks.ts';
import type { StorageError } from '../../core/errors.ts';
import { encode, encodeAt } from '../../core/json.ts';
import { checkKey, utf8Length } from '../../core/keys.ts';
import { type KeyRange, keyAfter } from '../../core/order.ts';
import { snapshot } from '../../core/values.ts';

/** Maximum number of entries of a page, and maximum bytes of their values. */
const MOST = 500;
const MOST_BYTES = 4 * 1024 * 1024;

/** A source of entries. */
export interface Source {
  /** Yields the entries, or those after the key `after`. A source with a journal yields them in byte order. */
  entries(after?: string): AsyncGenerator<SourceEntry>;
  /** The number of entries. */
  count(): Promise<number>;
  /** Which of these keys exist; `undefined` if the source cannot look up single keys. */
  having?(keys: readonly string[]): Promise<ReadonlySet<string>>;
}

/** A backend as a source: those of its entries whose key begins with `prefix`. */
export const sourceOf = (backend: Backend, prefix = ''): Source => ({
  async *entries(after) {
    let last = after;
    for (let unread = true; unread; ) {
      try {
        for await (const page of backend.entries(rangeAfter(prefix, last)))
          for (const [key, value] of page) {
            last = key;
            yield await prepared(key, value);
          }
        unread = false;
      } catch (error) {
        if ((error as StorageError).code !== 'unsupported-value') throw error;
        // A single unreadable value fails its whole page: read the entries of the page one by one.
        const keys = await keysAfter(backend, prefix, last);
        if (keys.length === 0) throw error;
        yield* singly(backend, keys);
        last = keys.at(-1);
      }
    }
  },
  count: () => backend.count({ prefix }),
  async having(keys) {
    const outcomes = await backend.run(keys.map((key) => ({ type: 'has', key })));
    return new Set(
      keys.filter((_, i) => {
        const outcome = outcomes[i] as Outcome;
        if (outcome.status === 'rejected') throw outcome.reason;
        return outcome.value === true;
      }),
    );
  },
});

/** The keys of the next page. */
const keysAfter = (backend: Backend, prefix: string, after?: string): Promise<string[]> =>
  backend.keys({ ...rangeAfter(prefix, after), limit: MOST });

const rangeAfter = (prefix: string, after?: string): KeyRange => ({
  prefix,
  start: after === undefined ? undefined : keyAfter(after),
});

/** Reads entries one by one, so that only those with an unreadable value are refused. */
async function* singly(backend: Backend, keys: readonly string[]): AsyncGenerator<SourceEntry> {
  const outcomes = await backend.run(
    keys.flatMap((key): Operation[] => [
      { type: 'has', key },
      { type: 'get', key },
    ]),
  );
  for (const [i, key] of keys.entries()) {
    const [has, got] = [outcomes[2 * i] as Outcome, outcomes[2 * i + 1] as Outcome];
    if (got.status === 'fulfilled' && has.status === 'fulfilled') {
      // If `has` is false, the entry was deleted after it was listed.
      if (has.value === true) yield await prepared(key, got.value);
      continue;
    }
    const { reason } = (got.status === 'rejected' ? got : has) as PromiseRejectedResult;
    if (reason.code !== 'unsupported-value') throw reason;
    yield { key, refused: reason };
  }
}

/** An entry that can be sent. */
export interface Sendable extends Snapshot {
  readonly key: string;
  /** The encoded value. */
  readonly text: string;
  readonly bytes: number;
}

/** An entry of a source: one that can be sent, or the reason why it cannot. */
export type SourceEntry = Sendable | { readonly key: string; readonly refused: Error };

/** Whether an entry can be sent. */
export const isSendable = (entry: SourceEntry): entry is Sendable => 'text' in entry;

/** Prepares an entry for sending, or returns the reason why it cannot be sent. */
export async function prepared(key: string, value: unknown): Promise<SourceEntry> {
  try {
    const copy = snapshot(value, checkKey(key));
    const text = copy.plain ? (encode(copy) as string) : await encodeAt(key, copy);
    return { key, ...copy, text, bytes: utf8Length(text) };
  } catch (error) {
    return { key, refused: error as Error };
  }
}

/**
 * Groups entries into pages. The next page is read while the consumer handles the current one.
 *
 * @param before Is called with each page before the page is yielded.
 */
export const inPages = (
  entries: AsyncIterable<SourceEntry>,
  before?: (page: readonly SourceEntry[]) => Promise<void>,
): AsyncGenerator<readonly SourceEntry[]> => ahead(pagesOf(entries, before));

async function* pagesOf(
  entries: AsyncIterable<SourceEntry>,
  before?: (page: readonly SourceEntry[]) => Promise<void>,
): AsyncGenerator<readonly SourceEntry[]> {
  const limits = {
    count: MOST,
    bytes: MOST_BYTES,
    sizeOf: (entry: SourceEntry) => (isSendable(entry) ? entry.bytes : 0),
  };
  for await (const page of chunksOfStream(entries, limits)) {
    await before?.(page);
    yield page;
  }
}

/** Yields the same items, and requests the next item before it yields the current one. */
async function* ahead<T>(items: AsyncGenerator<T>): AsyncGenerator<T> {
  let next = items.next();
  try {
    for (;;) {
      const { value, done } = await next;
      if (done) return;
      next = items.next();
      // The rejection is thrown by the next `await`.
      next.catch(() => {});
      yield value;
    }
  } finally {
    await items.return(undefined);
  }
}
