/**
 * Migration: every entry of one backend written to another and read back.
 *
 * Invariants: the source is only read; the number returned is the number of entries that were read back equal; anything less than
 * all of them is a `MigrationError`, never a smaller number. One page is sent while the one before it is read back and the next is
 * read: memory does not grow with the number of entries.
 */
import { catchUp, isBegun, sweep } from './catch-up.ts';
import { CHANGED, type Failed, isLeftOut, stopped, unfinished } from './errors.ts';
import { count, emptyTally, type Journal, journalPage, pagesWith, type Tally, writtenOf } from './journal.ts';
import type { CheckedOptions, MigrationPlan, MigrationProgress } from './options.ts';
import { planOf } from './plan.ts';
import { inPages, type Source } from './source.ts';
import { type Manner, type Sent, send, type Target, verify } from './target.ts';

/** A source that may tell what was written to it. */
export interface ChangingSource extends Source {
  /** Where its changes stand now; nothing where it does not tell. */
  position?(): Promise<string | undefined>;
  /** Keys that were written since a position, and the position after them; nothing where that is not known. */
  changesSince?(
    position: string,
  ): Promise<{ readonly keys: ReadonlySet<string>; readonly position: string } | undefined>;
}

/** What is migrated, and how. */
export interface Migration extends CheckedOptions {
  /** What it is called in messages. */
  readonly name: string;
  readonly source: ChangingSource;
  readonly target: Target;
  /**
   * Where it is noted down what was done, once the target has answered; nothing where the source does not change, and is read from
   * its beginning each time.
   */
  openJournal?(): Promise<Journal>;
  /** Have the last look done while nobody writes, and `work` told whether everything arrived. */
  settle?(work: () => Promise<boolean>): Promise<void>;
  /** Called before and after each look. Throws where a side is not the one any more that it was. */
  confirm?(): Promise<void>;
}

/** So often what was written meanwhile is looked for, where there is always more of it. */
const ROUNDS = 8;

/**
 * Copy every entry of the source to the target, and verify each.
 *
 * @returns The number of entries that the target holds, all verified; with `dryRun` the plan.
 * @throws {MigrationError}
 */
export async function migrate(migration: Migration): Promise<number | MigrationPlan> {
  const { source, target, signal, name } = migration;
  const tally = emptyTally();
  let reported = false;
  /** Whether nothing has failed but the entries that are left out, which are reported. */
  const isComplete = (): boolean => {
    const { onRefused } = migration;
    const failed = [...tally.failed];
    if (failed.some(([, failure]) => !onRefused || !isLeftOut(failure))) return false;
    if (!reported) for (const [key, { reason }] of failed) onRefused?.({ key, reason });
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
    if (journal) await goOn(migration, journal, tally);
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
        await lookAgain(migration, journal, tally, progress, retry);
        await migration.confirm?.();
      };
      await look(true);
      await migration.settle?.(async () => {
        await look(false);
        return isComplete();
      });
      if (isComplete())
        await journal.end().catch((error) => {
          // Where the target is in use already, nothing is as it was before.
          if (!migration.activate) throw error;
        });
    }
    if (!journal) isComplete();
  } catch (error) {
    throw stopped(name, tally, error, { signal, resumes: migration.openJournal !== undefined });
  }
  if (!isComplete()) throw unfinished(name, tally, false);
  return tally.verified;
}

/** What keeps a migration with `onConflict: 'fail'` from beginning. */
async function obstaclesOf(
  { onRefused }: Migration,
  { conflicts, refused }: MigrationPlan,
  journal: Journal | undefined,
): Promise<Map<string, Failed>> {
  // What was changed at the source since it was written there is brought over.
  const written = journal && (await writtenOf(journal, conflicts));
  return new Map<string, Failed>([
    ...(onRefused ? [] : refused).map(({ key, reason }) => [key, { reason, refused: true }] as const),
    ...conflicts.filter((key) => !written?.has(key)).map((key) => [key, { reason: CHANGED }] as const),
  ]);
}

/** The pages that are not done yet. Each is noted down when it was read back. */
async function copy(
  migration: Migration,
  journal: Journal | undefined,
  tally: Tally,
  progress: Progress,
): Promise<void> {
  const { source, target, onConflict, signal } = migration;
  const looked = progress.of('copy');
  looked(tally.verified + tally.skipped + tally.failed.size);
  let left = journal?.unnoted() ?? 0;
  let n = journal?.ends.length ?? 0;
  let next = n;
  const pages = inPages(source.entries(journal?.ends.at(-1)), async (page) => {
    if (isBegun(migration)) await journal?.begin(next, page);
    next += 1;
  });
  const note = async (sent: Sent, page: Parameters<typeof journalPage>[0]): Promise<void> => {
    const noted = journalPage(page, await verify(target, sent));
    await journal?.put(n, noted);
    n += 1;
    count(tally, noted);
    looked(page.length);
  };
  let noting: Promise<void> | undefined;
  try {
    for await (const page of pages) {
      signal?.throwIfAborted();
      const manner: Manner = { onConflict, looksFirst: left > 0 };
      left -= 1;
      const [sent] = await Promise.all([send(target, page, manner), noting]);
      progress.sent(sent.bytes);
      noting = note(sent, page);
      // Thrown with the next page, or at the end.
      noting.catch(() => {});
    }
  } finally {
    await noting;
  }
  if (journal) await sweep(migration, journal);
}

/** Take up what a run before this one has noted down. */
async function goOn({ source, target }: Migration, journal: Journal, tally: Tally): Promise<void> {
  for (let n = 0; n < journal.ends.length; n++) count(tally, await journal.page(n));
  // A target that holds less than that was emptied meanwhile.
  if (tally.verified > 0 && (await target.count({})) < tally.verified) {
    await journal.clear();
    Object.assign(tally, { verified: 0, skipped: 0 });
    tally.failed.clear();
  }
  if (journal.ends.length === 0) await journal.setPosition(await source.position?.());
}

/** Look for what was written meanwhile until there is nothing more. */
async function lookAgain(
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
    const looked = progress.of('catch-up');
    const changed = await catchUp(
      {
        source,
        target,
        journal,
        manner: { onConflict, looksFirst: false },
        replaced(before, after, bytes) {
          if (before) count(tally, before, -1);
          count(tally, after);
          progress.sent(bytes);
        },
        looked(entries) {
          signal?.throwIfAborted();
          looked(entries);
        },
      },
      again,
      pages,
    );
    // Also where it is the same: it is told here that another run has taken over.
    await journal.setPosition(changes?.position ?? journal.position());
    if (changed === 0) return;
  }
}

async function changesOf(source: ChangingSource, journal: Journal) {
  const position = journal.position();
  return position === undefined ? undefined : source.changesSince?.(position);
}

interface Progress {
  /** Count the entries of a phase that begins. */
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
