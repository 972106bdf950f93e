/**
 * What was written to the source while it was copied: found, and brought over.
 *
 * Each page of the journal is compared with what the source holds in its range now. A source that tells its changes names the
 * ranges to look at; of every other one all is read again.
 */
import { compareKeys } from '../core/order.ts';
import { hashOf, type Journal, type JournalPage, journalPage } from './journal.ts';
import type { Moving, Source } from './moving.ts';
import { type Fate, type Manner, remove, send, type Target, verify } from './placing.ts';

/** What a catch-up works on. */
export interface CatchUp {
  readonly source: Source;
  readonly target: Target;
  readonly journal: Journal;
  readonly manner: Manner;
  /** Told of each page that is another one now. */
  replaced(before: JournalPage | undefined, after: JournalPage, bytes: number): void;
  /** Told of the entries that were looked at. Throws to end it. */
  looked(entries: number): void;
}

/** So many entries of new keys are a page. */
const MOST = 500;

/**
 * Look at every page, or at those numbered in `pages` (the number of pages stands for what lies behind the last).
 *
 * @param retry Whether what has failed is tried again.
 * @returns How many entries were changed.
 */
export async function catchUp(work: CatchUp, retry: boolean, pages?: ReadonlySet<number>): Promise<number> {
  const { journal, source } = work;
  const known = journal.ends.length;
  let changed = 0;
  let cursor: Cursor | undefined;
  let at = -1;
  for (let n = 0; n <= known; n++) {
    if (pages && !pages.has(n)) continue;
    if (at !== n - 1 || !cursor) {
      await cursor?.close();
      cursor = createCursor(source.entries(journal.ends[n - 1]));
    }
    at = n;
    if (n < known) {
      const entries = await cursor.upTo(journal.ends[n] as string);
      changed += await compared(work, n, entries, retry);
      work.looked(entries.length);
      continue;
    }
    for (let entries = await cursor.next(MOST); entries.length > 0; entries = await cursor.next(MOST)) {
      const fates = await placed(work, entries, work.manner);
      await replace(work, journal.ends.length, undefined, journalPage(entries, fates.all), fates.bytes);
      changed += entries.length;
      work.looked(entries.length);
    }
  }
  await cursor?.close();
  return changed;
}

/** Compare a page with what its range holds now. Returns how many entries are other ones. */
async function compared(
  work: CatchUp,
  n: number,
  entries: readonly Moving[],
  retry: boolean,
): Promise<number> {
  const before = await work.journal.page(n);
  const known = new Map(before.keys.map((key, i) => [key, i]));
  const isChanged = (entry: Moving): boolean => {
    const i = known.get(entry.key);
    if (i === undefined) return true;
    return before.hashes[i] !== hashOf(entry) || (retry && typeof before.fates[i] === 'object');
  };
  const changed = entries.filter(isChanged);
  const now = new Set(entries.map(({ key }) => key));
  const gone = before.keys.filter((key) => !now.has(key));
  if (changed.length === 0 && gone.length === 0) return 0;
  const fates = new Map<string, Fate>(before.keys.map((key, i) => [key, before.fates[i] as Fate]));
  // What this migration has written is its own to replace and to delete.
  const isOwn = (key: string): boolean => fates.get(key) === 'written';
  const own = changed.filter(({ key }) => isOwn(key));
  const others = changed.filter(({ key }) => !isOwn(key));
  let bytes = 0;
  for (const [part, manner] of [
    [own, { ...work.manner, onConflict: 'overwrite' }],
    [others, work.manner],
  ] as const) {
    const { all, bytes: sent } = await placed(work, part, manner);
    for (const [key, fate] of all) fates.set(key, fate);
    bytes += sent;
  }
  await remove(work.target, gone.filter(isOwn));
  await replace(work, n, before, journalPage(entries, fates, before.end), bytes);
  return changed.length + gone.length;
}

/** Put entries into the target, in pages of bounded size. */
async function placed(
  { target }: CatchUp,
  entries: readonly Moving[],
  manner: Manner,
): Promise<{ readonly all: Map<string, Fate>; readonly bytes: number }> {
  const all = new Map<string, Fate>();
  let bytes = 0;
  for (let from = 0; from < entries.length; from += MOST) {
    const sent = await send(target, entries.slice(from, from + MOST), manner);
    bytes += sent.bytes;
    for (const [key, fate] of await verify(target, sent)) all.set(key, fate);
  }
  return { all, bytes };
}

async function replace(
  { journal, replaced }: CatchUp,
  n: number,
  before: JournalPage | undefined,
  after: JournalPage,
  bytes: number,
): Promise<void> {
  await journal.put(n, after);
  replaced(before, after, bytes);
}

/** Numbers of the pages in whose ranges `keys` lie. */
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

interface Cursor {
  /** Entries up to a key, that key included. */
  upTo(key: string): Promise<Moving[]>;
  next(most: number): Promise<Moving[]>;
  close(): Promise<unknown>;
}

function createCursor(entries: AsyncGenerator<Moving>): Cursor {
  let first: Moving | undefined;
  const take = async (wanted: (entry: Moving, taken: number) => boolean): Promise<Moving[]> => {
    const taken: Moving[] = [];
    for (;;) {
      first ??= (await entries.next()).value as Moving | undefined;
      if (first === undefined || !wanted(first, taken.length)) return taken;
      taken.push(first);
      first = undefined;
    }
  };
  return {
    upTo: (key) => take((entry) => compareKeys(entry.key, key) <= 0),
    next: (most) => take((_, taken) => taken < most),
    close: () => entries.return(undefined),
  };
}
