/**
 * `update` on a server: read, compute, and write if nothing was written in between. Otherwise repeat with the current value.
 *
 * Updates of many keys travel together: one batch reads the keys, one writes them, and further ones repeat those that met another
 * writer. The updates of one key are computed one after the other and written once.
 */
import {
  fulfilled,
  type Operation,
  type Outcome,
  rejected,
  type SentAs,
  type Snapshot,
  type StoredEntry,
} from '../../core/backend.ts';
import { ConflictError } from '../../core/conflict.ts';
import type { StorageError } from '../../core/errors.ts';
import { backOffMs, type Deadline, remainingMs, sleep } from '../../core/time.ts';
import { snapshot } from '../../core/values.ts';
import { type Delivery, entryOf, errorOf, lostOf } from './batches.ts';
import type { Delivered, WireOp } from './protocol.ts';

/** An update, and where its outcome goes. */
export interface Update {
  readonly i: number;
  readonly operation: Extract<Operation, { type: 'update' }>;
}

/** The updates of one key, and its current entry. */
interface Group {
  readonly key: string;
  readonly updates: readonly Update[];
  readonly current: StoredEntry | undefined;
}

/** The results of the updates of one key, and the write that stores them. */
interface Computed {
  readonly group: Group;
  /** An outcome for each update, valid once `op` is applied. */
  readonly outcomes: readonly Outcome[];
  /** `undefined` if there is nothing to store. */
  readonly op: WireOp | undefined;
  /** The value that `op` stores. */
  readonly value: unknown;
}

/** The pauses of writers that keep changing the same key. */
const PAUSES = { firstMs: 20, longestMs: 200 };

/**
 * Carries out updates that follow each other. Sets the outcome of each. Returns why there was no answer, if there was none.
 *
 * @param deadline After it, an update that still meets other writers rejects with a conflict.
 */
export async function runUpdates(
  delivery: Delivery,
  deadline: Deadline,
  updates: readonly Update[],
  outcomes: Outcome[],
): Promise<StorageError | undefined> {
  const settle = ({ updates }: Group, made: readonly Outcome[]): void => {
    for (const [at, { i }] of updates.entries()) outcomes[i] = made[at] as Outcome;
  };
  /** The write failed. A call whose function threw rejects with that. */
  const fail = ({ group, outcomes: made }: Computed, error: unknown, inDoubt?: SentAs): void =>
    settle(
      group,
      made.map((outcome) => (outcome.status === 'rejected' ? outcome : rejected(error, inDoubt))),
    );

  let { groups, lost } = await readGroups(delivery, updates, outcomes);
  for (let round = 0; groups.length > 0; round++) {
    if (round > 1) await sleep(backOffMs(round, PAUSES));
    const writes: Array<Computed & { readonly op: WireOp }> = [];
    for (const group of groups) {
      const computed = await compute(delivery, group);
      if (computed.op) writes.push({ ...computed, op: computed.op });
      else settle(group, computed.outcomes);
    }
    const delivered = await delivery.deliver(writes.map(({ op }) => op));
    lost ??= lostOf(delivered);
    groups = [];
    for (const [at, write] of writes.entries()) {
      const { group } = write;
      const result = delivered[at] as Delivered;
      if (result.status === undefined) fail(write, result.error, result.inDoubt);
      else if (result.status === 200) settle(group, write.outcomes);
      else if (result.status !== 412) fail(write, errorOf(group.key, result));
      else if (result.unread) fail(write, result.unread);
      else {
        try {
          const next = await entryOf(group.key, result);
          if (remainingMs(deadline) > PAUSES.longestMs) groups.push({ ...group, current: next });
          else fail(write, new ConflictError(group.key, write.value, next));
        } catch (error) {
          fail(write, error);
        }
      }
    }
  }
  return lost;
}

/** The updates by key, with the current entries. Updates whose key cannot be read are settled. */
async function readGroups(
  delivery: Delivery,
  updates: readonly Update[],
  outcomes: Outcome[],
): Promise<{ readonly groups: Group[]; readonly lost: StorageError | undefined }> {
  const byKey = new Map<string, Update[]>();
  for (const update of updates) {
    const { key } = update.operation;
    byKey.get(key)?.push(update) ?? byKey.set(key, [update]);
  }
  const found = await delivery.deliver([...byKey.keys()].map((key) => ({ op: 'get', key })));
  const groups: Group[] = [];
  for (const [at, [key, updates]] of [...byKey].entries()) {
    try {
      const result = found[at] as Delivered;
      if (result.status === undefined) throw result.error;
      if (result.status !== 200 && result.status !== 404) throw errorOf(key, result);
      groups.push({ key, updates, current: await entryOf(key, result) });
    } catch (error) {
      for (const { i } of updates) outcomes[i] = rejected(error);
    }
  }
  return { groups, lost: lostOf(found) };
}

/** Computes the updates of one key, each from the result of the one before it. */
async function compute(delivery: Delivery, group: Group): Promise<Computed> {
  const { key, updates, current } = group;
  let last: Snapshot | undefined;
  const outcomes = updates.map(({ operation: { change } }) => {
    try {
      const value = last === undefined ? current?.value : last.value;
      // Each function gets its own copy, because it may change the copy and then throw.
      last = change(updates.length === 1 ? value : snapshot(value).value);
      return fulfilled(last.value);
    } catch (error) {
      return rejected(error);
    }
  });
  if (last === undefined) return { group, outcomes, op: undefined, value: undefined };
  try {
    const text = await delivery.textOf(key, last);
    const op: WireOp = { op: 'put', key, text, ifRevision: current?.revision ?? null };
    return { group, outcomes, op, value: last.value };
  } catch (error) {
    const failed = outcomes.map((outcome) => (outcome.status === 'rejected' ? outcome : rejected(error)));
    return { group, outcomes: failed, op: undefined, value: undefined };
  }
}
