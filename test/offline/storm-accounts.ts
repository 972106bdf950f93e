/**
 * What became of the writes of a storm, from the tabs' own notes alone.
 *
 * No two writes of a key have a value in common, so a value names its write. What is left of a key's writes is what the server
 * holds and what the conflicts keep. A write is lost when all that is left had settled before it began: nobody has
 * overwritten it then. On a key that one tab writes, one after the other, that leaves its last acknowledged write alone.
 * Counters tell more: each acknowledged increment counts once, no less and no more.
 */
import type { Conflict } from '../../src/index.ts';
import type { Write } from './storm-writer.ts';

/** What there is at the end. */
export interface Outcome {
  readonly entries: Readonly<Record<string, unknown>>;
  readonly conflicts: readonly Conflict[];
}

/** What is wrong, a line each. */
export interface Accounts {
  readonly lost: string[];
  readonly duplicated: string[];
  /** Values that nobody wrote. */
  readonly invented: string[];
}

/** Account for every acknowledged write. */
export function account(writes: readonly Write[], { entries, conflicts }: Outcome): Accounts {
  const accounts: Accounts = { lost: [], duplicated: [], invented: [] };
  const keys = Map.groupBy(writes, ({ key }) => key);
  for (const [key, ofKey] of keys) {
    const kept = conflicts.filter((conflict) => conflict.key === key);
    if (ofKey.some(({ type }) => type === 'increment')) count(key, ofKey, entries[key], kept, accounts);
    else follow(key, ofKey, [entries[key], ...kept.map(({ local }) => local?.value)], accounts);
  }
  for (const key of [...Object.keys(entries), ...conflicts.map((conflict) => conflict.key)])
    if (!keys.has(key)) accounts.invented.push(`${key}: nobody wrote it`);
  return accounts;
}

function follow(key: string, writes: readonly Write[], left: readonly unknown[], accounts: Accounts): void {
  // Before the storm no key existed.
  let lastEnd = left.includes(undefined) ? Number.NEGATIVE_INFINITY : undefined;
  for (const value of left) {
    const wrote = writes.filter((write) => write.value === value);
    if (wrote.length === 0 && value !== undefined)
      accounts.invented.push(`${key}: nobody wrote ${JSON.stringify(value)}`);
    for (const write of wrote)
      lastEnd = Math.max(lastEnd ?? Number.NEGATIVE_INFINITY, mayTakeEffectUntil(write, writes));
  }
  for (const { rejected, startMs, type, value, tab } of writes)
    if (rejected === undefined && startMs > (lastEnd ?? Number.NEGATIVE_INFINITY))
      accounts.lost.push(
        `${key}: ${type} ${value ?? ''} of tab ${tab} is gone; left: ${JSON.stringify(left)}`,
      );
}

/** A write that was rejected is in doubt until a later one of its tab was acknowledged: that one it does not overtake. */
function mayTakeEffectUntil(write: Write, writes: readonly Write[]): number {
  if (write.rejected === undefined) return write.endMs;
  const later = writes.filter(
    ({ tab, rejected, startMs }) => tab === write.tab && rejected === undefined && startMs >= write.endMs,
  );
  return Math.min(Number.POSITIVE_INFINITY, ...later.map(({ endMs }) => endMs));
}

function count(
  key: string,
  writes: readonly Write[],
  held: unknown,
  kept: readonly Conflict[],
  accounts: Accounts,
): void {
  const numberOf = (value: unknown): number => Number(value ?? 0);
  const acknowledged = writes.filter(({ rejected }) => rejected === undefined).length;
  const inConflicts = kept.reduce(
    (sum, { base, local }) => sum + numberOf(local?.value) - numberOf(base?.value),
    0,
  );
  const counted = numberOf(held) + inConflicts;
  const told = `${key} counts ${held} and ${inConflicts} in conflicts, of ${acknowledged} acknowledged and ${
    writes.length - acknowledged
  } in doubt`;
  if (counted < acknowledged) accounts.lost.push(told);
  if (counted > writes.length) accounts.duplicated.push(told);
}
