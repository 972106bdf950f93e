/**
 * `update` on a server: read, change, and write only if nothing was written in between; else again with what is there.
 *
 * Updates of many keys go together: one batch that reads them, one that writes them, and then only those that met another
 * writer. Those of one key are computed one after the other and written once.
 */
import {
  fulfilled,
  type Operation,
  type Outcome,
  rejected,
  type Snapshot,
  type StoredEntry,
} from '../../core/backend.ts';
import { ConflictError } from '../../core/conflict.ts';
import { StorageError } from '../../core/errors.ts';
import { backOffMs, sleep } from '../../core/time.ts';
import { snapshot } from '../../core/values.ts';
import { type Delivery, entryOf, errorOf } from './batches.ts';
import type { Delivered, WireOp } from './protocol.ts';

/** An update, and where its outcome goes. */
export type Update = Extract<Operation, { type: 'update' }> & { readonly i: number };

/** The updates of one key, and what they start from. */
interface Group {
  readonly key: string;
  readonly updates: readonly Update[];
  readonly current: StoredEntry | undefined;
}

/** What the updates of one key came to, and the write that would make it true. */
interface Computed {
  readonly group: Group;
  /** An outcome for each update, once `op` has applied. */
  readonly outcomes: readonly Outcome[];
  /** `undefined` where none of them changes anything. */
  readonly op: WireOp | undefined;
  /** The value that `op` stores. */
  readonly value: unknown;
}

/** The pauses of writers that keep changing the same key. */
const PAUSES = { firstMs: 20, longestMs: 200 };

/** Carry out updates that stand together. Sets the outcome of each. */
export async function runUpdates(
  delivery: Delivery,
  timeout: number,
  updates: readonly Update[],
  outcomes: Outcome[],
): Promise<void> {
  const deadline = performance.now() + timeout;

  const settle = ({ updates }: Group, made: readonly Outcome[]): void => {
    for (const [at, { i }] of updates.entries()) outcomes[i] = made[at] as Outcome;
  };
  /** Nothing was stored. A function that threw rejects its own call, whatever else there was. */
  const fail = ({ group, outcomes: made }: Computed, error: unknown): void =>
    settle(
      group,
      made.map((outcome) => (outcome.status === 'rejected' ? outcome : rejected(error))),
    );

  let groups = await readGroups(delivery, updates, outcomes);
  for (let round = 0; groups.length > 0; round++) {
    if (round > 1) await sleep(backOffMs(round, PAUSES));
    const writes: Array<Computed & { readonly op: WireOp }> = [];
    for (const group of groups) {
      const computed = await compute(delivery, group);
      if (computed.op) writes.push({ ...computed, op: computed.op });
      else settle(group, computed.outcomes);
    }
    const delivered = await delivery.deliver(writes.map(({ op }) => op));
    groups = [];
    for (const [at, write] of writes.entries()) {
      const { group } = write;
      const result = delivered[at] as Delivered;
      if (result instanceof StorageError) fail(write, result);
      else if (result.status === 200) settle(group, write.outcomes);
      else if (result.status !== 412) fail(write, errorOf(group.key, result));
      else {
        try {
          const next = await entryOf(group.key, result);
          if (performance.now() < deadline) groups.push({ ...group, current: next });
          else fail(write, new ConflictError(group.key, write.value, next));
        } catch (error) {
          fail(write, error);
        }
      }
    }
  }
}

/** The updates by key, with what is there. Those whose key cannot be read are settled. */
async function readGroups(
  delivery: Delivery,
  updates: readonly Update[],
  outcomes: Outcome[],
): Promise<Group[]> {
  const byKey = new Map<string, Update[]>();
  for (const update of updates) {
    byKey.get(update.key)?.push(update) ?? byKey.set(update.key, [update]);
  }
  const found = await delivery.deliver([...byKey.keys()].map((key) => ({ op: 'get', key })));
  const groups: Group[] = [];
  for (const [at, [key, updates]] of [...byKey].entries()) {
    try {
      const result = found[at] as Delivered;
      if (result instanceof StorageError) throw result;
      if (result.status !== 200 && result.status !== 404) throw errorOf(key, result);
      groups.push({ key, updates, current: await entryOf(key, result) });
    } catch (error) {
      for (const { i } of updates) outcomes[i] = rejected(error);
    }
  }
  return groups;
}

/** Compute the updates of one key, each on what the one before it gave. */
async function compute(delivery: Delivery, group: Group): Promise<Computed> {
  const { key, updates, current } = group;
  let last: Snapshot | undefined;
  const outcomes = updates.map(({ change }) => {
    try {
      const value = last === undefined ? current?.value : last.value;
      // Each function gets a copy of its own: it may change it, and throw then.
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
