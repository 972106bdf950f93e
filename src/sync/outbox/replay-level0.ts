/**
 * The replay to a server of level 0, which has neither revisions nor mutations. The current value is read and compared with the base
 * of the queued write before it is replaced.
 *
 * Another client may write between the read and the write. Such a server cannot detect that (docs/guarantees.md).
 *
 * One write never blocks the others. Writes that are not accepted together are sent in smaller parts. A write that fails alone is sent
 * again after all others, in this replay and in later ones. After three such attempts, each after the server has stored another value,
 * it is kept as a conflict.
 */

import type { Operation, Outcome } from '../../core/backend.ts';
import { StorageError } from '../../core/errors.ts';
import { decodeAt, storedJsonOf } from '../../core/json.ts';
import { sameValue } from '../../core/same-value.ts';
import { snapshot } from '../../core/values.ts';
import { type FlaskBackend, probeLevel0 } from '../../remote/backend.ts';
import { compareStates, type Decision } from '../rules/outbox.ts';
import {
  ALL_KEYS,
  type AtomicUnit,
  type Meta,
  type QueuedWrite,
  type ServerState,
  type StoredJson,
} from '../rules/state.ts';
import { noteFailure, PASSES, type Replay, recordDecisions, SUSPICIOUS_MS } from './replay.ts';
import { createSelection, select } from './selection.ts';
import { isUnreachable, type Stop } from './stop.ts';

/** The most keys that are compared and written together. */
const MOST = 50;
/** After so many writes that fail alone, the replay stops if it has sent none that was accepted: the server may accept none. */
const MOST_FAILURES = 3;

/** Sends the queued writes up to the number `last`. */
export async function replayLevel0(
  work: Omit<Replay, 'level1'>,
  flask: FlaskBackend,
  last: number,
): Promise<Stop | undefined> {
  const { database, signal } = work;
  const selection = createSelection(MOST, last);
  const startedAtMs = Date.now();
  let hasAccepted = false;
  let isSuspicious = false;
  let failures = 0;
  /** Why writes are left. */
  let left: StorageError | undefined;
  while (!signal.aborted) {
    const { meta, queued, isPostponed } = await database.read(async (transaction) => {
      const meta = (await transaction.meta()) as Meta;
      return { meta, ...(await select(transaction, selection, meta.lastOrder)) };
    });
    const [first] = queued;
    if (!first || first.order > selection.last) break;
    if (first.unit) {
      await rejectUnit(work, first.unit, meta);
      continue;
    }
    const writes = firstOfEach(queued).slice(0, selection.most);
    const limitMs = isSuspicious && !isPostponed ? SUSPICIOUS_MS : undefined;
    const results = await send(flask, writes, meta, limitMs);
    await record(work, writes, results, meta);
    hasAccepted ||= results.some(({ isAccepted }) => isAccepted);
    const failed = writes.flatMap((write, i) => {
      const { error } = results[i] as Sent;
      return error && !isPermanent(error) ? [{ write, error }] : [];
    });
    const [failure] = failed;
    if (!failure) {
      if (!isPostponed) selection.most = Math.min(MOST, 2 * selection.most);
      continue;
    }
    const { write, error } = failure;
    const isAskedToWait = flask.askedToWaitMs() > 0;
    if (error.code === 'closed' || (await probeLevel0(flask, SUSPICIOUS_MS))) return stopOf(error);
    isSuspicious = true;
    if (error.code === 'quota') {
      left = error;
      if (selection.deletesOnly) break;
      selection.deletesOnly = true;
    } else if (failed.length > 1) {
      if (isAskedToWait && !hasAccepted) return { why: 'refused', error };
      selection.most = Math.ceil(failed.length / 2);
    } else {
      const { attempts: before = 0, atMs: failedAtMs = startedAtMs } = write.failed ?? {};
      // A server that has stored no other value since may accept none. On a full disk it may still delete.
      const isAcceptingOthers = flask.storedAtMs() >= failedAtMs;
      const attempts = before + (isAcceptingOthers && error.code !== 'forbidden' ? 1 : 0);
      if (attempts >= PASSES) {
        await recordDecisions(work, [write], [{ type: 'rejected' }], [], meta, 0, [messageOf(write, error)]);
        continue;
      }
      await noteFailure(work, [write], { attempts, error: error.message, atMs: Date.now() });
      failures += 1;
      const isOver = (isAskedToWait && !isAcceptingOthers) || (!hasAccepted && failures >= MOST_FAILURES);
      // Writes that are queued meanwhile could keep this replay busy without end.
      if (!isPostponed && write.order <= last && !isOver) continue;
      left = error;
      if (isOver) break;
      selection.skipped.add(write.version);
    }
  }
  return left && { why: 'refused', error: left };
}

/** What has become of a write. */
interface Sent {
  /** `undefined` if it is not settled. */
  readonly decision?: Decision | undefined;
  /** Why the server did not accept it. */
  readonly error?: StorageError | undefined;
  /** Whether the server has carried it out. */
  readonly isAccepted?: boolean;
}

/** Compares writes with what the server has, and sends those whose base it still has. */
async function send(
  flask: FlaskBackend,
  writes: readonly QueuedWrite[],
  meta: Meta,
  limitMs: number | undefined,
): Promise<Sent[]> {
  const compared = await knownServerState(flask, writes, meta, limitMs);
  const results = writes.map((write, i): Sent => {
    const serverState = compared[i] as ServerState | StorageError;
    return 'code' in serverState ? { error: serverState } : { decision: compareStates(write, serverState) };
  });
  const sent = writes.flatMap((write, i) => (results[i]?.decision?.type === 'again' ? [{ write, i }] : []));
  const operations = await Promise.all(sent.map(({ write }) => operationOf(write)));
  const outcomes = await run(flask, operations, limitMs);
  for (const [at, { write, i }] of sent.entries()) {
    const outcome = outcomes[at] as Outcome;
    const serverState = { generation: meta.generation, epoch: '', seq: 0, value: write.value };
    results[i] =
      outcome.status === 'fulfilled'
        ? { decision: { type: 'done', serverState }, isAccepted: true }
        : { error: outcome.reason };
  }
  return results;
}

/** Records what has become of writes. Those that the server may still accept stay in the outbox. */
async function record(
  work: Omit<Replay, 'level1'>,
  writes: readonly QueuedWrite[],
  results: readonly Sent[],
  meta: Meta,
): Promise<void> {
  const settled = writes.flatMap((write, i) => {
    const { decision, error } = results[i] as Sent;
    const settledAs: Decision | undefined = error && isPermanent(error) ? { type: 'rejected' } : decision;
    return settledAs ? [{ write, settledAs, detail: error ? messageOf(write, error) : '' }] : [];
  });
  if (settled.length > 0)
    await recordDecisions(
      work,
      settled.map(({ write }) => write),
      settled.map(({ settledAs }) => settledAs),
      [],
      meta,
      0,
      settled.map(({ detail }) => detail),
    );
}

/** Whether the server will never accept such a write, or it cannot be compared. */
const isPermanent = (error: StorageError): boolean =>
  !isUnreachable(error) && !/^(closed|forbidden|quota)$/.test(error.code);

const messageOf = ({ key }: QueuedWrite, { message }: StorageError): string =>
  key === ALL_KEYS ? message : `${key}: ${message}`;

/** The first write of each key, before the first atomic unit. */
function firstOfEach(writes: readonly QueuedWrite[]): QueuedWrite[] {
  const keys = new Set<string>();
  const end = writes.findIndex(({ unit }) => unit);
  return writes.slice(0, end < 0 ? undefined : end).filter(({ key }) => !keys.has(key) && keys.add(key));
}

/** Rejects a unit: such a server cannot apply several writes as a whole. */
async function rejectUnit(work: Omit<Replay, 'level1'>, { order }: AtomicUnit, meta: Meta): Promise<void> {
  const writes = (await work.database.read((transaction) => transaction.allWrites())).filter(
    ({ unit }) => unit?.order === order,
  );
  const detail = 'The server is of level 0 now and cannot apply several writes as a whole.';
  const rejections = writes.map((): Decision => ({ type: 'rejected' }));
  await recordDecisions(work, writes, rejections, [], meta, 0, Array(writes.length).fill(detail));
}

/** Carries out operations. `limitMs`: for the first request of them, instead of the limit of a request. */
const run = (flask: FlaskBackend, operations: readonly Operation[], limitMs?: number): Promise<Outcome[]> =>
  flask
    .run(operations, limitMs === undefined ? {} : { deadline: performance.now() + limitMs })
    .catch((reason) => operations.map(() => ({ status: 'rejected', reason })));

/** The server states of the keys of writes, or why they are not known. */
async function knownServerState(
  flask: FlaskBackend,
  writes: readonly QueuedWrite[],
  { generation }: Meta,
  limitMs: number | undefined,
): Promise<Array<ServerState | StorageError>> {
  const asked = writes.filter(({ key }) => key !== ALL_KEYS);
  const found = await run(
    flask,
    asked.flatMap(({ key }): Operation[] => [
      { type: 'get', key },
      { type: 'has', key },
    ]),
    limitMs,
  );
  const serverState = new Map<string, ServerState | StorageError>([[ALL_KEYS, NO_CLEAR]]);
  for (const [i, { key }] of asked.entries()) {
    const [got, exists] = [found[2 * i] as Outcome, found[2 * i + 1] as Outcome];
    try {
      if (got.status === 'rejected') throw got.reason;
      if (exists.status === 'rejected') throw exists.reason;
      const value = exists.value ? await formOf(asked[i] as QueuedWrite, got.value) : undefined;
      serverState.set(key, { generation, epoch: '', seq: 0, value });
    } catch (error) {
      serverState.set(key, error as StorageError);
    }
  }
  return writes.map(({ key }) => serverState.get(key) as ServerState | StorageError);
}

/** The JSON of a value that was read: in the known form if the server has only sorted its members. */
async function formOf({ key, value, base }: QueuedWrite, got: unknown): Promise<StoredJson> {
  const found = snapshot(got);
  for (const known of [value, base?.value])
    if (known && (await sameValue(found, snapshot(await decodeAt(key, structuredClone(known.json))))))
      return known;
  return storedJsonOf(key, found);
}

/** A queued clear deletes what existed when it was made, which such a server cannot tell. */
const NO_CLEAR = new StorageError(
  'unsupported',
  'The server is of level 0 now and cannot tell which keys existed when clear() was called. Call clear() again.',
);

async function operationOf({ key, value }: QueuedWrite): Promise<Operation> {
  if (!value) return { type: 'delete', key };
  return { type: 'put', key, ...snapshot(await decodeAt(key, structuredClone(value.json))) };
}

/** Why the replay stops if the server answers nothing. */
const stopOf = (error: StorageError): Stop => ({
  why: isUnreachable(error) || error.code === 'closed' ? 'unreachable' : 'refused',
  error,
});
