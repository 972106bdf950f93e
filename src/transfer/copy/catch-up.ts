/**
 * Catch-up: finds and copies the changes that were made to the source during the copy.
 *
 * Each page of the journal is compared with the current entries of its range. If the source has a change feed, only pages with
 * changes are compared; otherwise the whole source is read again.
 */
import { chunksOf } from '../../core/chunks.ts';
import { compareKeys } from '../../core/order.ts';
import { hashOf, type Journal, type JournalPage, journalPage } from './journal.ts';
import { type Moving, prepared, type Source } from './source.ts';
import { type Fate, heldAt, isOwn, type Manner, remove, send, type Target, verify } from './target.ts';

/** The parts of a catch-up. */
export interface CatchUp {
  readonly source: Source;
  readonly target: Target;
  readonly journal: Journal;
  readonly manner: Manner;
  /** Is called for each page of the journal that was replaced. */
  replaced(before: JournalPage | undefined, after: JournalPage, bytes: number): void;
  /** Is called with the number of entries that were compared. It may throw to end the catch-up. */
  looked(entries: number): void;
}

/** Whether entries are recorded in the journal before they are sent. Only with `'overwrite'` does this migration own every key it sends. */
export const isBegun = ({ onConflict }: Pick<Manner, 'onConflict'>): boolean => onConflict === 'overwrite';

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
      changed += await compared(work, n, entries, retry);
      work.looked(entries.length);
      continue;
    }
    for (let entries = await cursor.next(MOST); entries.length > 0; entries = await cursor.next(MOST)) {
      if (isBegun(work.manner)) await journal.begin(journal.ends.length, entries);
      const fates = await placed(work, entries, work.manner);
      await replace(work, journal.ends.length, undefined, journalPage(entries, fates.all), fates.bytes);
      changed += entries.length;
      work.looked(entries.length);
    }
  }
  await cursor?.close();
  return changed;
}

/** Compares a page with the current entries of its range. Returns the number of changed entries. */
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
  if (isBegun(work.manner)) await work.journal.begin(n, changed);
  const fates = new Map<string, Fate>(before.keys.map((key, i) => [key, before.fates[i] as Fate]));
  const own = changed.filter(({ key }) => isOwn(fates.get(key)));
  const others = changed.filter(({ key }) => !isOwn(fates.get(key)));
  let bytes = 0;
  for (const [part, manner] of [
    [own, { ...work.manner, onConflict: 'overwrite' }],
    [others, work.manner],
  ] as const) {
    const { all, bytes: sent } = await placed(work, part, manner);
    for (const [key, fate] of all)
      fates.set(key, part === own && typeof fate === 'object' ? { ...fate, written: true } : fate);
    bytes += sent;
  }
  await remove(
    work.target,
    gone.filter((key) => isOwn(fates.get(key))),
  );
  await replace(work, n, before, journalPage(entries, fates, before.end), bytes);
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
    const held = await heldAt(
      target,
      part.filter((key) => !there.has(key)).map((key) => ({ key })),
    );
    const own: string[] = [];
    for (const [key, found] of held) {
      if (found instanceof Error) continue;
      if (sent.get(key)?.includes(hashOf(await prepared(key, found.value)))) own.push(key);
    }
    await remove(target, own);
  }
  if (keys.length > 0) await journal.forgetBegun();
}

/** Writes entries to the target in pages of bounded size, and reads them back. */
async function placed(
  { target }: CatchUp,
  entries: readonly Moving[],
  manner: Manner,
): Promise<{ readonly all: Map<string, Fate>; readonly bytes: number }> {
  const all = new Map<string, Fate>();
  let bytes = 0;
  for (const page of chunksOf(entries, { count: MOST })) {
    const sent = await send(target, page, manner);
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

interface Cursor {
  /** Returns the next entries up to a key, including that key. */
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
