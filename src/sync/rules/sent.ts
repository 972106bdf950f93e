/**
 * Which writes of the outbox may have been sent, as which mutation: a record a mutation, beside the writes, so that marking one does
 * not write its value again. A full disk has room for that.
 */
import type { Mark, Row } from './state.ts';

/** A mutation that was sent: the places of its writes, by their `n`. Each has a client of its own. */
export interface SentBatch {
  readonly m: number;
  readonly places: ReadonlyMap<number, number>;
  /** Those of them whose call has rejected. */
  readonly rejected: ReadonlySet<number>;
}

/** The batches that were sent, in one transaction. */
export interface Marks {
  /** A row with its mark. */
  marked(row: Row): Row;
  /** Mark a row as another one says. */
  change(before: Row | undefined, after: Row | undefined): void;
  /** All rows that may have been sent. */
  rows(): readonly number[];
  /** How many of them were rejected: they do not count as waiting. */
  rejected(): number;
  /** What is to be stored instead of what was read: nothing for a batch that is settled. */
  changes(): ReadonlyMap<string, SentBatch | undefined>;
}

/** The batches as they were read. */
export function createMarks(clients: readonly string[], batches: readonly SentBatch[]): Marks {
  const sent = new Map(clients.map((client, i) => [client, batches[i] as SentBatch]));
  const marks = new Map<number, Mark>();
  const rejected = new Set<number>();
  for (const [client, batch] of sent) {
    for (const [row, at] of batch.places) marks.set(row, { client, m: batch.m, at });
    for (const row of batch.rejected) rejected.add(row);
  }
  const touched = new Set<string>();
  return {
    marked: (row) => ({ ...row, mark: marks.get(row.n) }),
    rows: () => [...marks.keys()],
    rejected: () => rejected.size,
    change(before, after) {
      for (const row of [before, after]) if (row?.mark) touched.add(row.mark.client);
      if (before) marks.delete(before.n);
      if (before) rejected.delete(before.n);
      if (after?.rejected) rejected.add(after.n);
      if (after?.mark) marks.set(after.n, after.mark);
    },
    changes() {
      const changed = new Map<string, SentBatch | undefined>();
      for (const client of touched) {
        const own = [...marks].filter(([, mark]) => mark.client === client);
        const [one] = own;
        const places = new Map(own.map(([row, { at }]) => [row, at]));
        const refused = new Set(own.flatMap(([row]) => (rejected.has(row) ? [row] : [])));
        changed.set(client, one && { m: one[1].m, places, rejected: refused });
      }
      return changed;
    },
  };
}
