/**
 * Catch-up: finds and copies the changes that were made to the source during the copy.
 *
 * Each page of the journal is compared with the current entries of its range. If the source has a change feed, only pages with
 * changes are compared; otherwise the whole source is read again.
 */
import { chunksOf } from '../../core/chunks.ts';
import { compareKeys } from '../../core/order.ts';
import { hashOf, type Journal, type JournalPage, journalPage } from './journal.ts';
import { prepared, type Source, type SourceEntry } from './source.ts';
import {
  type EntryResult,
  isOwnWrite,
  remove,
  send,
  type Target,
  valuesAt,
  verify,
  type WriteMode,
} from './target.ts';

/** The parts of a catch-up. */
export interface CatchUp {
  readonly source: Source;
  readonly target: Target;
  readonly journal: Journal;
  readonly mode: WriteMode;
  /** Is called for each page of the journal that was replaced. */
  replaced(before: JournalPage | undefined, after: JournalPage, bytes: number): void;
  /** Is called with the number of entries that were compared. It may throw to end the catch-up. */
  advance(entries: number): void;
}

/** Whether entries are recorded in the journal before they are sent. Only with `'overwrite'` does this migration own every key it sends. */
export const isBegun = ({ onConflict }: Pick<WriteMode, 'onConflict'>): boolean => onConflict === 'overwrite';

/** Maximum number of entries of a page of new keys. */
const MOST = 500;

/**
 * Compares all pages, or the pages with the numbers in `pages`. The number after the last page stands for all keys after it.
 *
 * @param retry Whether failed entries are tried again.
 * @returns The number of changed entries.
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
      changed += await comparePage(work, n, entries, retry);
      work.advance(entries.length);
      continue;
    }
    for (let entries = await cursor.next(MOST); entries.length > 0; entries = await cursor.next(MOST)) {
      if (isBegun(work.mode)) await journal.begin(journal.ends.length, entries);
      const results = await writeAndVerify(work, entries, work.mode);
      await replace(work, journal.ends.length, undefined, journalPage(entries, results.all), results.bytes);
      changed += entries.length;
      work.advance(entries.length);
    }
  }
  await cursor?.close();
  return changed;
}

/** Compares a page with the current entries of its range. Returns the number of changed entries. */
async function comparePage(
  work: CatchUp,
  n: number,
  entries: readonly SourceEntry[],
  retry: boolean,
): Promise<number> {
  const before = await work.journal.page(n);
  const known = new Map(before.keys.map((key, i) => [key, i]));
  const isChanged = (entry: SourceEntry): boolean => {
    const i = known.get(entry.key);
    if (i === undefined) return true;
    return before.hashes[i] !== hashOf(entry) || (retry && typeof before.results[i] === 'object');
  };
  const changed = entries.filter(isChanged);
  const now = new Set(entries.map(({ key }) => key));
  const gone = before.keys.filter((key) => !now.has(key));
  if (changed.length === 0 && gone.length === 0) return 0;
  if (isBegun(work.mode)) await work.journal.begin(n, changed);
  const results = new Map<string, EntryResult>(
    before.keys.map((key, i) => [key, before.results[i] as EntryResult]),
  );
  const own = changed.filter(({ key }) => isOwnWrite(results.get(key)));
  const others = changed.filter(({ key }) => !isOwnWrite(results.get(key)));
  let bytes = 0;
  for (const [part, mode] of [
    [own, { ...work.mode, onConflict: 'overwrite' }],
    [others, work.mode],
  ] as const) {
    const { all, bytes: sent } = await writeAndVerify(work, part, mode);
    for (const [key, result] of all)
      results.set(key, part === own && typeof result === 'object' ? { ...result, written: true } : result);
    bytes += sent;
  }
  await remove(
    work.target,
    gone.filter((key) => isOwnWrite(results.get(key))),
  );
  await replace(work, n, before, journalPage(entries, results, before.end), bytes);
  return changed.length + gone.length;
}

/**
 * Deletes from the target what earlier runs have sent without recording the result, if the source no longer has the key. This applies
 * to `'overwrite'` only: in the other modes the target may have had the entry before.
 */
export async function removeLeftovers(
  { source, target }: Pick<CatchUp, 'source' | 'target'>,
  journal: Journal,
): Promise<void> {
  const sent = new Map<string, number[]>();
  for (const { keys, hashes } of journal.begun)
    for (const [i, key] of keys.entries()) sent.set(key, [...(sent.get(key) ?? []), hashes[i] as number]);
  const keys = [...sent.keys()];
  for (const part of chunksOf(keys, { count: MOST })) {
    const there = await source.having?.(part);
    if (!there) break;
    const values = await valuesAt(
      target,
      part.filter((key) => !there.has(key)).map((key) => ({ key })),
    );
    const own: string[] = [];
    for (const [key, found] of values) {
      if (found instanceof Error) continue;
      if (sent.get(key)?.includes(hashOf(await prepared(key, found.value)))) own.push(key);
    }
    await remove(target, own);
  }
  if (keys.length > 0) await journal.forgetBegun();
}

/** Writes entries to the target in pages of bounded size, and reads them back. */
async function writeAndVerify(
  { target }: CatchUp,
  entries: readonly SourceEntry[],
  mode: WriteMode,
): Promise<{ readonly all: Map<string, EntryResult>; readonly bytes: number }> {
  const all = new Map<string, EntryResult>();
  let bytes = 0;
  for (const page of chunksOf(entries, { count: MOST })) {
    const sent = await send(target, page, mode);
    bytes += sent.bytes;
    for (const [key, result] of await verify(target, sent)) all.set(key, result);
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

interface Cursor {
  /** Returns the next entries up to a key, including that key. */
  upTo(key: string): Promise<SourceEntry[]>;
  next(most: number): Promise<SourceEntry[]>;
  close(): Promise<unknown>;
}

function createCursor(entries: AsyncGenerator<SourceEntry>): Cursor {
  let first: SourceEntry | undefined;
  const take = async (wanted: (entry: SourceEntry, taken: number) => boolean): Promise<SourceEntry[]> => {
    const taken: SourceEntry[] = [];
    for (;;) {
      first ??= (await entries.next()).value as SourceEntry | undefined;
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
