/**
 * The copy engine of migration, import and adoption: writes every entry of a source to a target and reads it back.
 *
 * Invariants: the source is only read. The result is the number of entries that were read back equal. If an entry is missing, the
 * call rejects with a `MigrationError`; it never returns a smaller number. One page is sent while the previous page is read back and
 * the next page is read, so memory use does not grow with the number of entries.
 */
import { catchUp, isBegun, removeLeftovers } from './catch-up.ts';
import { CHANGED, type Failed, isLeftOut, stopped, unfinished } from './errors.ts';
import { count, emptyTally, type Journal, journalPage, pagesWith, type Tally, writtenOf } from './journal.ts';
import type { CheckedOptions, MigrationPlan, MigrationProgress } from './options.ts';
import { planOf } from './plan.ts';
import { inPages, type Source } from './source.ts';
import { type Sent, send, type Target, verify, type WriteMode } from './target.ts';

/** A source that may have a change feed. */
export interface ChangingSource extends Source {
  /** The current position of the change feed; `undefined` without one. */
  position?(): Promise<string | undefined>;
  /** The keys that were written since a position, and the position after them; `undefined` if that is not known. */
  changesSince?(
    position: string,
  ): Promise<{ readonly keys: ReadonlySet<string>; readonly position: string } | undefined>;
}

/** A copy: its source, target and options. */
export interface Migration extends CheckedOptions {
  /** The method's name in error messages. */
  readonly name: string;
  readonly source: ChangingSource;
  readonly target: Target;
  /**
   * Opens the journal after the target has answered. Without it, as for sources that do not change, each call starts from the
   * beginning.
   */
  openJournal?(): Promise<Journal>;
  /** Runs `work`, the last comparison, while this storage does not write. `work` resolves with whether every entry was copied. */
  settle?(work: () => Promise<boolean>): Promise<void>;
  /** Is called before and after each comparison. Throws if the source or the target was restored or has lost its data. */
  confirm?(): Promise<void>;
}

/** Maximum number of comparisons, in case the source changes all the time. */
const ROUNDS = 8;

/**
 * Copies every entry of the source to the target, and reads each back.
 *
 * @returns The number of entries that the target holds and that were read back equal; with `dryRun` the plan.
 * @throws {MigrationError} if an entry was not copied.
 */
export async function migrate(migration: Migration): Promise<number | MigrationPlan> {
  const { source, target, signal, name } = migration;
  const tally = emptyTally();
  let reported = false;
  /** Whether nothing has failed but the entries that are left out, which are reported. */
  const isComplete = async (): Promise<boolean> => {
    const { onRefused } = migration;
    const failed = [...tally.failed];
    if (failed.some(([, failure]) => !onRefused || !isLeftOut(failure))) return false;
    if (!reported) for (const [key, { reason }] of failed) await onRefused?.({ key, reason });
    reported = true;
    return true;
  };
  try {
    signal?.throwIfAborted();
    await target.open();
    const total = await source.count();
    const progress = progressOf(migration, total);
    if (migration.dryRun) return await planOf(source, target, progress.of('plan'));
    const journal = await migration.openJournal?.();
    if (journal) await resume(migration, journal, tally);
    if (migration.onConflict === 'fail') {
      const plan = await planOf(source, target, progress.of('plan'));
      const failed = await obstaclesOf(migration, plan, journal);
      if (failed.size > 0) {
        if (journal?.ends.length === 0) await journal.end();
        throw unfinished(name, { ...tally, failed }, tally.verified === 0);
      }
    }
    await copy(migration, journal, tally, progress);
    if (journal) {
      const look = async (retry: boolean): Promise<void> => {
        await migration.confirm?.();
        await compareAgain(migration, journal, tally, progress, retry);
        await migration.confirm?.();
      };
      await look(true);
      await migration.settle?.(async () => {
        await look(false);
        return isComplete();
      });
      if (await isComplete())
        await journal.end().catch((error) => {
          // If the target is already in use, an error would wrongly say that the backend has not changed.
          if (!migration.activate) throw error;
        });
    }
    if (!journal) await isComplete();
  } catch (error) {
    throw stopped(name, tally, error, { signal, resumes: migration.openJournal !== undefined });
  }
  if (!(await isComplete())) throw unfinished(name, tally, false);
  return tally.verified;
}

/** The entries that prevent a migration with `onConflict: 'fail'`. */
async function obstaclesOf(
  { onRefused }: Migration,
  { conflicts, refused }: MigrationPlan,
  journal: Journal | undefined,
): Promise<Map<string, Failed>> {
  // A difference in a key that this migration has written is a later change of the source, not a conflict.
  const written = journal && (await writtenOf(journal, conflicts));
  return new Map<string, Failed>([
    ...(onRefused ? [] : refused).map(({ key, reason }) => [key, { reason, refused: true }] as const),
    ...conflicts.filter((key) => !written?.has(key)).map((key) => [key, { reason: CHANGED }] as const),
  ]);
}

/** Copies the remaining pages. Each is recorded in the journal after it was read back. */
async function copy(
  migration: Migration,
  journal: Journal | undefined,
  tally: Tally,
  progress: Progress,
): Promise<void> {
  const { source, target, onConflict, signal } = migration;
  const advance = progress.of('copy');
  advance(tally.verified + tally.skipped + tally.failed.size);
  let left = journal?.unrecorded() ?? 0;
  let n = journal?.ends.length ?? 0;
  let next = n;
  const pages = inPages(source.entries(journal?.ends.at(-1)), async (page) => {
    if (isBegun(migration)) await journal?.begin(next, page);
    next += 1;
  });
  const record = async (sent: Sent, page: Parameters<typeof journalPage>[0]): Promise<void> => {
    const recorded = journalPage(page, await verify(target, sent));
    await journal?.put(n, recorded);
    n += 1;
    count(tally, recorded);
    advance(page.length);
  };
  let recording: Promise<void> | undefined;
  try {
    for await (const page of pages) {
      signal?.throwIfAborted();
      const mode: WriteMode = { onConflict, readsFirst: left > 0 };
      left -= 1;
      const [sent] = await Promise.all([send(target, page, mode), recording]);
      progress.sent(sent.bytes);
      recording = record(sent, page);
      // The rejection is thrown with the next page, or at the end.
      recording.catch(() => {});
    }
  } finally {
    await recording;
  }
  if (journal) await removeLeftovers(migration, journal);
}

/** Continues an earlier run: counts the pages in the journal. */
async function resume({ source, target }: Migration, journal: Journal, tally: Tally): Promise<void> {
  for (let n = 0; n < journal.ends.length; n++) count(tally, await journal.page(n));
  // A target with fewer entries than were verified has lost data.
  if (tally.verified > 0 && (await target.count({})) < tally.verified) {
    await journal.clear();
    Object.assign(tally, { verified: 0, skipped: 0 });
    tally.failed.clear();
  }
  if (journal.ends.length === 0) await journal.setPosition(await source.position?.());
}

/** Repeats the comparison until it finds no change. */
async function compareAgain(
  { source, target, onConflict, signal }: Migration,
  journal: Journal,
  tally: Tally,
  progress: Progress,
  retry: boolean,
): Promise<void> {
  for (let round = 1; round <= ROUNDS; round++) {
    const changes = await changesOf(source, journal);
    const again = retry && round === 1;
    const pages =
      changes && pagesWith(journal, again ? [...changes.keys, ...tally.failed.keys()] : changes.keys);
    const advance = progress.of('catch-up');
    const changed = await catchUp(
      {
        source,
        target,
        journal,
        mode: { onConflict, readsFirst: false },
        replaced(before, after, bytes) {
          if (before) count(tally, before, -1);
          count(tally, after);
          progress.sent(bytes);
        },
        advance(entries) {
          signal?.throwIfAborted();
          advance(entries);
        },
      },
      again,
      pages,
    );
    // Also if the position is unchanged: the write fails if another run has taken over the journal.
    await journal.setPosition(changes?.position ?? journal.position());
    if (changed === 0) return;
  }
}

async function changesOf(source: ChangingSource, journal: Journal) {
  const position = journal.position();
  return position === undefined ? undefined : source.changesSince?.(position);
}

interface Progress {
  /** Starts a phase. Returns a function that counts its entries. */
  of(phase: MigrationProgress['phase']): (entries: number) => void;
  sent(bytes: number): void;
}

function progressOf({ onProgress, signal }: Migration, total: number): Progress {
  let bytes = 0;
  return {
    of(phase) {
      let done = 0;
      return (entries) => {
        signal?.throwIfAborted();
        done += entries;
        onProgress?.({ phase, done, total, bytes });
      };
    },
    sent(more) {
      bytes += more;
    },
  };
}
