/**
 * Which writes of the outbox may have been sent, under which numbers: a record a batch, beside the writes, so that marking one does
 * not write its value again. A full disk has room for that.
 */
import type { Mark, Row } from './rules.ts';

/** A batch that was sent: the numbers of its writes, by their `n`. */
export interface SentBatch {
  readonly first: number;
  readonly count: number;
  readonly numbers: ReadonlyMap<number, number>;
}

/** The batches that were sent, in one transaction. */
export interface Marks {
  /** A row with its mark. */
  marked(row: Row): Row;
  /** Mark a row as another one says. */
  change(before: Row | undefined, after: Row | undefined): void;
  /** All rows that may have been sent. */
  rows(): readonly number[];
  /** What is to be stored instead of what was read: nothing for a batch that is settled. */
  changes(): ReadonlyMap<string, SentBatch | undefined>;
}

/** The batches as they were read. */
export function createMarks(clients: readonly string[], batches: readonly SentBatch[]): Marks {
  const sent = new Map(clients.map((client, i) => [client, batches[i] as SentBatch]));
  const marks = new Map<number, Mark>();
  for (const [client, { first, count, numbers }] of sent)
    for (const [row, n] of numbers) marks.set(row, { client, first, count, n });
  const touched = new Set<string>();
  return {
    marked: (row) => ({ ...row, mark: marks.get(row.n) }),
    rows: () => [...marks.keys()],
    change(before, after) {
      for (const row of [before, after]) if (row?.mark) touched.add(row.mark.client);
      if (before) marks.delete(before.n);
      if (after?.mark) marks.set(after.n, after.mark);
    },
    changes() {
      const changed = new Map<string, SentBatch | undefined>();
      for (const client of touched) {
        const own = [...marks].filter(([, mark]) => mark.client === client);
        const [one] = own;
        const numbers = new Map(own.map(([row, { n }]) => [row, n]));
        changed.set(client, one && { first: one[1].first, count: one[1].count, numbers });
      }
      return changed;
    },
  };
}
