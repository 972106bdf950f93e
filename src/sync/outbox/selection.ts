/**
 * Which queued writes a replay sends next.
 *
 * The writes of a key are sent in their order. Writes that were not accepted before come after all others, so one of them never blocks
 * the others.
 */
import { ALL_RECORDS, type ReadTransaction } from '../database.ts';
import { ALL_KEYS, type QueuedWrite } from '../rules/state.ts';

/** The most writes that are read, unless none of them can be sent. */
const MOST = 500;

/** Which queued writes a replay sends. */
export interface Selection {
  /** The most writes of the next request. */
  most: number;
  /** The number of the last write. */
  last: number;
  /** Versions of writes that were not accepted alone. They are sent after all others, as those that earlier replays have sent in vain. */
  readonly postponed: Set<number>;
  /** Versions of writes that this replay does not send again. */
  readonly skipped: Set<number>;
  /** Whether a postponed write was sent again. */
  isLate: boolean;
  /** Whether a postponed write is sent again as soon as all others up to `last` are sent. */
  isAgainNext: boolean;
  /** Whether the server's disk is full: only deletes are sent. */
  deletesOnly?: boolean;
}

/** The selection of a replay that begins. */
export const createSelection = (most: number, last: number): Selection => ({
  most,
  last,
  postponed: new Set(),
  skipped: new Set(),
  isLate: false,
  isAgainNext: false,
});

/** The writes that can be sent next. */
export interface Selected {
  readonly queued: readonly QueuedWrite[];
  /** Whether they were not accepted before. */
  readonly isPostponed: boolean;
}

/** Selects the writes that can be sent next: those that were not accepted before come after all others. */
export async function select(
  transaction: ReadTransaction,
  selection: Selection,
  lastOrder: number,
): Promise<Selected> {
  const { postponed, skipped, deletesOnly } = selection;
  const isSkipped = ({ version, value }: QueuedWrite): boolean =>
    skipped.has(version) || Boolean(deletesOnly && value);
  const isPostponed = ({ version, failed }: QueuedWrite): boolean =>
    failed !== undefined || postponed.has(version);
  for (const most of [MOST, ALL_RECORDS]) {
    const writes = await transaction.firstWrites(most);
    const others = withoutBlocked(writes, (write) => isSkipped(write) || isPostponed(write));
    const areLeft = (): boolean => others[0] !== undefined && others[0].order <= selection.last;
    if (areLeft()) return { queued: others, isPostponed: false };
    if (writes.length === most) continue;
    const again = withoutBlocked(writes, isSkipped).filter(isPostponed);
    if (again.length > 0 && !selection.isAgainNext) {
      // What was queued meanwhile is sent before the next of them.
      selection.isAgainNext = true;
      selection.last = lastOrder;
      if (areLeft()) return { queued: others, isPostponed: false };
    }
    if (!selection.isLate) selection.most = 1;
    selection.isLate = true;
    selection.isAgainNext = false;
    return { queued: again, isPostponed: true };
  }
  return { queued: [], isPostponed: false };
}

/** Leaves out blocked writes, and those that follow a blocked one. */
function withoutBlocked(
  writes: readonly QueuedWrite[],
  isBlocked: (write: QueuedWrite) => boolean,
): readonly QueuedWrite[] {
  const blocked = new Set<string>();
  const units = new Map<number, QueuedWrite[]>();
  for (const write of writes)
    if (write.unit) units.set(write.unit.order, [...(units.get(write.unit.order) ?? []), write]);
  return writes.filter((write) => {
    // What was written after a clear is not sent before it.
    if (blocked.has(ALL_KEYS)) return false;
    // A unit is left out as a whole.
    const parts = (write.unit && units.get(write.unit.order)) ?? [write];
    if (!parts.some((part) => blocked.has(part.key) || isBlocked(part))) return true;
    // The keys that it checks must not change before it is sent.
    for (const { key } of [...parts, ...(write.unit?.checks ?? [])]) blocked.add(key);
    return false;
  });
}
