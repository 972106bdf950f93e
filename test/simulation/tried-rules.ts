/**
 * The rules that a simulation tries, in one object, so that tests can break one of them: those of src/sync/rules/state.ts and outbox.ts, and what their
 * callers do between them.
 */

import * as outbox from '../../src/sync/rules/outbox.ts';
import type { Held, Meta, Row, Seen } from '../../src/sync/rules/state.ts';
import * as mirror from '../../src/sync/rules/state.ts';
import type { Answer, Op } from './server.ts';

export type Results = Extract<Answer, { results: readonly unknown[] }>;

const real = { ...mirror, ...outbox };

/** The rules that are tried, and what the driver does with them. */
export interface Rules
  extends Pick<
    typeof real,
    | 'afterDecision'
    | 'decide'
    | 'decideSettled'
    | 'decideUnit'
    | 'enqueue'
    | 'enqueueClear'
    | 'inNewEra'
    | 'isNews'
    | 'isRewound'
    | 'parkedBy'
    | 'plan'
    | 'stepsOf'
    | 'unitResults'
    | 'viewOf'
  > {
  /** The rows of a key once one of them is taken to be sent. */
  taken(rows: readonly Row[], sent: Row): readonly Row[];
  /** The condition of a write that waits, or of a check, as it travels. */
  op(row: Pick<Row, 'key' | 'base' | 'stale'>, meta: Meta): Pick<Op, 'ifRev' | 'ifSeq'>;
  /** The keys whose writes wait because a unit among `rows` checks them. */
  checkedBy(rows: readonly Row[]): ReadonlySet<string>;
  /** What the answer to a batch shows. `known`: a sequence number that was seen before the batch was first sent. */
  newsOf(ops: readonly Op[], answer: Results, era: number, known: number): News[];
  /** Whether an answer of an era says what the server holds now. */
  counts(era: number, meta: Meta): boolean;
}

export const rules: Rules = {
  ...real,
  newsOf,
  checkedBy: (rows) => new Set(rows.flatMap(({ unit }) => (unit?.checks ?? []).map(({ key }) => key))),
  counts: (era, meta) => era === meta.era,
  taken: (rows, sent) => rows.map((row) => (row.n === sent.n ? sent : row)),
  op({ key, base, stale }, meta) {
    const current = base?.era === meta.era;
    if (key === real.ALL) return { ifSeq: current ? (base?.seq ?? 0) : 0 };
    if (stale) return { ifRev: 0 };
    return { ifRev: base?.held ? (current ? base.seq : 0) : null };
  },
};

export type News =
  | { readonly key: string; readonly seen: Seen }
  | { readonly era: number; readonly clearedAt: number };

function newsOf(ops: readonly Op[], { results, epoch, seq }: Results, era: number, known: number): News[] {
  const news: News[] = [];
  for (const [i, { op, key, held }] of ops.entries()) {
    const { status, rev = 0, held: value } = results[i] as (typeof results)[number];
    const see = (at: number, held?: Held): void => {
      news.push({ key, seen: { era, epoch, seq: at, held } });
    };
    if (op === 'clear') {
      if (status === 200) news.push({ era, clearedAt: rev });
    } else if (status === 200 && (op === 'put' || op === 'delete')) see(rev, held);
    else if (value) see(rev, value);
    // The result of a write may be a stored one: older than the rest of the answer.
    else if (status === 404) see(op === 'get' && ops.every((other) => other.op === 'get') ? seq : known);
  }
  return news;
}
