/**
 * Which queued writes may have been sent, and as which mutation. Each mutation has a record of its own, so recording that a write is
 * sent does not store its value again. This works on a full disk too.
 */
import type { QueuedWrite, SentAs } from './state.ts';

/** A mutation that was sent: the index of each write, by its `order`. Each mutation has a client of its own. */
export interface SentMutation {
  readonly m: number;
  readonly indexes: ReadonlyMap<number, number>;
  /** The writes whose call has rejected. */
  readonly rejected: ReadonlySet<number>;
}

/** The mutations that were sent, in one transaction. */
export interface SentWrites {
  /** Adds its mutation to a write that was read. */
  withSentAs(write: QueuedWrite): QueuedWrite;
  /** Replaces a write by another one. */
  change(before: QueuedWrite | undefined, after: QueuedWrite | undefined): void;
  /** The `order` of each write that may have been sent. */
  orders(): readonly number[];
  /** How many of them were rejected. They do not count as pending. */
  rejected(): number;
  /** The records to store; `undefined` for a mutation that is settled. */
  changes(): ReadonlyMap<string, SentMutation | undefined>;
}

/** The mutations as they were read. */
export function createSentWrites(clients: readonly string[], batches: readonly SentMutation[]): SentWrites {
  const sent = new Map(clients.map((client, i) => [client, batches[i] as SentMutation]));
  const sentAsByOrder = new Map<number, SentAs>();
  const rejected = new Set<number>();
  for (const [client, batch] of sent) {
    for (const [order, index] of batch.indexes) sentAsByOrder.set(order, { client, m: batch.m, index });
    for (const order of batch.rejected) rejected.add(order);
  }
  const touched = new Set<string>();
  return {
    withSentAs: (write) => ({ ...write, sentAs: sentAsByOrder.get(write.order) }),
    orders: () => [...sentAsByOrder.keys()],
    rejected: () => rejected.size,
    change(before, after) {
      for (const write of [before, after]) if (write?.sentAs) touched.add(write.sentAs.client);
      if (before) sentAsByOrder.delete(before.order);
      if (before) rejected.delete(before.order);
      if (after?.rejected) rejected.add(after.order);
      if (after?.sentAs) sentAsByOrder.set(after.order, after.sentAs);
    },
    changes() {
      const changed = new Map<string, SentMutation | undefined>();
      for (const client of touched) {
        const own = [...sentAsByOrder].filter(([, sentAs]) => sentAs.client === client);
        const [one] = own;
        const indexes = new Map(own.map(([order, { index }]) => [order, index]));
        const refused = new Set(own.flatMap(([order]) => (rejected.has(order) ? [order] : [])));
        changed.set(client, one && { m: one[1].m, indexes, rejected: refused });
      }
      return changed;
    },
  };
}
