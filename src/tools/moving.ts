/**
 * Entries on their way: read from a source, checked, encoded, and put together in pages.
 */
import type { Backend, Snapshot } from '../core/backend.ts';
import { encode } from '../core/json.ts';
import { checkKey, utf8Length } from '../core/keys.ts';
import { snapshot } from '../core/values.ts';

/** Entries, and bytes of their values, that are sent together. */
const MOST = 500;
const MOST_BYTES = 4 * 1024 * 1024;

/** Where entries come from. */
export interface Source {
  /** The entries after the key `after`, in byte order where it is read from the middle. */
  entries(after?: string): AsyncGenerator<Moving>;
  /** How many there are. */
  count(): Promise<number>;
}

/** A backend as a source: those of its entries whose key begins with `prefix`. */
export const sourceOf = (backend: Backend, prefix = ''): Source => ({
  async *entries(after) {
    for await (const page of backend.entries(prefix, after))
      for (const [key, value] of page) yield await prepared(key, value);
  },
  count: () => countOf(backend),
});

/** How many entries a backend holds. */
export const countOf = async (backend: Pick<Backend, 'count' | 'stats'>): Promise<number> =>
  backend.count ? backend.count() : (await backend.stats()).keys;

/** An entry that can be sent. */
export interface Sendable extends Snapshot {
  readonly key: string;
  /** Its value as it travels. */
  readonly text: string;
  readonly bytes: number;
}

/** An entry of a source: one that can be sent, or why it cannot. */
export type Moving = Sendable | { readonly key: string; readonly refused: Error };

/** Whether an entry can be sent. */
export const isSendable = (entry: Moving): entry is Sendable => 'text' in entry;

/** An entry as it is sent, or why it cannot be. */
export async function prepared(key: string, value: unknown): Promise<Moving> {
  try {
    const copy = snapshot(value, checkKey(key));
    const encoding = encode(copy);
    const text = typeof encoding === 'string' ? encoding : await encoding;
    return { key, ...copy, text, bytes: utf8Length(text) };
  } catch (error) {
    return { key, refused: error as Error };
  }
}

/** Entries in pages that a target takes at once; the next is put together while one is handled. */
export const inPages = (entries: AsyncIterable<Moving>): AsyncGenerator<readonly Moving[]> =>
  ahead(gathered(entries));

async function* gathered(entries: AsyncIterable<Moving>): AsyncGenerator<readonly Moving[]> {
  let page: Moving[] = [];
  let bytes = 0;
  for await (const entry of entries) {
    const size = isSendable(entry) ? entry.bytes : 0;
    if (page.length > 0 && (page.length === MOST || bytes + size > MOST_BYTES)) {
      yield page;
      page = [];
      bytes = 0;
    }
    page.push(entry);
    bytes += size;
  }
  if (page.length > 0) yield page;
}

/** The same items, the next one asked for before one is handed out. */
async function* ahead<T>(items: AsyncGenerator<T>): AsyncGenerator<T> {
  let next = items.next();
  try {
    for (;;) {
      const { value, done } = await next;
      if (done) return;
      next = items.next();
      // Thrown when its turn comes.
      next.catch(() => {});
      yield value;
    }
  } finally {
    await items.return(undefined);
  }
}
