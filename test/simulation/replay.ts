/**
 * The outbox sent, as src/sync/outbox/replay.ts and src/sync/outbox/sweep.ts do it: between the requests only transactions.
 */
import type { Decision } from '../../src/sync/rules/outbox.ts';
import {
  ALL_KEYS,
  type Meta,
  type QueuedWrite,
  type SentAs,
  type ServerState,
} from '../../src/sync/rules/state.ts';
import { type Decided, type Next, settle, take, writeOf } from './origin.ts';
import type { Answer, Op, Result } from './server.ts';
import { isResults, type Process, type Tab } from './tab.ts';
import type { Observation, Results } from './tried-rules.ts';

/** Why it ended before the outbox was empty. */
export type Stop = 'unreachable' | 'restored' | undefined;

/** Replay the outbox. */
export function* replayOutbox(tab: Tab): Process<Stop> {
  const { origin } = tab;
  /** Of the write that was refused alone last. */
  let refused: SentAs | undefined;
  for (let most = tab.most; ; ) {
    const next = take(origin, tab.newClient(), most);
    if (!next) return undefined;
    yield undefined;
    const { writes, meta, sentAs, isNew } = next;
    if (!isNew) {
      const given: Answer | undefined = yield { type: 'void', client: sentAs.client, m: sentAs.m };
      if (!given) return 'unreachable';
      const stop = yield* settleDoubt(tab, next, given, refused);
      if (stop) return stop;
      continue;
    }
    const ops = opsOf(tab, writes, meta);
    const atomic = writes[0]?.unit !== undefined;
    const { client, m } = sentAs;
    const answer: Answer | undefined = yield {
      type: 'batch',
      epoch: meta.epoch,
      mutation: { client, m },
      atomic,
      ops,
    };
    if (!answer) return 'unreachable';
    if (isResults(answer)) {
      const stop = yield* record(tab, next, ops, answer);
      if (stop) return stop;
      continue;
    }
    if (!('error' in answer)) return 'unreachable';
    if (answer.error === 'epoch-changed') return 'restored';
    // Else somebody has voided it.
    if (answer.error !== 'too-large') continue;
    if (writes.length > 1 && !atomic) most = Math.ceil(writes.length / 2);
    else refused = sentAs;
  }
}

function opsOf({ origin }: Tab, writes: readonly QueuedWrite[], meta: Meta): Op[] {
  const { rules } = origin;
  const [first] = writes as [QueuedWrite];
  return rules.operationsOf(writes).map((step): Op => {
    if ('check' in step) {
      const { check: key, ...condition } = step;
      const { unit } = writeOf(origin, first);
      return { op: 'check', key, ...rules.op({ key, ...condition }, meta), queued: true, unit };
    }
    const { key, value } = step;
    const op = key === ALL_KEYS ? 'clear' : value ? 'put' : 'delete';
    return { op, key, value, ...rules.op(step, meta), queued: true, write: writeOf(origin, step) };
  });
}

/** Record what came of a mutation that was voided. */
function* settleDoubt(
  { origin }: Tab,
  { writes, meta }: Next,
  answer: Answer,
  refused: SentAs | undefined,
): Process<Stop> {
  yield undefined;
  const { generation, epoch } = meta;
  if ('epoch' in answer && answer.epoch !== epoch) return 'restored';
  const decided = writes.map((queued): Decided => {
    const stored = isResults(answer) ? answer.results[queued.sentAs?.index ?? 0] : undefined;
    const serverState = stored?.rev === undefined ? undefined : { generation, epoch, seq: stored.rev };
    const result = stored && { status: stored.status, serverState };
    return { queued, decision: origin.rules.decideVoided(queued, result, refused) };
  });
  settle(origin, decided, [], generation, 'seq' in answer ? answer.seq : 0);
  return undefined;
}

/** Record what came of a batch. */
function* record(
  tab: Tab,
  { writes, meta, sentAs }: Next,
  ops: readonly Op[],
  answer: Results,
): Process<Stop> {
  const { origin } = tab;
  const { rules } = origin;
  const { generation, epoch } = meta;
  const observations = rules.observationsOf(ops, answer, generation, meta.seq);
  const unit = writes[0]?.unit;
  const { own, failed } = unit
    ? rules.unitResults(writes, answer.results)
    : { own: answer.results, failed: undefined };
  const lacking = writes.filter(({ key }, i) => {
    const result = own[i];
    return key !== ALL_KEYS && result?.status === 412 && result.value === undefined;
  });
  if (lacking.length > 0) {
    const gets = lacking.map(({ key }): Op => ({ op: 'get', key }));
    const found: Answer | undefined = yield { type: 'batch', epoch, ops: gets };
    if (!isResults(found)) return found && 'error' in found ? 'restored' : 'unreachable';
    observations.push(...rules.observationsOf(gets, found, generation, meta.seq));
  }
  const serverState = new Map<string, ServerState>();
  for (const one of observations) if ('key' in one) serverState.set(one.key, one.serverState);
  const decided: Decided[] = [];
  if (unit) {
    const alone = writes.map((queued, i) => {
      const { status } = own[i] as Result;
      return status === 424
        ? undefined
        : rules.decide(queued, { status, serverState: serverState.get(queued.key) });
    });
    for (const [i, decision] of rules.decideUnit(writes, alone, failed === undefined).entries())
      decided.push({ queued: writes[i] as QueuedWrite, decision });
  }
  for (const [i, queued] of unit ? [] : writes.entries()) {
    const { status } = own[i] as Result;
    let decision: Decision;
    if (queued.key !== ALL_KEYS || status !== 412)
      decision = rules.decide(queued, { status, serverState: serverState.get(queued.key) });
    else if (queued.base?.generation !== generation) decision = { type: 'rejected' };
    else {
      const stop = yield* clearByRevision(tab, queued, queued.base.seq, meta, observations);
      if (stop) return stop;
      decision = { type: 'done' };
    }
    decided.push({ queued, decision });
  }
  yield undefined;
  settle(origin, decided, observations, generation, answer.seq, sentAs.client);
  return undefined;
}

/** Delete every key whose revision is at most `seq`. */
function* clearByRevision(
  { origin }: Tab,
  queued: QueuedWrite,
  seq: number,
  meta: Meta,
  observations: Observation[],
): Process<Stop> {
  const { epoch, generation } = meta;
  const list: Answer | undefined = yield { type: 'keys' };
  if (!list || !('keys' in list)) return 'unreachable';
  const write = writeOf(origin, queued);
  const ops = list.keys
    .filter(({ rev }) => rev <= seq)
    .map(({ key, rev }): Op => ({ op: 'delete', key, ifRev: rev, queued: true, write }));
  if (ops.length === 0) return undefined;
  const answer: Answer | undefined = yield { type: 'batch', epoch, ops };
  if (!isResults(answer)) return answer ? 'restored' : 'unreachable';
  observations.push(...origin.rules.observationsOf(ops, answer, generation, meta.seq));
  return undefined;
}
