/**
 * The replay to a server of level 1: in order, one batch at a time, each write once (docs/contract.md, 5.10 to 5.14).
 *
 * Before a batch is sent, its mutation is recorded on disk. A write stays in the outbox until the transaction that records its result.
 * If there is no answer, or the tab is gone, the next replay voids the mutation. The results tell whether it was applied; otherwise it
 * never will be.
 *
 * One write never blocks the others. If the server answers other requests but not this batch, its halves are sent. A write that fails
 * alone is sent again after all others, once in each replay. After three such replays it is kept as a conflict.
 */

import type { StorageError } from '../../core/errors.ts';
import { sleep } from '../../core/time.ts';
import { OtherAccountError } from '../../remote/errors.ts';
import { errorOf } from '../../remote/level1/batches.ts';
import {
  type BatchAnswer,
  isSettled,
  type Level1,
  NEVER,
  nameOf,
  newClient,
  type Result,
  seqOf,
  type Unanswered,
  type Voided,
  type WireOp,
} from '../../remote/level1/protocol.ts';
import { clearsOf, type SyncDatabase, type WriteTransaction } from '../database.ts';
import { checkAccount } from '../mirror/account.ts';
import { type Observation, observationsOf, updateMirror } from '../mirror/update.ts';
import {
  applyDecision,
  type Decision,
  decide,
  decideUnit,
  decideVoided,
  planRequest,
  unitResults,
} from '../rules/outbox.ts';
import {
  ALL_KEYS,
  type ConflictRecord,
  type Meta,
  type QueuedWrite,
  type SentAs,
  type ServerState,
  type StoredJson,
} from '../rules/state.ts';
import { clearByRevision } from './clear-by-revision.ts';
import { fitting, opsOf } from './outgoing.ts';
import { createSelection, type Selection, select } from './selection.ts';
import { restoredMeanwhile, type Stop, stopOf } from './stop.ts';

/** The most writes of a request. */
const MOST = 500;
/** In how many replays a write is sent alone that the server does not answer although it answers everything else. */
export const PASSES = 3;
/** How often a request with such a write is sent in each of them. Any other request is sent once: its writes can be sent in parts. */
const ATTEMPTS = 4;
/** Milliseconds for a request after one had no answer although the server answers others. */
export const SUSPICIOUS_MS = 2000;
/** After so many writes that the server forbids, the rest is not tried: the caller may only read. */
const MOST_DENIED = 3;
/** After so many mutations that were voided while they were sent, the replay stops. */
const MOST_VOIDED = 20;

/** Decides what is stored if the server state has changed since the base of a write. `undefined`: the server's value stays. */
export type Merge = (
  write: QueuedWrite,
  serverState: ServerState,
) => Promise<{ readonly value: StoredJson | undefined } | undefined>;

/** What a replay needs. */
export interface Replay {
  readonly database: SyncDatabase;
  readonly level1: Level1;
  readonly merge: Merge;
  /** Is called after each batch. */
  readonly progress: () => void;
  readonly signal: AbortSignal;
}

/** Sends the queued writes up to the number `last`. */
export async function replay(work: Replay, last: number): Promise<Stop | undefined> {
  const { level1, signal } = work;
  const most = Math.min(MOST, level1.limits.batchOps);
  const selection = createSelection(most, last);
  /** The last write that the server has refused for good. */
  let refusal: Refusal | undefined;
  /** Why writes are left. */
  let left: StorageError | undefined;
  let isSuspicious = false;
  /** Whether the server has accepted something since the last failure. */
  let isAnswering = false;
  /** Batches in a row that were answered. */
  let answered = 0;
  let denied = 0;
  let voided = 0;
  while (!signal.aborted) {
    const next = await take(work, selection);
    if (!next) break;
    const { writes, meta, sentAs, isPostponed } = next;
    if (next.wasSent) {
      const given = await level1.voidMutation(sentAs);
      // If it was settled long ago, its results are forgotten. The writes are sent again, and their condition is their base.
      if (!given.answer && !isSettled(given)) {
        // A caller that may only read cannot give it up either.
        const attempts = writes[0]?.failed?.attempts ?? 0;
        if (given.refused === 403) await noteFailure(work, writes, { attempts, error: given.error.message });
        const isBusy = given.isHeard && (await blameOf(level1, given, signal)) === 'busy';
        return isBusy ? { why: 'refused', error: given.error } : stopOf(given);
      }
      if (given.answer && given.answer.epoch !== meta.epoch) return restoredMeanwhile();
      await recordVoided(work, writes, meta, given.answer, refusal);
      continue;
    }
    const ops = opsOf(writes, meta);
    const unit = writes[0]?.unit;
    const isAlone = writes.length === 1 || unit !== undefined;
    const isAgain = isAlone && isPostponed;
    const sent = await level1.batch(
      { epoch: meta.epoch, mutation: sentAs, atomic: unit && true, attempts: isAgain ? ATTEMPTS : 1 },
      ops,
      isSuspicious && !isAgain ? SUSPICIOUS_MS : undefined,
    );
    if (sent.answer) {
      if (sent.answer.epoch !== meta.epoch) return restoredMeanwhile();
      const stop = await record(work, next, ops, sent.answer);
      if (stop) return stop;
      for (const { write, result } of withoutRoom(writes, sent.answer.results)) {
        left = errorOf(write.key, result);
        selection.skipped.add(write.version);
      }
      isAnswering = true;
      answered += 1;
      // One answer after a failure: the other half probably holds what has failed.
      if (answered > 1) selection.most = Math.min(most, 2 * selection.most);
      continue;
    }
    if (nameOf(sent.type) === 'epoch-changed' || sent.error instanceof OtherAccountError) return stopOf(sent);
    // Another tab has voided the mutation. The next one has a new name, so this does not repeat.
    if (/^(void|settled)$/.test(nameOf(sent.type) ?? '') && voided < MOST_VOIDED) {
      voided += 1;
      continue;
    }
    answered = 0;
    const isAsked: boolean = isAgain || !isAnswering || sent.refused !== undefined;
    const blame = isAsked ? await blameOf(level1, sent, signal) : 'unknown';
    isAnswering = isAsked;
    if (blame === 'server') return stopOf(sent);
    if (blame === 'busy') return { why: 'refused', error: sent.error };
    // Then no attempt of it can still arrive.
    const isOver = sent.refused !== undefined && !sent.isInDoubt;
    isSuspicious = true;
    const [write] = writes as [QueuedWrite];
    if (blame === 'room') {
      left = sent.error;
      if (selection.deletesOnly) break;
      selection.deletesOnly = true;
    } else if (!isAlone) selection.most = Math.ceil(writes.length / 2);
    else {
      const isFirstAttempt = blame === 'unknown' && !isPostponed;
      // Writes that are queued meanwhile could keep this replay busy without end.
      if (isFirstAttempt && write.order <= last) {
        for (const { version } of writes) selection.postponed.add(version);
        continue;
      }
      const isCounted = blame === 'unknown' && isPostponed;
      const attempts = (write.failed?.attempts ?? 0) + (isCounted ? 1 : 0);
      const isClear = write.key === ALL_KEYS;
      if (blame === 'write' || attempts >= PASSES || (isClear && isCounted)) {
        refusal = { sentAs, detail: sent.error.message };
        if (isOver) await recordVoided(work, writes, meta, undefined, refusal);
        continue;
      }
      left = sent.error;
      for (const { version } of writes) selection.skipped.add(version);
      await noteFailure(work, writes, { attempts, error: sent.error.message });
      if (blame === 'access') denied += 1;
      // What was written after a clear is not sent before it.
      if (denied > MOST_DENIED || isClear) break;
    }
  }
  return left && { why: 'refused', error: left };
}

/** The writes for which this client has no room at the server: they wait, and the others do not. */
function withoutRoom(
  writes: readonly QueuedWrite[],
  results: readonly Result[],
): Array<{ readonly write: QueuedWrite; readonly result: Result }> {
  const own = writes[0]?.unit ? unitResults(writes, results).own : results;
  return writes
    .map((write, i) => ({ write, result: own[i] as Result }))
    .filter(({ result }) => result.status === 507);
}

interface Refusal {
  readonly sentAs: SentAs;
  readonly detail: string;
}

/**
 * Why a batch was refused or not answered. `server`: the server or the connection. `busy`: the server accepts no writes for a while.
 * `write`: the content of the batch. `room`: the server's disk is full. `access`: this caller may not write. `unknown`: something on the
 * way, although other requests are answered.
 */
async function blameOf(
  level1: Level1,
  { refused, retryAfterMs }: Unanswered,
  signal: AbortSignal,
): Promise<'server' | 'busy' | 'write' | 'room' | 'access' | 'unknown'> {
  if (refused === 507) return 'room';
  if (refused === 401 || refused === 429 || refused === 503) return 'server';
  if (retryAfterMs > 0) await sleep(Math.min(retryAfterMs, SUSPICIOUS_MS), signal);
  // A check changes nothing, but a server that accepts no writes for a while refuses it too.
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

/** The writes of the next request. */
interface Next {
  readonly writes: readonly QueuedWrite[];
  readonly meta: Meta;
  readonly sentAs: SentAs;
  /** Whether they may have been sent before. */
  readonly wasSent: boolean;
  /** Whether they were not accepted before. */
  readonly isPostponed: boolean;
}

/** Selects the writes of the next request, and records their mutation. */
const take = ({ database, level1 }: Replay, selection: Selection): Promise<Next | undefined> =>
  makingRoom(database, async (writing) => {
    const meta = await writing.meta();
    if (!meta) return undefined;
    checkAccount(meta, { account: level1.account() });
    const sent = await writing.sentWrites();
    const { queued, isPostponed } =
      sent.length > 0
        ? { queued: sent, isPostponed: false }
        : await select(writing, selection, meta.lastOrder);
    const first = fitting(queued, level1.limits.bodyBytes);
    const planned =
      first[0] && first[0].order <= selection.last && planRequest(first, newClient(), selection.most);
    if (!planned) return undefined;
    if ('settle' in planned)
      return { writes: planned.settle, meta, sentAs: sentAsOf(planned.settle), wasSent: true, isPostponed };
    const writes = planned.send;
    const keyStates = await writing.keyStates(writes.map(({ key }) => key));
    for (const write of writes) {
      const before = keyStates.get(write.key)?.writes ?? [];
      const after = before.map((other) =>
        other.order === write.order ? { ...other, sentAs: write.sentAs } : other,
      );
      writing.setWrites(write.key, before, after);
    }
    return { writes, meta, sentAs: sentAsOf(writes), wasSent: false, isPostponed };
  });

const sentAsOf = ([write]: readonly QueuedWrite[]): SentAs => write?.sentAs as SentAs;

/** Records why writes that stay in the outbox were not accepted. */
export const noteFailure = (
  { database }: Pick<Replay, 'database'>,
  writes: readonly QueuedWrite[],
  failed: QueuedWrite['failed'],
): Promise<void> =>
  makingRoom(database, async (writing) => {
    const keyStates = await writing.keyStates(writes.map(({ key }) => key));
    for (const { key, order, version } of writes) {
      const before = keyStates.get(key)?.writes ?? [];
      const after = before.map((write) =>
        write.order === order && write.version === version ? { ...write, failed } : write,
      );
      writing.setWrites(key, before, after);
    }
  });

/** Writes; on a full disk after the mirror is deleted. The mirror can be read again, a queued write cannot. */
async function makingRoom<T>(
  database: SyncDatabase,
  work: (writing: WriteTransaction) => Promise<T>,
): Promise<T> {
  // Strict: a record of the outbox that is written again holds the only copy of its values, also of later writes of its key.
  try {
    return await database.write(work, true);
  } catch (error) {
    if ((error as StorageError).code !== 'quota') throw error;
    await database.write(async (writing) => writing.forget());
    return database.write(work, true);
  }
}

/** Records the results of a batch. */
async function record(
  work: Replay,
  { writes, meta, sentAs }: Next,
  ops: readonly WireOp[],
  answer: BatchAnswer,
): Promise<Stop | undefined> {
  const observations = observationsOf(ops, answer, meta.generation, meta.seq);
  const serverState = new Map(
    observations.flatMap((one) => ('key' in one ? [[one.key, one.serverState]] : [])),
  );
  // Conflicts whose current value the answer has left out.
  const unit = writes[0]?.unit;
  const { own, failed } = unit
    ? unitResults(writes, answer.results)
    : { own: answer.results, failed: undefined };
  const lacking = writes.filter(({ key }, i) => {
    const { status, value } = own[i] as Result;
    return status === 412 && value === undefined && key !== ALL_KEYS;
  });
  if (lacking.length > 0) {
    const gets = lacking.map(({ key }): WireOp => ({ op: 'get', key }));
    const read = await work.level1.batch({ epoch: meta.epoch }, gets);
    if (!read.answer) return stopOf(read);
    for (const one of observationsOf(gets, read.answer, meta.generation, meta.seq)) {
      observations.push(one);
      if ('key' in one) serverState.set(one.key, one.serverState);
    }
  }
  const details = own.map(({ error }) => error);
  let decisions: Decision[] = [];
  if (unit) {
    if (failed !== undefined)
      details.fill(`The atomic unit checks key ${failed}, which had changed at the server.`);
    const alone = writes.map((write, i) => {
      const { status } = own[i] as Result;
      return status === 424 ? undefined : decide(write, { status, serverState: serverState.get(write.key) });
    });
    decisions = decideUnit(writes, alone, failed === undefined);
  }
  for (const [i, write] of unit ? [] : writes.entries()) {
    const { status } = own[i] as Result;
    if (write.key === ALL_KEYS && status === 412) {
      if (write.base?.generation !== meta.generation) decisions.push({ type: 'rejected' });
      else {
        const stop = await clearByRevision(work.level1, meta, write.base.seq, observations);
        if (stop) return stop;
        decisions.push({ type: 'done' });
      }
    } else decisions.push(decide(write, { status, serverState: serverState.get(write.key) }));
  }
  await recordDecisions(work, writes, decisions, observations, meta, answer.seq, details, sentAs.client);
  return undefined;
}

/** Records the stored results of a mutation that was voided. */
async function recordVoided(
  work: Replay,
  writes: readonly QueuedWrite[],
  meta: Meta,
  given: Voided | undefined,
  refusal: Refusal | undefined,
): Promise<void> {
  const decisions = writes.map((write) => {
    const result = given?.results?.[(write.sentAs as SentAs).index];
    return decideVoided(
      write,
      result && { status: result.status, serverState: stateOfResult(result, meta) },
      refusal?.sentAs,
    );
  });
  const details = writes.map(
    (write) => given?.results?.[(write.sentAs as SentAs).index]?.error || (refusal?.detail ?? ''),
  );
  await recordDecisions(work, writes, decisions, [], meta, given?.seq ?? 0, details);
}

/** The server state that a write has made. */
export const stateOfResult = ({ revision }: Result, { generation, epoch }: Meta): ServerState | undefined =>
  revision === undefined ? undefined : { generation, epoch, seq: seqOf(revision) };

/**
 * Records the decisions on writes that were sent, and the observations of the answer, in one transaction.
 *
 * @param client The client whose mutation the server has answered.
 */
export async function recordDecisions(
  { database, merge, progress }: Pick<Replay, 'database' | 'merge' | 'progress'>,
  writes: readonly QueuedWrite[],
  decisions: readonly Decision[],
  observations: readonly Observation[],
  meta: Meta,
  seq: number,
  details: readonly string[] = [],
  client?: string,
): Promise<void> {
  const merged = new Map<QueuedWrite, StoredJson | undefined>();
  for (const [i, write] of writes.entries()) {
    const decision = decisions[i] as Decision;
    const result = decision.type === 'conflict' && !write.unit && (await merge(write, decision.serverState));
    if (result) merged.set(write, result.value);
  }
  const store = async (writing: WriteTransaction): Promise<void> => {
    // A restore was noticed since: the answered mutation may be lost. Voiding it tells.
    if (((await writing.meta()) ?? meta).generation !== meta.generation) return;
    const keyStates = await writing.keyStates([...new Set([ALL_KEYS, ...writes.map(({ key }) => key)])]);
    const shown: Observation[] = [...observations];
    const conflicts: ConflictRecord[] = [];
    for (const [i, write] of writes.entries()) {
      const decision = decisions[i] as Decision;
      const keyState = keyStates.get(write.key) ?? { writes: [] };
      let after = applyDecision(keyState.writes, write, decision, clearsOf(keyStates));
      if (after.isConflict && merged.has(write) && decision.type === 'conflict') {
        const again = applyDecision(
          keyState.writes,
          write,
          { type: 'again', base: decision.serverState },
          [],
        );
        after = {
          isConflict: false,
          writes: again.writes.map((other) =>
            other.order === write.order ? { ...other, value: merged.get(write), stale: undefined } : other,
          ),
        };
      }
      if ('serverState' in decision && decision.serverState && write.key !== ALL_KEYS) {
        const version = decision.type === 'done' ? write.version : undefined;
        shown.push({ key: write.key, serverState: { ...decision.serverState, version } });
      }
      if (decision.type === 'done' && write.key === ALL_KEYS && decision.serverState)
        shown.push({ generation: meta.generation, clearedAt: decision.serverState.seq });
      if (after.isConflict) conflicts.push(conflictOf(write, decision, details[i]));
      if (after.writes === keyState.writes) continue;
      writing.setWrites(write.key, keyState.writes, after.writes);
      keyStates.set(write.key, { ...keyState, writes: after.writes });
    }
    await updateMirror(writing, shown, meta.generation, seq);
    const now = client === undefined ? undefined : await writing.meta();
    if (now) writing.setMeta({ ...now, client, usedAtMs: Date.now() });
    await writing.addConflicts(conflicts);
  };
  await makingRoom(database, store);
  progress();
}

/** The conflict record of a write that was not applied. */
function conflictOf(write: QueuedWrite, decision: Decision, detail = ''): ConflictRecord {
  const { key, value: local } = write;
  const changed = decision.type === 'conflict';
  return {
    key,
    reason: decision.type === 'rejected' ? 'rejected' : 'changed',
    base: write.base?.value,
    local,
    server: changed ? decision.serverState.value : undefined,
    detail: changed ? "The server's value had changed." : detail || (WORDS[decision.type] ?? ''),
    atMs: Date.now(),
    ...(write.unit && { unit: write.unit.order }),
  };
}

const WORDS: Readonly<Record<string, string>> = {
  rejected: 'The server refused it.',
  'not-applied': 'Another part of its atomic unit was not applied.',
};
