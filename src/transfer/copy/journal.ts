/**
 * What a migration has brought over, page by page.
 *
 * It is kept on the disk where the migration may be cut off: a later run goes on after the last page, and knows of every key of
 * the source what it was like, so that what was written meanwhile is found.
 */
import { hash } from '../../core/hash.ts';
import { compareKeys } from '../../core/order.ts';
import type { Failed } from './errors.ts';
import { isSendable, type Moving } from './source.ts';
import { type Fate, isOwn } from './target.ts';

/** A page: neighbouring keys of the source, in byte order. */
export interface JournalPage {
  /** The key where its range ends; where it begins the one before it ends. */
  readonly end: string;
  readonly keys: readonly string[];
  /** What their values were, as far as a hash tells; 0 where they have no text. */
  readonly hashes: readonly number[];
  readonly fates: readonly Fate[];
}

/** Entries that were about to be sent. */
export type Begun = Pick<JournalPage, 'keys' | 'hashes'>;

/** The pages of a migration, numbered from 0. */
export interface Journal {
  /** Where the range of each page ends. */
  readonly ends: readonly string[];
  /** How many pages runs before this one may have brought over, besides those that are noted down. */
  unnoted(): number;
  page(n: number): Promise<JournalPage>;
  /** Note down what is about to be sent for a page, until that is put. */
  begin(n: number, entries: readonly Moving[]): Promise<void>;
  /** What runs before this one have begun, and did not put. */
  readonly begun: readonly Begun[];
  /** Forget that. */
  forgetBegun(): Promise<void>;
  /** Put a page in the place of another one, or behind the last. */
  put(n: number, page: JournalPage): Promise<void>;
  /** Up to where the changes of the source were looked at, as the source names it. */
  position(): string | undefined;
  setPosition(position: string | undefined): Promise<void>;
  /** Forget everything. */
  clear(): Promise<void>;
  /** The migration is done: nobody goes on with it. */
  end(): Promise<void>;
}

/** A page as it is noted down. */
export function journalPage(
  entries: readonly Moving[],
  fates: ReadonlyMap<string, Fate>,
  end = (entries.at(-1) as Moving).key,
): JournalPage {
  return {
    end,
    keys: entries.map(({ key }) => key),
    hashes: entries.map(hashOf),
    fates: entries.map(({ key }) => fates.get(key) as Fate),
  };
}

/** What an entry is like. */
export const hashOf = (entry: Moving): number => (isSendable(entry) ? hash(entry.text, 0) : 0);

/** What pages come to. */
export interface Tally {
  verified: number;
  skipped: number;
  readonly failed: Map<string, Failed>;
}

export const emptyTally = (): Tally => ({ verified: 0, skipped: 0, failed: new Map() });

/** Count a page, or, with -1, count it no longer. */
export function count(tally: Tally, { keys, fates }: JournalPage, sign: 1 | -1 = 1): void {
  for (const [i, fate] of fates.entries()) {
    const key = keys[i] as string;
    if (fate === 'skipped') tally.skipped += sign;
    else if (typeof fate === 'string') tally.verified += sign;
    else if (sign > 0) tally.failed.set(key, fate);
    else tally.failed.delete(key);
  }
}

/** Those of `keys` that the migration has written, as far as it is noted down. */
export async function writtenOf(journal: Journal, keys: readonly string[]): Promise<ReadonlySet<string>> {
  const written = new Set<string>();
  for (const n of pagesWith(journal, keys)) {
    if (n === journal.ends.length) continue;
    const page = await journal.page(n);
    for (const [i, key] of page.keys.entries()) if (isOwn(page.fates[i])) written.add(key);
  }
  return written;
}

/** Numbers of the pages in whose ranges `keys` lie; the number of pages stands for what lies behind the last. */
export function pagesWith(journal: Journal, keys: Iterable<string>): Set<number> {
  const pages = new Set<number>();
  for (const key of keys) {
    let low = 0;
    let high = journal.ends.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (compareKeys(journal.ends[middle] as string, key) < 0) low = middle + 1;
      else high = middle;
    }
    pages.add(low);
  }
  return pages;
}
