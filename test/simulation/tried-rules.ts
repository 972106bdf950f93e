/**
 * The rules that a simulation tries, in one object, so that tests can break one of them: those of src/sync/rules/state.ts and outbox.ts, and what their
 * callers do between them.
 */

import * as outbox from '../../src/sync/rules/outbox.ts';
import type { Meta, QueuedWrite, ServerState, StoredJson } from '../../src/sync/rules/state.ts';
import * as mirror from '../../src/sync/rules/state.ts';
import type { Answer, Op } from './server.ts';

export type Results = Extract<Answer, { results: readonly unknown[] }>;

const real = { ...mirror, ...outbox };

/** The rules that are tried, and what the driver does with them. */
export interface Rules
  extends Pick<
    typeof real,
    | 'applyDecision'
    | 'decide'
    | 'decideVoided'
    | 'decideUnit'
    | 'enqueue'
    | 'enqueueClear'
    | 'inNextGeneration'
    | 'isNewer'
    | 'isRestored'
    | 'restoreConflict'
    | 'planRequest'
    | 'operationsOf'
    | 'unitResults'
    | 'localView'
  > {
  /** The writes of a key once one of them is taken to be sent. */
  taken(writes: readonly QueuedWrite[], sent: QueuedWrite): readonly QueuedWrite[];
  /** The condition of a queued write, or of a check, as it travels. */
  op(queued: Pick<QueuedWrite, 'key' | 'base' | 'stale'>, meta: Meta): Pick<Op, 'ifRev' | 'ifSeq'>;
  /** The keys whose writes are kept back because a unit among `writes` checks them. */
  checkedBy(writes: readonly QueuedWrite[]): ReadonlySet<string>;
  /** What the answer to a batch shows. `known`: a sequence number that was seen before the batch was first sent. */
  observationsOf(ops: readonly Op[], answer: Results, generation: number, known: number): Observation[];
  /** Whether an answer of a generation says what the server holds now. */
  counts(generation: number, meta: Meta): boolean;
}

export const rules: Rules = {
  ...real,
  observationsOf,
  checkedBy: (writes) => new Set(writes.flatMap(({ unit }) => (unit?.checks ?? []).map(({ key }) => key))),
  counts: (generation, meta) => generation === meta.generation,
  taken: (writes, sent) => writes.map((queued) => (queued.order === sent.order ? sent : queued)),
  op({ key, base, stale }, meta) {
    const current = base?.generation === meta.generation;
    if (key === real.ALL_KEYS) return { ifSeq: current ? (base?.seq ?? 0) : 0 };
    if (stale) return { ifRev: 0 };
    return { ifRev: base?.value ? (current ? base.seq : 0) : null };
  },
};

export type Observation =
  | { readonly key: string; readonly serverState: ServerState }
  | { readonly generation: number; readonly clearedAt: number };

function observationsOf(
  ops: readonly Op[],
  { results, epoch, seq }: Results,
  generation: number,
  known: number,
): Observation[] {
  const observations: Observation[] = [];
  for (const [i, { op, key, value }] of ops.entries()) {
    const result = results[i] as (typeof results)[number];
    const { status, rev = 0 } = result;
    const observe = (at: number, value?: StoredJson): void => {
      observations.push({ key, serverState: { generation, epoch, seq: at, value } });
    };
    if (op === 'clear') {
      if (status === 200) observations.push({ generation, clearedAt: rev });
    } else if (status === 200 && (op === 'put' || op === 'delete')) observe(rev, value);
    else if (result.value) observe(rev, result.value);
    // The result of a write may be a stored one: older than the rest of the answer.
    else if (status === 404) observe(op === 'get' && ops.every((other) => other.op === 'get') ? seq : known);
  }
  return observations;
}
