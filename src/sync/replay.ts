/**
 * The outbox sent to a server of level 1: in order, one batch at a time, each write once (docs/contract.md, 5.10 to 5.14).
 *
 * What is sent is marked with its numbers before, on the disk, and stays in the outbox until the transaction that records its
 * result. Where there is no answer, or the tab is gone, the numbers are used up by whoever comes next: their results tell what had
 * applied, and what had not never will.
 */

import type { StorageError } from '../core/errors.ts';
import { newClient } from '../remote/level1/numbering.ts';
import {
  type BatchAnswer,
  type Level1,
  nameOf,
  type Result,
  type WireOp,
} from '../remote/level1/protocol.ts';
import { learn, type News, newsOf, seqOf } from './learn.ts';
import { afterDecision, type Decision, decide, decideSettled, plan } from './outbox-rules.ts';
import { fitting, wireOp } from './outgoing.ts';
import {
  ALL,
  type Held,
  isForgotten,
  type Mark,
  type Meta,
  type Parked,
  type Row,
  renewed,
  type Seen,
  seenBefore,
} from './rules.ts';
import { otherEpoch, type Stop, stopOf } from './stop.ts';
import { sweep } from './sweep.ts';
import { clearsOf, type Tables, type Writing } from './tables.ts';

/** Writes a request. */
const MOST = 500;

/** What is to be stored where the server has something that the writer of a value had not seen; nothing to keep the server's. */
export type Merge = (row: Row, seen: Seen) => Promise<{ readonly held: Held | undefined } | undefined>;

/** What a replay works on. */
export interface Replay {
  readonly tables: Tables;
  readonly level1: Level1;
  readonly merge: Merge;
  /** Told after each batch. */
  readonly progress: () => void;
  readonly signal: AbortSignal;
}

/** Statuses of a request that will be refused again. */
const REFUSED: ReadonlySet<unknown> = new Set([400, 413, 415]);

/** Send what waits, up to the row with the number `last`. */
export async function replay(work: Replay, last: number): Promise<Stop | undefined> {
  const { level1, signal } = work;
  let most = Math.min(MOST, level1.limits.batchOps);
  /** Why the server would not take a write by itself. */
  let refusal: Refusal | undefined;
  while (!signal.aborted) {
    const next = await take(work, most, last);
    if (!next) return undefined;
    const { rows, meta, first, count, client, sent: isNew } = next;
    const ops = isNew
      ? rows.map((row) => wireOp(row, meta))
      : Array.from({ length: count }, (): WireOp => ({ op: 'fence' }));
    const sent = await level1.batch({ epoch: meta.epoch, client: { id: client, n: first } }, ops);
    if (sent.answer) {
      if (sent.answer.epoch !== meta.epoch) return otherEpoch();
      const stop = isNew
        ? await record(work, rows, meta, ops, sent.answer)
        : await recordSettled(work, rows, meta, sent.answer, refusal);
      if (stop) return stop;
      continue;
    }
    const { error, refused, type } = sent;
    const problem = nameOf(type);
    if (problem === 'op-gap' || problem === 'client-unknown') {
      // The server knows nothing of these numbers: nothing has applied. Or another tab has settled them, and gone on.
      const again = rows.map((row): Decision => ({ type: 'again', base: row.base }));
      const ours = await settle(work, rows, again, [], meta, 0);
      if (ours && client === meta.client) {
        if (problem === 'op-gap' || !isForgotten(meta, Date.now())) return { why: 'rewound', error };
        await work.tables.write(async (writing) => {
          const now = await writing.meta();
          if (now?.client === client) writing.setMeta(renewed(now, newClient()));
        }, true);
      }
    } else if (isNew && (REFUSED.has(refused) || (refused === 403 && rows[0]?.key === ALL))) {
      // A clear is what a caller may lack the right to who may write; it would keep everything else waiting.
      // Their numbers are used up next: by a gap in them a server that was restored is known.
      if (rows.length > 1) most = Math.ceil(rows.length / 2);
      else refusal = { mark: (rows[0] as Row).mark as Mark, detail: error.message };
    } else return stopOf(sent);
  }
  return undefined;
}

interface Refusal {
  readonly mark: Mark;
  readonly detail: string;
}

/** What a request is about. */
interface Next {
  readonly rows: readonly Row[];
  readonly meta: Meta;
  readonly client: string;
  readonly first: number;
  readonly count: number;
  /** Whether it has not been sent before. */
  readonly sent: boolean;
}

/** Take what is to be sent next, marked. */
const take = ({ tables, level1 }: Replay, most: number, last: number): Promise<Next | undefined> =>
  makingRoom(
    tables,
    async (writing) => {
      const meta = await writing.meta();
      const marked = await writing.sent();
      const waiting =
        marked.length > 0 ? marked : fitting(await writing.first(most), level1.limits.bodyBytes);
      const planned = meta && waiting[0] && waiting[0].n <= last && plan(waiting, meta, most);
      if (!planned) return undefined;
      const sent = 'send' in planned;
      const rows = sent ? planned.send : planned.settle;
      const { client, first, count } = (rows[0] as Row).mark as Mark;
      if (sent) {
        const places = await writing.places(rows.map(({ key }) => key));
        for (const row of rows) {
          const before = places.get(row.key)?.rows ?? [];
          const after = before.map((other) => (other.n === row.n ? { ...other, mark: row.mark } : other));
          writing.setRows(row.key, before, after);
        }
        writing.setMeta({ ...planned.meta, usedAtMs: Date.now() });
      }
      return { rows, meta, client, first, count, sent };
    },
    true,
  );

/** Write, where the disk is full in the place of the mirror: what waits goes before what can be read again. */
async function makingRoom<T>(
  tables: Tables,
  work: (writing: Writing) => Promise<T>,
  strict = false,
): Promise<T> {
  try {
    return await tables.write(work, strict);
  } catch (error) {
    if ((error as StorageError).code !== 'quota') throw error;
    await tables.write(async (writing) => writing.forget());
    return tables.write(work, strict);
  }
}

/** Record what came of a batch. */
async function record(
  work: Replay,
  rows: readonly Row[],
  meta: Meta,
  ops: readonly WireOp[],
  answer: BatchAnswer,
): Promise<Stop | undefined> {
  const news = newsOf(ops, answer, meta.era, meta.seq);
  const seen = new Map(news.flatMap((one) => ('key' in one ? [[one.key, one.seen]] : [])));
  // A conflict whose value the answer left out, or whose number was used up by somebody else.
  const lacking = rows.filter(({ key }, i) => {
    const { status, value } = answer.results[i] as Result;
    return status === 412 && value === undefined && key !== ALL;
  });
  if (lacking.length > 0) {
    const gets = lacking.map(({ key }): WireOp => ({ op: 'get', key }));
    const read = await work.level1.batch({ epoch: meta.epoch }, gets);
    if (!read.answer) return stopOf(read);
    for (const one of newsOf(gets, read.answer, meta.era, meta.seq)) {
      news.push(one);
      if ('key' in one) seen.set(one.key, one.seen);
    }
  }
  const decisions: Decision[] = [];
  for (const [i, row] of rows.entries()) {
    const { status } = answer.results[i] as Result;
    if (row.key === ALL && status === 412) {
      if (row.base?.era !== meta.era) decisions.push({ type: 'rejected' });
      else {
        const stop = await sweep(work.level1, meta, row.base.seq, news);
        if (stop) return stop;
        decisions.push({ type: 'done' });
      }
    } else decisions.push(decide(row, { status, seen: seen.get(row.key) }));
  }
  await settle(
    work,
    rows,
    decisions,
    news,
    meta,
    answer.seq,
    answer.results.map(({ error }) => error),
  );
  return undefined;
}

/** Record what the numbers of an earlier batch had come to. */
async function recordSettled(
  work: Replay,
  rows: readonly Row[],
  meta: Meta,
  { results, epoch, seq }: BatchAnswer,
  refusal: Refusal | undefined,
): Promise<undefined> {
  const decisions = rows.map((row) => {
    const { n, first } = row.mark as Mark;
    const { status, revision } = results[n - first] as Result;
    const seen = { era: meta.era, epoch, seq: seqOf(revision) };
    return decideSettled(row, { status, seen }, refusal?.mark);
  });
  const details = rows.map(() => refusal?.detail ?? '');
  await settle(work, rows, decisions, [], meta, seq, details);
}

/**
 * Record what becomes of writes that were sent, and what the answer showed, in one transaction.
 *
 * @returns Whether they were still to be settled.
 */
export async function settle(
  { tables, merge, progress }: Omit<Replay, 'level1'>,
  rows: readonly Row[],
  decisions: readonly Decision[],
  news: readonly News[],
  meta: Meta,
  seq: number,
  details: readonly string[] = [],
): Promise<boolean> {
  const merged = new Map<Row, Held | undefined>();
  for (const [i, row] of rows.entries()) {
    const decision = decisions[i] as Decision;
    const result = decision.type === 'conflict' && (await merge(row, decision.seen));
    if (result) merged.set(row, result.held);
  }
  const settled = await makingRoom(tables, async (writing) => {
    let settled = false;
    // The server was found to be restored since: what it has answered may be gone. Their numbers tell.
    if (((await writing.meta()) ?? meta).era !== meta.era) return settled;
    const places = await writing.places([...new Set([ALL, ...rows.map(({ key }) => key)])]);
    const shown: News[] = [...news];
    const parked: Parked[] = [];
    for (const [i, row] of rows.entries()) {
      const decision = decisions[i] as Decision;
      const place = places.get(row.key) ?? { rows: [] };
      let after = afterDecision(place.rows, row, decision, clearsOf(places));
      if (after.parked && merged.has(row) && decision.type === 'conflict') {
        const again = afterDecision(place.rows, row, { type: 'again', base: decision.seen }, []);
        after = {
          parked: false,
          rows: again.rows.map((other) => (other.n === row.n ? { ...other, held: merged.get(row) } : other)),
        };
      }
      if ('seen' in decision && decision.seen && row.key !== ALL) {
        const version = decision.type === 'done' ? row.version : undefined;
        shown.push({ key: row.key, seen: { ...decision.seen, version } });
      }
      if (decision.type === 'done' && row.key === ALL && decision.seen)
        shown.push({ era: meta.era, clearedAt: decision.seen.seq });
      if (after.parked) parked.push(parkedOf(row, decision, details[i]));
      if (after.rows === place.rows) continue;
      settled = true;
      writing.setRows(row.key, place.rows, after.rows);
      places.set(row.key, { ...place, rows: after.rows });
    }
    await learn(writing, shown, meta.era, seq);
    await writing.park(parked);
    return settled;
  });
  progress();
  return settled;
}

/** What is kept of a write that does not come to be the server's. */
function parkedOf(row: Row, decision: Decision, detail = ''): Parked {
  const { key, held: local } = row;
  const changed = decision.type === 'conflict';
  return {
    key,
    reason: changed ? 'changed' : 'rejected',
    base: seenBefore(row),
    local,
    server: changed ? decision.seen.held : undefined,
    detail: changed ? 'The server had changed meanwhile.' : detail || 'The server refused it.',
    atMs: Date.now(),
  };
}
