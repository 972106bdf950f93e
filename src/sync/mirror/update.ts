/**
 * Observations: what an answer shows of the server's data, and how they update the mirror.
 *
 * Answers may overtake each other, so older observations are ignored (rules/state.ts). A value that a restored server has lost becomes a
 * conflict.
 */
import { StorageError } from '../../core/errors.ts';
import { type BatchAnswer, seqOf, type WireOp } from '../../remote/level1/protocol.ts';
import type { SyncDatabase, WriteTransaction } from '../database.ts';
import {
  type ConflictRecord,
  isNewer,
  type Meta,
  restoreConflict,
  type ServerState,
} from '../rules/state.ts';
import type { Origin } from '../rules/views.ts';

/** What an answer shows of one key, or that everything was deleted at a sequence number. */
export type Observation =
  | { readonly key: string; readonly serverState: ServerState }
  | { readonly generation: number; readonly clearedAt: number };

/**
 * The observations of the answer to a batch.
 *
 * @param asked The server's sequence number before the batch was sent: the result of a write may be a stored one.
 */
export function observationsOf(
  ops: readonly WireOp[],
  { results, epoch, seq }: BatchAnswer,
  generation: number,
  asked: number,
): Observation[] {
  const observations: Observation[] = [];
  const applied = results.flatMap(({ status, revision }, i) =>
    status === 200 && isChange(ops[i] as WireOp) ? [seqOf(revision)] : [],
  );
  // A missing key was missing before the later changes of the batch.
  let at = applied.length > 0 ? Math.min(...applied) - 1 : seq;
  for (const [i, op] of ops.entries()) {
    const { status, revision, value } = results[i] as (typeof results)[number];
    const rev = seqOf(revision);
    if (status === 200 && isChange(op)) at = rev;
    if (op.op === 'clear') {
      if (status === 200) observations.push({ generation, clearedAt: rev });
      continue;
    }
    const observe = (seq: number, value?: ServerState['value']): void => {
      observations.push({ key: op.key, serverState: { generation, epoch, seq, value } });
    };
    if (status === 200 && op.op === 'put') observe(rev, { json: JSON.parse(op.text) });
    else if (status === 200 && op.op === 'delete') observe(rev);
    else if (value && revision !== undefined) observe(rev, value);
    else if (status === 404) observe(isChange(op) ? asked : at);
  }
  return observations;
}

const isChange = ({ op }: WireOp): boolean => op === 'put' || op === 'delete' || op === 'clear';

/**
 * Updates the mirror in a transaction.
 *
 * @param seq The server's sequence number in the answer.
 * @returns Whether `generation` is that of the mirror. Otherwise the observations are ignored.
 */
export async function updateMirror(
  writing: WriteTransaction,
  observations: readonly Observation[],
  generation: number,
  seq: number,
  isStrict = true,
): Promise<boolean> {
  let meta = await writing.meta();
  if (!meta) return true;
  const keys = observations.flatMap((one) => ('key' in one ? [one.key] : []));
  const keyStates = await writing.keyStates([...new Set(keys)]);
  const known = new Map([...keyStates].map(([key, keyState]) => [key, keyState.serverState]));
  const conflicts: ConflictRecord[] = [];
  const changed = new Set<string>();
  for (const one of observations) {
    if ('clearedAt' in one) {
      if (one.generation !== meta.generation) continue;
      meta = clearedAt(meta, one.clearedAt, seq);
      for (const [key, serverState] of known)
        if (serverState?.generation === meta.generation && serverState.seq < one.clearedAt) known.delete(key);
      await writing.forgetBefore(meta.generation, one.clearedAt);
    } else if (isNewer(known.get(one.key), one.serverState, meta)) {
      const lost = restoreConflict(one.key, known.get(one.key), one.serverState, Date.now());
      if (lost) conflicts.push(lost);
      const before = known.get(one.key);
      const same = before?.generation === one.serverState.generation && before.seq === one.serverState.seq;
      const version = one.serverState.version ?? (same ? before.version : undefined);
      known.set(one.key, { ...one.serverState, version });
      changed.add(one.key);
    }
  }
  if (conflicts.length > 0 && !isStrict) throw NEEDS_FLUSH;
  for (const key of changed) {
    const serverState = known.get(key);
    if (serverState) writing.setServerState(key, serverState);
  }
  await writing.addConflicts(conflicts);
  writing.setMeta(generation === meta.generation && seq > meta.seq ? { ...meta, seq } : meta);
  return generation === meta.generation;
}

/** After a clear, older keys do not exist. If nothing is newer, the mirror is complete. */
const clearedAt = (meta: Meta, at: number, seq: number): Meta => ({
  ...meta,
  clearedAt: Math.max(meta.clearedAt, at),
  cursor:
    meta.cursor === undefined && at < Math.max(meta.seq, seq) ? undefined : Math.max(meta.cursor ?? 0, at),
});

const NEEDS_FLUSH = new StorageError('unavailable', 'A conflict has to be flushed to the disk.');

/** The same in a transaction of its own. `origin` says where the observations come from. It is flushed to the disk only if a value becomes a conflict, which is its only copy then. */
export async function storeObservations(
  database: SyncDatabase,
  observations: readonly Observation[],
  generation: number,
  seq: number,
  origin?: Origin,
): Promise<boolean> {
  const store = (isStrict: boolean): Promise<boolean> =>
    database.write(
      (writing) => updateMirror(writing, observations, generation, seq, isStrict),
      isStrict,
      origin,
    );
  try {
    return await store(false);
  } catch (error) {
    if (error !== NEEDS_FLUSH) throw error;
    return store(true);
  }
}
