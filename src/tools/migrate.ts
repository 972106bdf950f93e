/**
 * Migration: every entry of one backend written to another and read back.
 *
 * Invariants: the source is only read; the number returned is the number of entries that were read back equal; anything
 * less than all of them is a `MigrationError`, never a smaller number.
 */
import type { Backend, Operation, Outcome, Snapshot } from '../core/backend.ts';
import type { StorageError } from '../core/errors.ts';
import { checkKey } from '../core/keys.ts';
import { snapshot } from '../core/values.ts';
import { sameValue } from './compare.ts';
import { MigrationError, type MigrationFailure } from './migration-error.ts';

/** Entries that are written and verified together, at least. */
const GROUP = 1000;

interface Entry extends Snapshot {
  readonly key: string;
}

/**
 * Copy every entry of `source` to `target`, overwriting, and verify each.
 *
 * @returns The number of entries, all verified.
 * @throws {MigrationError}
 */
export async function migrate(source: Backend, target: Backend): Promise<number> {
  const failed: MigrationFailure[] = [];
  let migrated = 0;
  try {
    await target.open();
    for await (const page of inGroups(source.entries(''))) {
      const failure = (key: string, error: unknown): void => {
        failed.push({ key, reason: error instanceof Error ? error.message : String(error) });
      };
      const written = await write(target, page, failure);
      migrated += await verify(target, written, failure);
    }
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    const counts = `${migrated} entries were verified, ${failed.length} failed`;
    throw new MigrationError(
      `The migration stopped: ${reason} Until then ${counts}; the source is untouched: run it again.`,
      migrated,
      failed,
      { cause: error },
    );
  }
  if (failed.length > 0) {
    const [first] = failed;
    throw new MigrationError(
      `${failed.length} entries could not be migrated (the first: ${first?.key}: ${first?.reason}), ${migrated} were; the source is untouched: see \`failed\`, mend or delete those entries, and run it again.`,
      migrated,
      failed,
    );
  }
  return migrated;
}

type Page = ReadonlyArray<readonly [string, unknown]>;
type Fail = (key: string, error: unknown) => void;

/** Pages put together, so that a server gets few and large requests. */
async function* inGroups(pages: AsyncIterable<Page>): AsyncGenerator<Page> {
  let group: Array<Page[number]> = [];
  for await (const page of pages) {
    group.push(...page);
    if (group.length < GROUP) continue;
    yield group;
    group = [];
  }
  yield group;
}

/** Write a page. Returns what was written; what the target cannot hold is a failure. */
async function write(target: Backend, page: Page, fail: Fail): Promise<Entry[]> {
  const entries: Entry[] = [];
  for (const [key, value] of page) {
    try {
      entries.push({ key: checkKey(key), ...snapshot(value) });
    } catch (error) {
      fail(key, error);
    }
  }
  const outcomes = await run(
    target,
    entries.map((entry) => ({ type: 'put', ...entry })),
  );
  return entries.filter(({ key }, i) => {
    const outcome = outcomes[i];
    if (outcome?.status === 'rejected') fail(key, outcome.reason);
    return outcome?.status === 'fulfilled';
  });
}

/** Read back what was written. Returns how many entries are there and equal. */
async function verify(target: Backend, entries: readonly Entry[], fail: Fail): Promise<number> {
  const outcomes = await run(
    target,
    entries.map(({ key }) => ({ type: 'get', key })),
  );
  // A stored `undefined` reads like nothing at all.
  const unsure = entries.filter(({ value }) => value === undefined);
  const held = await run(
    target,
    unsure.map(({ key }) => ({ type: 'has', key })),
  );
  const absent = new Set(unsure.filter((_, i) => resultOf(held[i]) !== true));
  let verified = 0;
  for (const [i, entry] of entries.entries()) {
    try {
      const same = !absent.has(entry) && (await sameValue(entry, snapshot(resultOf(outcomes[i]))));
      if (same) verified += 1;
      else fail(entry.key, 'What was read back differs from what was written.');
    } catch (error) {
      fail(entry.key, error);
    }
  }
  return verified;
}

function resultOf(outcome: Outcome | undefined): unknown {
  if (outcome?.status === 'fulfilled') return outcome.value;
  throw outcome?.reason;
}

/** Failures after which the rest of the migration would fail as well. */
const FATAL: ReadonlySet<unknown> = new Set([
  'unavailable',
  'timeout',
  'quota',
  'closed',
  'blocked',
  'forbidden',
]);

/** Run a batch; the first fatal failure in it is thrown. */
async function run(target: Backend, operations: readonly Operation[]): Promise<Outcome[]> {
  if (operations.length === 0) return [];
  const outcomes = await target.run(operations);
  for (const outcome of outcomes) {
    if (outcome.status === 'rejected' && FATAL.has((outcome.reason as StorageError).code))
      throw outcome.reason;
  }
  return outcomes;
}
