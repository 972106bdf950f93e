/**
 * What a migration has brought over, page by page.
 *
 * It is kept on the disk where the migration may be cut off: a later run goes on after the last page, and knows of every key of
 * the source what it was like, so that what was written meanwhile is found.
 */
import { hash } from '../core/hash.ts';
import { isSendable, type Moving } from './moving.ts';
import type { Fate } from './placing.ts';

/** A page: neighbouring keys of the source, in byte order. */
export interface JournalPage {
  /** The key where its range ends; where it begins the one before it ends. */
  readonly end: string;
  readonly keys: readonly string[];
  /** What their values were, as far as a hash tells; 0 where they have no text. */
  readonly hashes: readonly number[];
  readonly fates: readonly Fate[];
}

/** The pages of a migration, numbered from 0. */
export interface Journal {
  /** Where the range of each page ends. */
  readonly ends: readonly string[];
  /** Whether another run has begun it. */
  resumed(): boolean;
  page(n: number): Promise<JournalPage>;
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
  readonly failed: Map<string, string>;
}

export const emptyTally = (): Tally => ({ verified: 0, skipped: 0, failed: new Map() });

/** Count a page, or, with -1, count it no longer. */
export function count(tally: Tally, { keys, fates }: JournalPage, sign: 1 | -1 = 1): void {
  for (const [i, fate] of fates.entries()) {
    const key = keys[i] as string;
    if (fate === 'skipped') tally.skipped += sign;
    else if (typeof fate === 'string') tally.verified += sign;
    else if (sign > 0) tally.failed.set(key, fate.reason);
    else tally.failed.delete(key);
  }
}
