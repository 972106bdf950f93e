/**
 * The journal of a migration: what was copied, page by page.
 *
 * It is stored on disk, so that a later run continues after the last page. It has a hash of each copied value, so that later changes
 * of the source are found.
 */
import { hash } from '../../core/hash.ts';
import { compareKeys } from '../../core/order.ts';
import type { Failed } from './errors.ts';
import { isSendable, type SourceEntry } from './source.ts';
import { type EntryResult, isOwnWrite } from './target.ts';

/** A page: consecutive keys of the source, in byte order. */
export interface JournalPage {
  /** The last key of the page's range. The range begins after the end of the previous page. */
  readonly end: string;
  readonly keys: readonly string[];
  /** Hashes of the values; 0 for a value that cannot be sent. */
  readonly hashes: readonly number[];
  readonly results: readonly EntryResult[];
}

/** Entries that were recorded before they were sent. */
export type Begun = Pick<JournalPage, 'keys' | 'hashes'>;

/** The pages of a migration, numbered from 0. */
export interface Journal {
  /** The last key of each page's range. */
  readonly ends: readonly string[];
  /** Number of pages that earlier runs may have copied without recording them. */
  unrecorded(): number;
  page(n: number): Promise<JournalPage>;
  /** Records entries that are about to be sent, until `put` records their page. */
  begin(n: number, entries: readonly SourceEntry[]): Promise<void>;
  /** Entries that earlier runs have begun, and whose page they have not recorded. */
  readonly begun: readonly Begun[];
  /** Deletes the records in `begun`. */
  forgetBegun(): Promise<void>;
  /** Records a page: replaces page `n`, or appends it. */
  put(n: number, page: JournalPage): Promise<void>;
  /** The position in the source's change feed up to which changes were copied. */
  position(): string | undefined;
  setPosition(position: string | undefined): Promise<void>;
  /** Deletes everything in the journal. */
  clear(): Promise<void>;
  /** Deletes the journal after the migration has ended. */
  end(): Promise<void>;
}

/** The journal's record of a page. */
export function journalPage(
  entries: readonly SourceEntry[],
  results: ReadonlyMap<string, EntryResult>,
  end = (entries.at(-1) as SourceEntry).key,
): JournalPage {
  return {
    end,
    keys: entries.map(({ key }) => key),
    hashes: entries.map(hashOf),
    results: entries.map(({ key }) => results.get(key) as EntryResult),
  };
}

/** The hash of an entry's value; 0 if it cannot be sent. */
export const hashOf = (entry: SourceEntry): number => (isSendable(entry) ? hash(entry.text, 0) : 0);

/** The sums over pages. */
export interface Tally {
  verified: number;
  skipped: number;
  readonly failed: Map<string, Failed>;
}

export const emptyTally = (): Tally => ({ verified: 0, skipped: 0, failed: new Map() });

/** Adds a page to a tally, or subtracts it with `sign` -1. */
export function count(tally: Tally, { keys, results }: JournalPage, sign: 1 | -1 = 1): void {
  for (const [i, result] of results.entries()) {
    const key = keys[i] as string;
    if (result === 'skipped') tally.skipped += sign;
    else if (typeof result === 'string') tally.verified += sign;
    else if (sign > 0) tally.failed.set(key, result);
    else tally.failed.delete(key);
  }
}

/** Those of `keys` that the migration has written according to the journal. */
export async function writtenOf(journal: Journal, keys: readonly string[]): Promise<ReadonlySet<string>> {
  const written = new Set<string>();
  for (const n of pagesWith(journal, keys)) {
    if (n === journal.ends.length) continue;
    const page = await journal.page(n);
    for (const [i, key] of page.keys.entries()) if (isOwnWrite(page.results[i])) written.add(key);
  }
  return written;
}

/** The numbers of the pages whose ranges contain `keys`. The number after the last page stands for all keys after it. */
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
