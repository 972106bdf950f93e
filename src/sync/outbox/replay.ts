/**
 * The outbox sent to a server of level 1: in order, one batch at a time, each write once (docs/contract.md, 5.10 to 5.14).
 *
 * What is sent is marked with its mutation before, on the disk, and stays in the outbox until the transaction that records its
 * result. Where there is no answer, or the tab is gone, the mutation is given up by whoever comes next: its results tell what had
 * applied, and what had not never will.
 *
 * One write never holds up the others. Where the server answers, but not to a batch, its halves are sent, and a single write is set
 * aside; after three such passes it is kept as a conflict.
 */

import type { StorageError } from '../../core/errors.ts';
import {
  type BatchAnswer,
  isSettled,
  type Level1,
  NEVER,
  nameOf,
  newClient,
  type Result,
  type Unanswered,
  type Voided,
  type WireOp,
} from '../../remote/level1/protocol.ts';
import { ALL_ROWS, clearsOf, type Tables, type Writing } from '../database.ts';
import { learn, type News, newsOf, seqOf } from '../mirror/learn.ts';
import {
  afterDecision,
  type Decision,
  decide,
  decideSettled,
  decideUnit,
  plan,
  unitResults,
} from '../rules/outbox.ts';
import { ALL, type Held, type Mark, type Meta, type Parked, type Row, type Seen } from '../rules/state.ts';
import { fitting, opsOf } from './outgoing.ts';
import { otherEpoch, type Stop, stopOf } from './stop.ts';
import { sweep } from './sweep.ts';

/** Writes a request. */
const MOST = 500;
/** So often a write is sent that the server does not answer while it answers everything else. */
const PASSES = 3;
/** Milliseconds for a request after one that had no answer, although the server answers others. */
const SUSPICIOUS_MS = 2000;
/** After so many writes that the server does not allow, the rest is not tried: the caller may only read. */
const MOST_DENIED = 3;
/** After so many mutations that were given up while they were sent, the server is not believed. */
const MOST_VOIDED = 20;

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

/** Send what waits, up to the row with the number `last`. */
export async function replay(work: Replay, last: number): Promise<Stop | undefined> {
  const { level1, signal } = work;
  const most = Math.min(MOST, level1.limits.batchOps);
  const selection: Selection = { most, last, aside: new Set() };
  /** A write that the server will not take. */
  let refusal: Refusal | undefined;
  /** Why something is left. */
  let left: StorageError | undefined;
  let isSuspicious = false;
  let denied = 0;
  let voided = 0;
  while (!signal.aborted) {
    const next = await take(work, selection);
    if (!next) break;
    const { rows, meta, mark } = next;
    if (next.isMarked) {
      const given = await level1.giveUp(mark);
      // Whoever settled it long ago has forgotten these writes: they hold only for what their writer had seen.
      if (!given.answer && !isSettled(given)) return stopOf(given);
      if (given.answer && given.answer.epoch !== meta.epoch) return otherEpoch();
      await recordSettled(work, rows, meta, given.answer, refusal);
      continue;
    }
    const ops = opsOf(rows, meta);
    const unit = rows[0]?.unit;
    const sent = await level1.batch(
      { epoch: meta.epoch, mutation: mark, atomic: unit && true },
      ops,
      isSuspicious ? SUSPICIOUS_MS : undefined,
    );
    if (sent.answer) {
      if (sent.answer.epoch !== meta.epoch) return otherEpoch();
      const stop = await record(work, next, ops, sent.answer);
      if (stop) return stop;
      selection.most = Math.min(most, 2 * selection.most);
      continue;
    }
    if (nameOf(sent.type) === 'epoch-changed') return stopOf(sent);
    // Another tab has given the mutation up. Its name is new, so that does not go on.
    if (/^(void|settled)$/.test(nameOf(sent.type) ?? '') && voided < MOST_VOIDED) {
      voided += 1;
      continue;
    }
    const blame = await blameOf(level1, sent);
    if (blame === 'server') return stopOf(sent);
    if (blame === 'busy') return { why: 'refused', error: sent.error };
    // Then nothing of it can still arrive.
    const isOver = sent.refused !== undefined && !sent.isInDoubt;
    isSuspicious = true;
    const [row] = rows as [Row];
    if (blame === 'room') {
      left = sent.error;
      if (selection.deletesOnly) break;
      selection.deletesOnly = true;
    } else if (rows.length > 1 && !unit) selection.most = Math.ceil(rows.length / 2);
    else {
      const attempts = (row.failed?.attempts ?? 0) + (blame === 'unknown' ? 1 : 0);
      if (blame === 'write' || attempts >= PASSES || row.key === ALL) {
        refusal = { mark, detail: sent.error.message };
        if (isOver) await recordSettled(work, rows, meta, undefined, refusal);
        continue;
      }
      left = sent.error;
      selection.aside.add(row.key);
      await noteFailure(work, rows, { attempts, error: sent.error.message });
      if (blame === 'access') denied += 1;
      if (denied > MOST_DENIED) break;
    }
  }
  return left && { why: 'refused', error: left };
}

interface Refusal {
  readonly mark: Mark;
  readonly detail: string;
}

/** Which of the writes that wait are sent. */
interface Selection {
  most: number;
  readonly last: number;
  /** Keys of writes that had no answer: they and later writes of them wait. */
  readonly aside: Set<string>;
  /** The server has no room for values. */
  deletesOnly?: boolean;
}

/**
 * Why a batch was refused or not answered: because of the server or the way to it, or because it takes no writes for a while; of what is written; of the server's disk, which is
 * full; of what this caller may do; or, where other requests are answered, of something on the way that is not known.
 */
async function blameOf(
  level1: Level1,
  { refused }: Unanswered,
): Promise<'server' | 'busy' | 'write' | 'room' | 'access' | 'unknown'> {
  if (refused === 507) return 'room';
  if (refused === 401 || refused === 429 || refused === 503) return 'server';
  // It changes nothing, and takes the way of a write: a server that only reads for a while refuses it too.
  const check: WireOp = { op: 'check', key: 'probe', ifRevision: NEVER };
  const probe = await level1.batch({ mutation: { client: newClient(), m: 1 } }, [check], SUSPICIOUS_MS);
  if (probe.answer) return refused === undefined ? 'unknown' : 'write';
  if (refused === 403 && probe.refused === 403) {
    const read = await level1.batch({}, []);
    return read.answer ? 'access' : 'server';
  }
  const read = await level1.batch({}, [], SUSPICIOUS_MS);
  return read.answer ? 'busy' : 'server';
}

/** What a request is about. */
interface Next {
  readonly rows: readonly Row[];
  readonly meta: Meta;
  readonly mark: Mark;
  /** Whether it may have been sent before. */
  readonly isMarked: boolean;
}

/** Take what is to be sent next, marked. */
const take = ({ tables, level1 }: Replay, selection: Selection): Promise<Next | undefined> =>
  makingRoom(
    tables,
    async (writing) => {
      const meta = await writing.meta();
      const marked = await writing.sent();
      const { most, last, aside, deletesOnly } = selection;
      const waiting =
        marked.length > 0
          ? marked
          : fitting(
              withoutBlocked(await writing.first(deletesOnly ? ALL_ROWS : MOST + aside.size), selection),
              level1.limits.bodyBytes,
            );
      const planned = meta && waiting[0] && waiting[0].n <= last && plan(waiting, newClient(), most);
      if (!planned) return undefined;
      if ('settle' in planned)
        return { rows: planned.settle, meta, mark: markOf(planned.settle), isMarked: true };
      const rows = planned.send;
      const places = await writing.places(rows.map(({ key }) => key));
      for (const row of rows) {
        const before = places.get(row.key)?.rows ?? [];
        const after = before.map((other) => (other.n === row.n ? { ...other, mark: row.mark } : other));
        writing.setRows(row.key, before, after);
      }
      return { rows, meta, mark: markOf(rows), isMarked: false };
    },
    true,
  );

const markOf = ([row]: readonly Row[]): Mark => row?.mark as Mark;

/** The writes that can be sent, each only after the earlier ones of its key. */
function withoutBlocked(rows: readonly Row[], { aside, deletesOnly = false }: Selection): readonly Row[] {
  const blocked = new Set(aside);
  const units = new Map<number, Row[]>();
  for (const row of rows) if (row.unit) units.set(row.unit.n, [...(units.get(row.unit.n) ?? []), row]);
  return rows.filter((row) => {
    // A unit waits as a whole.
    const parts = (row.unit && units.get(row.unit.n)) ?? [row];
    const isBlocked = parts.some(({ key, held }) => blocked.has(key) || (deletesOnly && held));
    // What it checks must not change before it is sent.
    if (isBlocked) for (const { key } of [...parts, ...(row.unit?.checks ?? [])]) blocked.add(key);
    return !isBlocked;
  });
}

/** Note why writes that stay in the outbox were not taken. */
const noteFailure = ({ tables }: Replay, rows: readonly Row[], failed: Row['failed']): Promise<void> =>
  makingRoom(tables, async (writing) => {
    const places = await writing.places(rows.map(({ key }) => key));
    for (const { key, n, version } of rows) {
      const before = places.get(key)?.rows ?? [];
      const after = before.map((row) => (row.n === n && row.version === version ? { ...row, failed } : row));
      writing.setRows(key, before, after);
    }
  });

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
  { rows, meta, mark }: Next,
  ops: readonly WireOp[],
  answer: BatchAnswer,
): Promise<Stop | undefined> {
  const news = newsOf(ops, answer, meta.era, meta.seq);
  const seen = new Map(news.flatMap((one) => ('key' in one ? [[one.key, one.seen]] : [])));
  // A conflict whose value the answer left out.
  const unit = rows[0]?.unit;
  const { own, failed } = unit
    ? unitResults(rows, answer.results)
    : { own: answer.results, failed: undefined };
  const lacking = rows.filter(({ key }, i) => {
    const { status, value } = own[i] as Result;
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
  const details = own.map(({ error }) => error);
  let decisions: Decision[] = [];
  if (unit) {
    if (failed !== undefined)
      details.fill(`The server had changed ${failed} meanwhile, which the atomic unit checks.`);
    const alone = rows.map((row, i) => {
      const { status } = own[i] as Result;
      return status === 424 ? undefined : decide(row, { status, seen: seen.get(row.key) });
    });
    decisions = decideUnit(rows, alone, failed === undefined);
  }
  for (const [i, row] of unit ? [] : rows.entries()) {
    const { status } = own[i] as Result;
    if (row.key === ALL && status === 412) {
      if (row.base?.era !== meta.era) decisions.push({ type: 'rejected' });
      else {
        const stop = await sweep(work.level1, meta, row.base.seq, news);
        if (stop) return stop;
        decisions.push({ type: 'done' });
      }
    } else decisions.push(decide(row, { status, seen: seen.get(row.key) }));
  }
  await settle(work, rows, decisions, news, meta, answer.seq, details, mark.client);
  return undefined;
}

/** Record what a mutation had come to that was given up. */
async function recordSettled(
  work: Replay,
  rows: readonly Row[],
  meta: Meta,
  given: Voided | undefined,
  refusal: Refusal | undefined,
): Promise<void> {
  const decisions = rows.map((row) => {
    const result = given?.results?.[(row.mark as Mark).at];
    return decideSettled(row, result && { status: result.status, seen: seenAt(result, meta) }, refusal?.mark);
  });
  const details = rows.map(
    (row) => given?.results?.[(row.mark as Mark).at]?.error || (refusal?.detail ?? ''),
  );
  await settle(work, rows, decisions, [], meta, given?.seq ?? 0, details);
}

/** The state that a write has made. */
const seenAt = ({ revision }: Result, { era, epoch }: Meta): Seen | undefined =>
  revision === undefined ? undefined : { era, epoch, seq: seqOf(revision) };

/**
 * Record what becomes of writes that were sent, and what the answer showed, in one transaction.
 *
 * @param client The client whose mutation the server has answered.
 */
export async function settle(
  { tables, merge, progress }: Pick<Replay, 'tables' | 'merge' | 'progress'>,
  rows: readonly Row[],
  decisions: readonly Decision[],
  news: readonly News[],
  meta: Meta,
  seq: number,
  details: readonly string[] = [],
  client?: string,
): Promise<void> {
  const merged = new Map<Row, Held | undefined>();
  for (const [i, row] of rows.entries()) {
    const decision = decisions[i] as Decision;
    const result = decision.type === 'conflict' && !row.unit && (await merge(row, decision.seen));
    if (result) merged.set(row, result.held);
  }
  const isKept = decisions.some(({ type }) => type !== 'done' && type !== 'again');
  const store = async (writing: Writing): Promise<void> => {
    // The server was found to be restored since: what it has answered may be gone. Giving the mutation up tells.
    if (((await writing.meta()) ?? meta).era !== meta.era) return;
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
          rows: again.rows.map((other) =>
            other.n === row.n ? { ...other, held: merged.get(row), stale: undefined } : other,
          ),
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
      writing.setRows(row.key, place.rows, after.rows);
      places.set(row.key, { ...place, rows: after.rows });
    }
    await learn(writing, shown, meta.era, seq);
    const now = client === undefined ? undefined : await writing.meta();
    if (now) writing.setMeta({ ...now, client, usedAtMs: Date.now() });
    await writing.park(parked);
  };
  // A conflict is the only place where its value is then: it survives a power cut.
  await makingRoom(tables, store, isKept);
  progress();
}

/** What is kept of a write that does not come to be the server's. */
function parkedOf(row: Row, decision: Decision, detail = ''): Parked {
  const { key, held: local } = row;
  const changed = decision.type === 'conflict';
  return {
    key,
    reason: decision.type === 'rejected' ? 'rejected' : 'changed',
    base: row.base?.held,
    local,
    server: changed ? decision.seen.held : undefined,
    detail: changed ? 'The server had changed meanwhile.' : detail || (WORDS[decision.type] ?? ''),
    atMs: Date.now(),
    ...(row.unit && { unit: row.unit.n }),
  };
}

const WORDS: Readonly<Record<string, string>> = {
  rejected: 'The server refused it.',
  'not-applied': 'Another part of its atomic unit was not applied.',
};
