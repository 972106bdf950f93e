/**
 * Targets: write a page of entries according to `onConflict`, and read it back.
 */
import type { Backend, Operation, Outcome, Snapshot } from '../../core/backend.ts';
import { ConflictError } from '../../core/conflict.ts';
import type { StorageError } from '../../core/errors.ts';
import { sameValue } from '../../core/same-value.ts';
import { snapshot } from '../../core/values.ts';
import { CHANGED, type Failed } from './errors.ts';
import type { OnConflict } from './options.ts';
import { isSendable, type Sendable, type SourceEntry } from './source.ts';

/** A target of entries. */
export type Target = Pick<Backend, 'run' | 'open' | 'check' | 'stats' | 'count'>;

/** The result for an entry: `written` and read back equal; `equal` at the target before; `skipped`; or failed. */
export type EntryResult = 'written' | 'equal' | 'skipped' | Failed;

/** Whether this migration has written the target's value, so that it may replace and delete it. */
export const isOwnWrite = (result: EntryResult | undefined): boolean =>
  result === 'written' || (typeof result === 'object' && result.written === true);

/** How a page is written to the target. */
export interface WriteMode {
  readonly onConflict: OnConflict;
  /** Whether to read the target before anything is sent. Useful if most entries may have arrived before. */
  readonly readsFirst: boolean;
}

/** The entries of a page that were sent, and the results of the other entries. */
export interface Sent {
  readonly results: Map<string, EntryResult>;
  readonly written: readonly Sendable[];
  readonly bytes: number;
}

const DIFFERS = 'The value read back from the target differs from the value written.';

/**
 * Writes a page.
 *
 * @param conditional Whether each write applies only if the key does not exist.
 * @throws {StorageError} if the rest of the copy would fail for the same reason.
 */
export async function send(
  target: Target,
  page: readonly SourceEntry[],
  mode: WriteMode,
  conditional = mode.onConflict !== 'overwrite',
): Promise<Sent> {
  const results = new Map<string, EntryResult>();
  // If a page has a key twice, its last entry counts.
  const entries = [...new Map(page.map((entry) => [entry.key, entry])).values()];
  for (const entry of entries)
    if (!isSendable(entry)) results.set(entry.key, { reason: reasonOf(entry.refused), refused: true });
  let rest = entries.filter(isSendable);
  if (mode.readsFirst) rest = await readFirst(target, rest, mode, results);
  const outcomes = await run(
    target,
    rest.map((entry): Operation => ({ ...entry, type: 'put', ...(conditional && { ifRevision: null }) })),
  );
  if (conditional && outcomes.some((outcome) => codeOf(outcome) === 'unsupported')) {
    // Level 0 has no conditions. Another client may write between this read and the write.
    return send(target, page, { ...mode, readsFirst: true }, false);
  }
  const written: Sendable[] = [];
  for (const [i, entry] of rest.entries()) {
    const outcome = outcomes[i] as Outcome;
    if (outcome.status === 'fulfilled') written.push(entry);
    else if (outcome.reason instanceof ConflictError) {
      const { current } = outcome.reason;
      const equal = current !== undefined && (await isEqual(entry, current.value));
      results.set(entry.key, equal ? 'equal' : resultOfConflict(mode.onConflict));
    } else results.set(entry.key, { reason: reasonOf(outcome.reason), refused: true });
  }
  return { results, written, bytes: written.reduce((sum, { bytes }) => sum + bytes, 0) };
}

/** Reads back the entries that were sent. Returns the result of every entry of the page. */
export async function verify(
  target: Target,
  { results, written }: Sent,
): Promise<ReadonlyMap<string, EntryResult>> {
  const values = await valuesAt(target, written);
  for (const entry of written) {
    const found = values.get(entry.key);
    const equal = found instanceof Error ? found : found !== undefined && (await isEqual(entry, found.value));
    if (equal instanceof Error) results.set(entry.key, { reason: reasonOf(equal) });
    else results.set(entry.key, equal ? 'written' : { reason: DIFFERS });
  }
  return results;
}

/** The target's value of a key, or the error of reading it. */
type TargetValue = { readonly value: unknown } | Error;

/** Reads the target's values of the keys of `entries`. Keys that do not exist are missing in the result. */
export async function valuesAt(
  target: Target,
  entries: ReadonlyArray<{ readonly key: string }>,
): Promise<ReadonlyMap<string, TargetValue>> {
  const got = await run(
    target,
    entries.map(({ key }): Operation => ({ type: 'get', key })),
  );
  // `get` returns `undefined` both for a stored `undefined` and for a missing key.
  const unsure = entries.filter((_, i) => foundBy(got[i]) === undefined && got[i]?.status === 'fulfilled');
  const has = await run(
    target,
    unsure.map(({ key }): Operation => ({ type: 'has', key })),
  );
  const there = new Set(unsure.filter((_, i) => foundBy(has[i]) === true));
  const values = new Map<string, TargetValue>();
  for (const [i, entry] of entries.entries()) {
    const outcome = got[i] as Outcome;
    const value = foundBy(outcome);
    if (outcome.status === 'rejected') values.set(entry.key, outcome.reason as Error);
    else if (value !== undefined || there.has(entry)) values.set(entry.key, { value });
  }
  return values;
}

const foundBy = (outcome: Outcome | undefined): unknown =>
  outcome?.status === 'fulfilled' ? outcome.value : undefined;

/** Determines the results of entries that need not be written. Returns the other entries. */
async function readFirst(
  target: Target,
  entries: readonly Sendable[],
  { onConflict }: WriteMode,
  results: Map<string, EntryResult>,
): Promise<Sendable[]> {
  const values = await valuesAt(target, entries);
  const rest: Sendable[] = [];
  for (const entry of entries) {
    const found = values.get(entry.key);
    if (found instanceof Error) {
      if (onConflict === 'overwrite') rest.push(entry);
      else results.set(entry.key, { reason: reasonOf(found) });
    } else if (found === undefined) rest.push(entry);
    else if (await isEqual(entry, found.value))
      results.set(entry.key, onConflict === 'overwrite' ? 'written' : 'equal');
    else if (onConflict === 'overwrite') rest.push(entry);
    else results.set(entry.key, resultOfConflict(onConflict));
  }
  return rest;
}

const resultOfConflict = (onConflict: OnConflict): EntryResult =>
  onConflict === 'skip' ? 'skipped' : { reason: CHANGED };

/** Whether an entry equals the value found. Values that cannot be compared are not equal. */
export async function isEqual(
  entry: Snapshot & { readonly text?: string },
  found: unknown,
): Promise<boolean> {
  // Unlike `===`, this distinguishes 0 and -0.
  if (Object.is(entry.value, found)) return true;
  try {
    return await sameValue(entry, snapshot(found));
  } catch {
    return false;
  }
}

/** Deletes keys that the source no longer has. */
export async function remove(target: Target, keys: readonly string[]): Promise<void> {
  const outcomes = await run(
    target,
    keys.map((key): Operation => ({ type: 'delete', key })),
  );
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
}

export const reasonOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

const codeOf = (outcome: Outcome): unknown =>
  outcome.status === 'rejected' ? (outcome.reason as StorageError).code : undefined;

/** Codes of failures that would also end the rest of the copy. */
const FATAL: ReadonlySet<unknown> = new Set([
  'unavailable',
  'timeout',
  'quota',
  'closed',
  'blocked',
  'forbidden',
]);

/** Runs a batch. Throws its first fatal failure. */
async function run(target: Target, operations: readonly Operation[]): Promise<Outcome[]> {
  if (operations.length === 0) return [];
  const outcomes = await target.run(operations, { durability: 'strict' });
  for (const outcome of outcomes)
    if (outcome.status === 'rejected' && FATAL.has(codeOf(outcome))) throw outcome.reason;
  return outcomes;
}
