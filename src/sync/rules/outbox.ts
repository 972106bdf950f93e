/**
 * The rules of the outbox: how a write is queued, what a request sends, and what its results mean.
 *
 * Pure functions without I/O. They keep the promises of state.ts.
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

/** A write that is to be queued. */
export interface NewWrite {
  readonly key: string;
  readonly value?: StoredJson | undefined;
  readonly sentAs?: SentAs | undefined;
  /** The base, if the author has read it from the server and the mirror may be newer by now. */
  readonly base?: ServerState | undefined;
  readonly dependsOnBase?: boolean | undefined;
  readonly unit?: AtomicUnit | undefined;
  readonly rejected?: true | undefined;
  readonly atMs: number;
}

/** Appends a write to the queue of its key. It replaces a write that was never sent, and takes over its base: the author has seen that. */
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
    // A write with another base neither replaces the write before it nor follows from it.
    if (write.base && !sameBatch)
      return {
        writes: [...keyState.writes, { ...write, order: version, version, hasOwnBase: true }],
        meta: counted,
      };
    // A unit and a rejected write are never replaced. The next write takes its base from their result.
    if (write.unit || last.unit || write.rejected || last.rejected)
      return {
        writes: [...keyState.writes, { ...write, order: version, version, base: last.base }],
        meta: counted,
      };
    // A set replaces all queued writes of the key. A write that was computed on the last one takes over its base and its flags.
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
    // Until the sent write is settled, this one has the same base; then the result becomes its base.
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

/** A key that a complete mirror lacks does not exist. */
const absentHere = ({ generation, epoch, cursor }: Meta): ServerState | undefined =>
  cursor === undefined ? undefined : { generation, epoch, seq: cursor };

/**
 * Appends a clear to the queues of all keys. It replaces writes that were never sent; a delete follows each write that was sent.
 *
 * @param pending All keys with queued writes, clears included.
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
  // A server that was never reached has nothing to clear.
  if (meta.level === undefined) return { writes, meta: counted };
  const order = counted.lastOrder + 1;
  const base = { generation: meta.generation, epoch: meta.epoch, seq: meta.seq };
  const clear: QueuedWrite = { order, version: order, key: ALL_KEYS, base, sentAs, atMs };
  writes.set(ALL_KEYS, [...(writes.get(ALL_KEYS) ?? []), clear]);
  return { writes, meta: { ...counted, lastOrder: order } };
}

/**
 * A queued clear, after writes of this device were settled that may have been called before it: it deletes them too if nobody has written
 * in between. None of them was acknowledged.
 *
 * @param seqs The sequence numbers of these writes.
 */
export function withOwnWrites(
  clear: QueuedWrite,
  seqs: readonly number[],
  { generation }: Meta,
): QueuedWrite {
  const { base } = clear;
  if (base?.generation !== generation) return clear;
  let { seq } = base;
  for (const own of [...seqs].sort((a, b) => a - b)) if (own === seq + 1) seq = own;
  return seq === base.seq ? clear : { ...clear, base: { ...base, seq } };
}

/** The next request: writes to settle, or writes to send. */
export type Plan =
  | { readonly settle: readonly QueuedWrite[] }
  | { readonly send: readonly QueuedWrite[] }
  | undefined;

/**
 * Plans the next request. Writes that may have been sent are settled first. A write to send gets its mutation, and stays in the queue
 * until it has a result.
 *
 * @param writes In their order, from the first one on.
 * @param client A new one: two copies of a device must not give two mutations one name.
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
    // A write after another one of its key needs the result of that. A clear and a unit are sent alone.
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

/** A condition of a unit: the key must still have its base when the unit applies. */
export interface Check extends Pick<QueuedWrite, 'base' | 'stale'> {
  readonly check: string;
}

/**
 * The operations of a request: its writes and the checks of their unit. The index of a write in its mutation is its position here.
 *
 * A server does not reject the delete of a missing key, so a delete with a condition comes directly after a check of its key.
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
 * @param results The results of its operations.
 * @returns The result of each write, or that of its own check if the check has failed; and the first other key whose check has failed.
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
  /** What the server holds now, if the answer shows it. */
  readonly serverState?: ServerState | undefined;
}

/** What happens to a queued write. */
export type Decision =
  /** The server has it: it leaves the outbox. */
  | { readonly type: 'done'; readonly serverState?: ServerState | undefined }
  /** The server does not have it: it is sent again, with this base. */
  | { readonly type: 'again'; readonly base: ServerState | undefined }
  /** The server holds a state that its author has not seen. */
  | { readonly type: 'conflict'; readonly serverState: ServerState }
  /** The server will never accept it. */
  | { readonly type: 'rejected' }
  /** Another part of its unit is in conflict or was rejected. */
  | { readonly type: 'not-applied' };

/** The decision on a write that has a result. */
export function decide(write: QueuedWrite, { status, serverState }: Result): Decision {
  if (status === 200)
    return { type: 'done', serverState: serverState && { ...serverState, value: write.value } };
  // A delete of a missing key.
  if (status === 404) return { type: 'done', serverState };
  if (status === 412 && serverState) return compareStates(write, serverState);
  // There may be room for it later.
  return status === 412 || status === 507 ? again(write) : { type: 'rejected' };
}

/** The decision on a write, from what the server holds. On level 0 there is no other result. */
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
 * The decision on a write whose mutation was voided.
 *
 * @param result The stored result; `undefined` if the mutation was not applied, and never will be.
 * @param refused The last mutation that the server has refused for good.
 */
export function decideVoided(
  write: QueuedWrite,
  result: Result | undefined,
  refused: SentAs | undefined,
): Decision {
  if (!result)
    return refused && refused.client === write.sentAs?.client ? { type: 'rejected' } : again(write);
  // The server does not store the current value with the result.
  return result.status === 412 || result.status === 424 ? again(write) : decide(write, result);
}

/**
 * The decisions on the writes of a unit, which the server has applied as a whole or not at all.
 *
 * @param decisions The decision on each write alone; `undefined` if it was not applied because another one failed.
 * @param isChecked Whether its checks of other keys have succeeded.
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
 * The queue of a key after a decision on one of its writes.
 *
 * @returns `isConflict`: whether the value is kept as a conflict. It is not if a later write of this device has replaced it.
 */
export function applyDecision(
  writes: readonly QueuedWrite[],
  write: QueuedWrite,
  decision: Decision,
  clears: readonly QueuedWrite[],
): { readonly writes: readonly QueuedWrite[]; readonly isConflict: boolean } {
  const at = writes.findIndex(({ order }) => order === write.order);
  const current = writes[at];
  // Another tab has settled it.
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
    // It was replaced while it was sent: the replacement stays, with the result as its base.
    const base = decision.type === 'done' ? (decision.serverState ?? absentAt(write.base)) : current.base;
    return { writes: [...before, { ...current, base }, ...later], isConflict: false };
  }
  switch (decision.type) {
    case 'done':
      // The unit was made on the state before a rejected write, which turns out to have applied.
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
      // A later write of the key replaces it. A unit does not, because it may fail as a whole.
      return next && !next.unit
        ? { writes: [...before, ...rest(decision.base)], isConflict: false }
        : {
            writes: [...before, { ...current, base: decision.base, sentAs: undefined }, ...later],
            isConflict: false,
          };
    default:
      // A write that depends on this one must not apply to the state before it.
      return {
        writes: [...before, ...rest(current.base, !current.rejected && Boolean(current.unit ?? next?.unit))],
        isConflict: !current.rejected && (!next || current.unit !== undefined),
      };
  }
}

/** A clear deletes what existed when it was made, whatever the result of an earlier clear is. */
const laterOf = (own: ServerState | undefined, other: ServerState | undefined): ServerState | undefined =>
  own && other && own.generation === other.generation && own.seq < other.seq ? other : own;

const isSameSentAs = (a: SentAs | undefined, b: SentAs | undefined): boolean =>
  a?.client === b?.client && a?.index === b?.index;
