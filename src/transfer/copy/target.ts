/**
 * A page of entries put into a target: written as the mode asks, and read back.
 */
import type { Backend, Operation, Outcome, Snapshot } from '../../core/backend.ts';
import { ConflictError } from '../../core/conflict.ts';
import type { StorageError } from '../../core/errors.ts';
import { encode } from '../../core/json.ts';
import { snapshot } from '../../core/values.ts';
import { CHANGED, type Failed } from './errors.ts';
import type { OnConflict } from './options.ts';
import { isSendable, type Moving, type Sendable } from './source.ts';

/** Where entries go. */
export type Target = Pick<Backend, 'run' | 'open' | 'check' | 'stats' | 'count'>;

/** What became of an entry: written by this migration and read back equal; there already, equal; left as it was; or why not. */
export type Fate = 'written' | 'equal' | 'skipped' | Failed;

/** Whether what the target holds is this migration's own, to replace and to delete. */
export const isOwn = (fate: Fate | undefined): boolean =>
  fate === 'written' || (typeof fate === 'object' && fate.written === true);

/** How a page is put into the target. */
export interface Manner {
  readonly onConflict: OnConflict;
  /** Whether to look at what is there before anything is sent: where most of it may have arrived already. */
  readonly looksFirst: boolean;
}

/** What was sent of a page: the rest of its entries have their fate. */
export interface Sent {
  readonly fates: Map<string, Fate>;
  readonly written: readonly Sendable[];
  readonly bytes: number;
}

const DIFFERS = 'What was read back differs from what was written.';

/**
 * Write a page.
 *
 * @param conditional Whether a write can hold only for a key that does not exist.
 * @throws {StorageError} where the rest of the migration would fail as well.
 */
export async function send(
  target: Target,
  page: readonly Moving[],
  manner: Manner,
  conditional = manner.onConflict !== 'overwrite',
): Promise<Sent> {
  const fates = new Map<string, Fate>();
  // Where a page holds a key twice the last one counts.
  const entries = [...new Map(page.map((entry) => [entry.key, entry])).values()];
  for (const entry of entries)
    if (!isSendable(entry)) fates.set(entry.key, { reason: reasonOf(entry.refused), refused: true });
  let rest = entries.filter(isSendable);
  if (manner.looksFirst) rest = await lookFirst(target, rest, manner, fates);
  const outcomes = await run(
    target,
    rest.map((entry): Operation => ({ ...entry, type: 'put', ...(conditional && { ifRevision: null }) })),
  );
  if (conditional && outcomes.some((outcome) => codeOf(outcome) === 'unsupported')) {
    // No conditions on level 0: between the look and the write somebody else may write.
    return send(target, page, { ...manner, looksFirst: true }, false);
  }
  const written: Sendable[] = [];
  for (const [i, entry] of rest.entries()) {
    const outcome = outcomes[i] as Outcome;
    if (outcome.status === 'fulfilled') written.push(entry);
    else if (outcome.reason instanceof ConflictError) {
      const { current } = outcome.reason;
      const equal = current !== undefined && (await isEqual(entry, current.value));
      fates.set(entry.key, equal ? 'equal' : fateOfConflict(manner.onConflict));
    } else fates.set(entry.key, { reason: reasonOf(outcome.reason), refused: true });
  }
  return { fates, written, bytes: written.reduce((sum, { bytes }) => sum + bytes, 0) };
}

/** Read back what was sent. Returns the fate of every entry of the page. */
export async function verify(target: Target, { fates, written }: Sent): Promise<ReadonlyMap<string, Fate>> {
  const held = await heldAt(target, written);
  for (const entry of written) {
    const found = held.get(entry.key);
    const equal = found instanceof Error ? found : found !== undefined && (await isEqual(entry, found.value));
    if (equal instanceof Error) fates.set(entry.key, { reason: reasonOf(equal) });
    else fates.set(entry.key, equal ? 'written' : { reason: DIFFERS });
  }
  return fates;
}

/** What a target holds under a key, or why that cannot be told. */
type Held = { readonly value: unknown } | Error;

/** What a target holds under the keys of `entries`, where it holds anything. */
export async function heldAt(
  target: Target,
  entries: ReadonlyArray<{ readonly key: string }>,
): Promise<ReadonlyMap<string, Held>> {
  const got = await run(
    target,
    entries.map(({ key }): Operation => ({ type: 'get', key })),
  );
  // A stored `undefined` reads like nothing at all.
  const unsure = entries.filter((_, i) => foundBy(got[i]) === undefined && got[i]?.status === 'fulfilled');
  const has = await run(
    target,
    unsure.map(({ key }): Operation => ({ type: 'has', key })),
  );
  const there = new Set(unsure.filter((_, i) => foundBy(has[i]) === true));
  const held = new Map<string, Held>();
  for (const [i, entry] of entries.entries()) {
    const outcome = got[i] as Outcome;
    const value = foundBy(outcome);
    if (outcome.status === 'rejected') held.set(entry.key, outcome.reason as Error);
    else if (value !== undefined || there.has(entry)) held.set(entry.key, { value });
  }
  return held;
}

const foundBy = (outcome: Outcome | undefined): unknown =>
  outcome?.status === 'fulfilled' ? outcome.value : undefined;

/** Settle what needs no writing. Returns the rest. */
async function lookFirst(
  target: Target,
  entries: readonly Sendable[],
  { onConflict }: Manner,
  fates: Map<string, Fate>,
): Promise<Sendable[]> {
  const held = await heldAt(target, entries);
  const rest: Sendable[] = [];
  for (const entry of entries) {
    const found = held.get(entry.key);
    if (found instanceof Error) {
      if (onConflict === 'overwrite') rest.push(entry);
      else fates.set(entry.key, { reason: reasonOf(found) });
    } else if (found === undefined) rest.push(entry);
    else if (await isEqual(entry, found.value))
      fates.set(entry.key, onConflict === 'overwrite' ? 'written' : 'equal');
    else if (onConflict === 'overwrite') rest.push(entry);
    else fates.set(entry.key, fateOfConflict(onConflict));
  }
  return rest;
}

const fateOfConflict = (onConflict: OnConflict): Fate =>
  onConflict === 'skip' ? 'skipped' : { reason: CHANGED };

/** Whether an entry is what was found. What cannot be compared is not. */
export async function isEqual(
  entry: Snapshot & { readonly text?: string },
  found: unknown,
): Promise<boolean> {
  // Unlike `===`, which takes 0 for -0.
  if (Object.is(entry.value, found)) return true;
  try {
    return await sameValue(entry, snapshot(found));
  } catch {
    return false;
  }
}

/** Delete keys that the source no longer has. */
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
async function run(target: Target, operations: readonly Operation[]): Promise<Outcome[]> {
  if (operations.length === 0) return [];
  const outcomes = await target.run(operations, { durability: 'strict' });
  for (const outcome of outcomes)
    if (outcome.status === 'rejected' && FATAL.has(codeOf(outcome))) throw outcome.reason;
  return outcomes;
}

/**
 * Whether two values are the same, whatever the order of their objects' keys: an old server answers them sorted.
 *
 * Two values are the same when their canonical texts are: keys sorted, then the form in which they travel. That covers cycles, shared
 * references, Blobs and everything else that can be stored, exactly as far as it is stored.
 */
export async function sameValue(a: Snapshot, b: Snapshot): Promise<boolean> {
  if (a.plain !== b.plain) return false;
  return (await encode(a)) === (await encode(b)) || (await canonical(a)) === (await canonical(b));
}

async function canonical({ value }: Snapshot): Promise<string> {
  const copy = snapshot(value);
  sortKeys(copy.value, new Set());
  return encode(copy);
}

/** Sort the keys of every object that `value` reaches, in place. */
function sortKeys(value: unknown, met: Set<unknown>): void {
  if (typeof value !== 'object' || value === null || met.has(value) || ArrayBuffer.isView(value)) return;
  met.add(value);
  const visit = (member: unknown): void => sortKeys(member, met);
  if (Array.isArray(value)) Object.values(value).forEach(visit);
  else if (value instanceof Set) value.forEach(visit);
  else if (value instanceof Map) [...value].flat().forEach(visit);
  else if (value instanceof Error) visit(value.cause);
  else if (Object.getPrototypeOf(value) === Object.prototype) {
    for (const key of Object.keys(value).sort()) {
      const descriptor = Object.getOwnPropertyDescriptor(value, key) as PropertyDescriptor;
      Reflect.deleteProperty(value, key);
      Object.defineProperty(value, key, descriptor);
      visit(descriptor.value);
    }
  }
}
