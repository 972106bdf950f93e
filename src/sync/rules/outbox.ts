/**
 * The rules of the outbox: what waits, what is sent of it, and what becomes of it.
 *
 * No I/O, as in state.ts, whose promises they keep.
 */
import {
  ALL_KEYS,
  type AtomicUnit,
  isSame,
  type KeyState,
  knownServerState,
  type Meta,
  type QueuedWrite,
  type SentAs,
  type ServerState,
  type StoredJson,
} from './state.ts';

/** A write, about to wait. */
export interface NewWrite {
  readonly key: string;
  readonly value?: StoredJson | undefined;
  readonly sentAs?: SentAs | undefined;
  /** What its writer had seen, where that was at the server and the mirror may be further by now. */
  readonly base?: ServerState | undefined;
  readonly dependsOnBase?: boolean | undefined;
  readonly unit?: AtomicUnit | undefined;
  readonly rejected?: true | undefined;
  readonly atMs: number;
}

/** The waiting writes of a key with one more. One that was not sent is replaced, and its base stays: that is what its writer saw. */
export function enqueue(
  keyState: KeyState,
  clears: readonly QueuedWrite[],
  meta: Meta,
  write: NewWrite,
): { readonly writes: readonly QueuedWrite[]; readonly meta: Meta } {
  const last = keyState.writes.at(-1);
  const clear = clears.at(-1);
  const version = meta.lastOrder + 1;
  const counted: Meta = { ...meta, lastOrder: version };
  if (last && last.order > (clear?.order ?? 0)) {
    const sameBatch = last.sentAs && last.sentAs.client === write.sentAs?.client;
    // What was made on something else than the write before it neither replaces that nor follows from it.
    if (write.base && !sameBatch)
      return {
        writes: [...keyState.writes, { ...write, order: version, version, hasOwnBase: true }],
        meta: counted,
      };
    // A unit stays as it is, and so does what was rejected. What follows waits for its result.
    if (write.unit || last.unit || write.rejected || last.rejected)
      return {
        writes: [...keyState.writes, { ...write, order: version, version, base: last.base }],
        meta: counted,
      };
    // What is set replaces all that waits; what was computed on the last write does not know of those before an own base.
    const replacement: QueuedWrite = {
      ...write,
      order: last.order,
      version,
      base: last.base,
      hasOwnBase: write.dependsOnBase && last.hasOwnBase,
      stale: write.dependsOnBase && last.stale,
    };
    if (!last.sentAs || sameBatch)
      return { writes: [...keyState.writes.slice(0, -1), replacement], meta: counted };
    // Until what was sent is settled its base stands here too; then its result does.
    return {
      writes: [...keyState.writes, { ...replacement, order: version, hasOwnBase: undefined }],
      meta: counted,
    };
  }
  const known = clear ? absentAt(clear.base) : (knownServerState(keyState, meta) ?? absentHere(meta));
  const base = write.base ?? known;
  return { writes: [...keyState.writes, { ...write, order: version, version, base }], meta: counted };
}

const absentAt = (serverState: ServerState | undefined): ServerState | undefined =>
  serverState && { ...serverState, value: undefined };

/** That a complete mirror lacks a key is knowledge. */
const absentHere = ({ generation, epoch, cursor }: Meta): ServerState | undefined =>
  cursor === undefined ? undefined : { generation, epoch, seq: cursor };

/**
 * The waiting writes of all keys after a clear: what was not sent is superseded, what was is followed by a delete.
 *
 * @param pending All keys with writes that wait, clears included.
 */
export function enqueueClear(
  pending: ReadonlyMap<string, KeyState>,
  meta: Meta,
  { sentAs, atMs }: Pick<NewWrite, 'sentAs' | 'atMs'>,
): { readonly writes: ReadonlyMap<string, readonly QueuedWrite[]>; readonly meta: Meta } {
  const writes = new Map<string, readonly QueuedWrite[]>();
  let counted = meta;
  for (const [key, keyState] of pending) {
    const sent = keyState.writes.filter((write) => write.sentAs && write.sentAs.client !== sentAs?.client);
    const last = sent.at(-1);
    if (key === ALL_KEYS || !last) writes.set(key, sent);
    else {
      const order = counted.lastOrder + 1;
      counted = { ...counted, lastOrder: order };
      writes.set(key, [...sent, { order, version: order, key, base: last.base, isFromClear: true, atMs }]);
    }
  }
  // Of a server that was never reached there is nothing to clear.
  if (meta.level === undefined) return { writes, meta: counted };
  const order = counted.lastOrder + 1;
  const base = { generation: meta.generation, epoch: meta.epoch, seq: meta.seq };
  const clear: QueuedWrite = { order, version: order, key: ALL_KEYS, base, sentAs, atMs };
  writes.set(ALL_KEYS, [...(writes.get(ALL_KEYS) ?? []), clear]);
  return { writes, meta: { ...counted, lastOrder: order } };
}

/** What the next request is about. */
export type Plan =
  | { readonly settle: readonly QueuedWrite[] }
  | { readonly send: readonly QueuedWrite[] }
  | undefined;

/**
 * What to send next of the writes that wait. What may have been sent is settled first. What is to be sent is marked: it stays
 * where it is until there is a result.
 *
 * @param rows In their order, from the first on.
 * @param client Never used before: two copies of a device must not name two mutations alike.
 */
export function planRequest(writes: readonly QueuedWrite[], client: string, most: number): Plan {
  const unsettled = writes.find(({ sentAs }) => sentAs)?.sentAs;
  if (unsettled) return { settle: writes.filter(({ sentAs }) => sentAs?.client === unsettled.client) };
  const batch: QueuedWrite[] = [];
  const keys = new Set<string>();
  const [{ unit }] = writes.length > 0 ? (writes as [QueuedWrite]) : [{ unit: undefined }];
  if (unit) {
    const parts = writes.filter((write) => write.unit?.order === unit.order);
    if (parts.length === unit.size) batch.push(...parts);
  }
  for (const write of writes) {
    // What follows a write of its own key needs its result; a clear and a unit go alone.
    if (unit || write.unit) break;
    if (
      batch.length >= most ||
      keys.has(write.key) ||
      keys.has(ALL_KEYS) ||
      (write.key === ALL_KEYS && batch.length > 0)
    )
      break;
    batch.push(write);
    keys.add(write.key);
  }
  if (batch.length === 0) return undefined;
  return {
    send: operationsOf(batch).flatMap((step, at) =>
      'check' in step ? [] : [{ ...step, sentAs: { client, m: 1, index: at } }],
    ),
  };
}

/** A state of a key that must be current when a unit applies. */
export interface Check extends Pick<QueuedWrite, 'base' | 'stale'> {
  readonly check: string;
}

/**
 * The writes of a request with what their unit checks, in the order of its operations. The mark of a write is its place among them.
 *
 * To a server the delete of a missing key is no failure, so a delete with a condition comes directly after a check of its key.
 */
export const operationsOf = (writes: readonly QueuedWrite[]): Array<QueuedWrite | Check> => [
  ...writes.flatMap((write) =>
    isCheckedBefore(write) ? [{ check: write.key, base: write.base, stale: write.stale }, write] : [write],
  ),
  ...(writes[0]?.unit?.checks ?? []).map(({ key, base }) => ({ check: key, base })),
];

const isCheckedBefore = ({ unit, dependsOnBase, value }: QueuedWrite): boolean =>
  Boolean(unit && dependsOnBase && !value);

/**
 * The results of a unit that was sent.
 *
 * @param results Of its steps.
 * @returns The result of each write, which is that of its own check where that has failed, and the first of the other keys whose
 *   check has failed.
 */
export function unitResults<T extends { readonly status: number }>(
  writes: readonly QueuedWrite[],
  results: readonly T[],
): { readonly own: readonly T[]; readonly failed: string | undefined } {
  const own: T[] = [];
  let failed: string | undefined;
  for (const [at, step] of operationsOf(writes).entries()) {
    const result = results[at] as T;
    const checked = results[at - 1];
    if (!('check' in step)) own.push(isCheckedBefore(step) && checked?.status === 412 ? checked : result);
    else if (own.length === writes.length && result.status === 412) failed ??= step.check;
  }
  return { own, failed };
}

/** The server's result of a write. */
export interface Result {
  readonly status: number;
  /** What is there now, as far as the answer shows it. */
  readonly serverState?: ServerState | undefined;
}

/** What becomes of a write. */
export type Decision =
  /** It is at the server. */
  | { readonly type: 'done'; readonly serverState?: ServerState | undefined }
  /** It has not arrived, and is sent on this base. */
  | { readonly type: 'again'; readonly base: ServerState | undefined }
  /** The server has something that its writer had not seen. */
  | { readonly type: 'conflict'; readonly serverState: ServerState }
  /** The server will never take it. */
  | { readonly type: 'rejected' }
  /** Another part of its unit is in conflict, or will never be taken. */
  | { readonly type: 'not-applied' };

/** What the result of a write that was sent says. */
export function decide(write: QueuedWrite, { status, serverState }: Result): Decision {
  if (status === 200)
    return { type: 'done', serverState: serverState && { ...serverState, value: write.value } };
  // A delete of what is not there.
  if (status === 404) return { type: 'done', serverState };
  if (status === 412 && serverState) return compareStates(write, serverState);
  return status === 412 ? { type: 'again', base: write.base } : { type: 'rejected' };
}

/** What is to become of a write where the server holds `seen`: on level 0 that is all there is to go by. */
export function compareStates(
  { base, value, dependsOnBase, stale }: QueuedWrite,
  serverState: ServerState,
): Decision {
  if (stale) return { type: 'conflict', serverState };
  const revised = serverState.epoch !== '' && base?.epoch !== '';
  if (isSame(value, serverState.value) && !(dependsOnBase && revised)) return { type: 'done', serverState };
  if (base === undefined)
    return serverState.value ? { type: 'conflict', serverState } : { type: 'again', base };
  const ordered = revised && base.generation === serverState.generation;
  const unchanged =
    ordered && base.value && serverState.value
      ? base.seq === serverState.seq
      : isSame(base.value, serverState.value);
  return unchanged ? { type: 'again', base: serverState } : { type: 'conflict', serverState };
}

/**
 * What becomes of a write whose mutation was given up.
 *
 * @param result The stored result; nothing if the mutation was not applied, and never will be.
 * @param refused A mark of a mutation that the server would not take.
 */
export function decideVoided(
  write: QueuedWrite,
  result: Result | undefined,
  refused: SentAs | undefined,
): Decision {
  if (!result)
    return refused && refused.client === write.sentAs?.client ? { type: 'rejected' } : again(write);
  // The value that is there was not stored with the result.
  return result.status === 412 || result.status === 424 ? again(write) : decide(write, result);
}

/**
 * What becomes of the writes of a unit that the server has carried out as a whole, or not at all.
 *
 * @param decisions What the result of each alone says; nothing where it was not applied because another one failed.
 * @param isChecked Whether the states that it has checked were current.
 */
export function decideUnit(
  writes: readonly QueuedWrite[],
  decisions: ReadonlyArray<Decision | undefined>,
  isChecked: boolean,
): Decision[] {
  const applied = decisions.filter((decision) => decision !== undefined);
  if (isChecked && applied.length === writes.length && applied.every(({ type }) => type === 'done'))
    return applied;
  const isLost = !isChecked || applied.some(({ type }) => type === 'conflict' || type === 'rejected');
  return writes.map((write, i) => {
    const decision = decisions[i];
    if (!isLost)
      return decision?.type === 'done'
        ? { type: 'again', base: decision.serverState }
        : (decision ?? again(write));
    return decision?.type === 'conflict' || decision?.type === 'rejected'
      ? decision
      : { type: 'not-applied' };
  });
}

const again = ({ base }: QueuedWrite): Decision => ({ type: 'again', base });

/**
 * The waiting writes of a key after a decision on one of them.
 *
 * @returns Whether the write is parked: not where a later one of the same writer has replaced it already.
 */
export function applyDecision(
  writes: readonly QueuedWrite[],
  write: QueuedWrite,
  decision: Decision,
  clears: readonly QueuedWrite[],
): { readonly writes: readonly QueuedWrite[]; readonly isConflict: boolean } {
  const at = writes.findIndex(({ order }) => order === write.order);
  const current = writes[at];
  // Somebody else has settled it.
  if (!current || !isSameSentAs(current.sentAs, write.sentAs)) return { writes, isConflict: false };
  const clearedBetween = (later: QueuedWrite): boolean =>
    clears.some(({ order }) => order > write.order && order < later.order);
  const later = writes.slice(at + 1);
  const next = later[0] && !later[0].hasOwnBase && !clearedBetween(later[0]) ? later[0] : undefined;
  const rest = (base: ServerState | undefined, isUnmade = false): QueuedWrite[] =>
    later.map((other) => {
      if (other !== next) return other;
      const hasOwnBase = other.dependsOnBase && current.hasOwnBase;
      const stale = other.dependsOnBase && (current.stale || isUnmade || undefined);
      return {
        ...other,
        base: write.key === ALL_KEYS ? laterOf(other.base, base) : base,
        ...(hasOwnBase && { hasOwnBase }),
        ...(stale && { stale }),
      };
    });
  const before = writes.slice(0, at);
  if (current.version !== write.version) {
    // What was sent without a mark was replaced meanwhile: that stays, on what has become of this one.
    const base = decision.type === 'done' ? (decision.serverState ?? absentAt(write.base)) : current.base;
    return { writes: [...before, { ...current, base }, ...later], isConflict: false };
  }
  switch (decision.type) {
    case 'done':
      // A condition of a unit was met before what was rejected: that it has applied was not known.
      return {
        writes: [
          ...before,
          ...rest(decision.serverState ?? absentAt(write.base), Boolean(current.rejected && next?.unit)),
        ],
        isConflict: false,
      };
    case 'again':
      if (current.rejected)
        return {
          writes: [...before, ...rest(decision.base).slice(next?.isFromClear ? 1 : 0)],
          isConflict: false,
        };
      if (current.unit) {
        const kept = { ...current, base: decision.base, sentAs: undefined };
        return { writes: [...before, kept, ...later], isConflict: false };
      }
      if (next?.isFromClear) return { writes: [...before, ...later.slice(1)], isConflict: false };
      // A later write of the same key stands for both; a unit, which may come to nothing, only for itself.
      return next && !next.unit
        ? { writes: [...before, ...rest(decision.base)], isConflict: false }
        : {
            writes: [...before, { ...current, base: decision.base, sentAs: undefined }, ...later],
            isConflict: false,
          };
    default:
      // What was computed on a state that never comes to be, or is for that state, is not for the one before it.
      return {
        writes: [...before, ...rest(current.base, !current.rejected && Boolean(current.unit ?? next?.unit))],
        isConflict: !current.rejected && (!next || current.unit !== undefined),
      };
  }
}

/** A clear deletes what was there when it was made, whatever became of one before it. */
const laterOf = (own: ServerState | undefined, other: ServerState | undefined): ServerState | undefined =>
  own && other && own.generation === other.generation && own.seq < other.seq ? other : own;

const isSameSentAs = (a: SentAs | undefined, b: SentAs | undefined): boolean =>
  a?.client === b?.client && a?.index === b?.index;
