/**
 * The replay to a server of level 0, which has neither revisions nor mutations. The current value is read and compared with the base
 * of the queued write before it is replaced.
 *
 * Another client may write between the read and the write. Such a server cannot detect that (docs/guarantees.md).
 */

import type { Operation, Outcome } from '../../core/backend.ts';
import { StorageError } from '../../core/errors.ts';
import { decodeAt, storedJsonOf } from '../../core/json.ts';
import { sameValue } from '../../core/same-value.ts';
import { snapshot } from '../../core/values.ts';
import type { FlaskBackend } from '../../remote/backend.ts';
import { compareStates, type Decision } from '../rules/outbox.ts';
import {
  ALL_KEYS,
  type AtomicUnit,
  type Meta,
  type QueuedWrite,
  type ServerState,
  type StoredJson,
} from '../rules/state.ts';
import { type Replay, recordDecisions } from './replay.ts';
import { isUnreachable, type Stop } from './stop.ts';

/** The most keys that are compared and written together. */
const MOST = 50;

/** Sends the queued writes up to the number `last`. */
export async function replayLevel0(
  work: Omit<Replay, 'level1'>,
  flask: FlaskBackend,
  last: number,
): Promise<Stop | undefined> {
  while (!work.signal.aborted) {
    const { meta, queued } = await work.database.read(async (transaction) => ({
      meta: (await transaction.meta()) as Meta,
      queued: await transaction.firstWrites(MOST),
    }));
    if (!queued[0] || queued[0].order > last) return undefined;
    if (queued[0].unit) {
      await rejectUnit(work, queued[0].unit, meta);
      continue;
    }
    const writes = firstOfEach(queued);
    const decisions: Decision[] = [];
    const details: string[] = [];
    const compared = await knownServerState(flask, writes, meta);
    const operations: Operation[] = [];
    const written: number[] = [];
    for (const [i, write] of writes.entries()) {
      const serverState = compared[i] as ServerState | StorageError;
      if ('code' in serverState) {
        const stop = stopOf(serverState);
        if (stop) return stop;
        decisions[i] = { type: 'rejected' };
        details[i] = serverState.message;
        continue;
      }
      const decision = compareStates(write, serverState);
      decisions[i] = decision;
      if (decision.type !== 'again') continue;
      operations.push(await operationOf(write));
      written.push(i);
    }
    const outcomes = await run(flask, operations);
    for (const [at, i] of written.entries()) {
      const { key, value } = writes[i] as QueuedWrite;
      const outcome = outcomes[at] as Outcome;
      if (outcome.status === 'fulfilled')
        decisions[i] = {
          type: 'done',
          serverState: { generation: meta.generation, epoch: '', seq: 0, value },
        };
      else {
        const stop = stopOf(outcome.reason);
        if (stop) return stop;
        decisions[i] = { type: 'rejected' };
        details[i] = `${key}: ${outcome.reason.message}`;
      }
    }
    await recordDecisions(work, writes, decisions, [], meta, 0, details);
  }
  return undefined;
}

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

const run = (flask: FlaskBackend, operations: readonly Operation[]): Promise<Outcome[]> =>
  flask.run(operations).catch((reason) => operations.map(() => ({ status: 'rejected', reason })));

/** The server states of the keys of writes, or why they are not known. */
async function knownServerState(
  flask: FlaskBackend,
  writes: readonly QueuedWrite[],
  { generation }: Meta,
): Promise<Array<ServerState | StorageError>> {
  const asked = writes.filter(({ key }) => key !== ALL_KEYS);
  const found = await run(
    flask,
    asked.flatMap(({ key }): Operation[] => [
      { type: 'get', key },
      { type: 'has', key },
    ]),
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

/** Why the replay stops, if a failure concerns more than one write. */
function stopOf(error: StorageError): Stop | undefined {
  if (isUnreachable(error) || error.code === 'closed') return { why: 'unreachable', error };
  return error.code === 'forbidden' || error.code === 'quota' ? { why: 'refused', error } : undefined;
}
