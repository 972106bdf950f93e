/**
 * The records of sync, and the rules of the mirror.
 *
 * Pure functions without I/O. Each is what one transaction does with the records that it has read, or what follows from one answer, so
 * that a simulation can drive them through every order of losses and crashes. The rules keep three promises. A queued write is at the
 * server, in the outbox or among the conflicts. It applies once. It never overwrites a state that its author has not seen.
 */

import type { StoredJson } from '../../core/json.ts';

export type { StoredJson } from '../../core/json.ts';

/** The state of a key at the server, as an answer has shown it. */
export interface ServerState {
  /** Counts the restores of the server's data that this device has noticed. */
  readonly generation: number;
  /** The epoch that the server has named; empty on level 0. */
  readonly epoch: string;
  /** The revision of the value; for a missing key, a sequence number at which it was missing. 0 on level 0. */
  readonly seq: number;
  /** `undefined` if the key did not exist. */
  readonly value?: StoredJson | undefined;
  /** The `version` of the queued write that has made it, if it was one of this device. */
  readonly version?: number | undefined;
}

/** The mutation as which a write was sent, and its index among the writes of that mutation. */
export interface SentAs {
  readonly client: string;
  readonly m: number;
  readonly index: number;
}

/** A write in the outbox. */
export interface QueuedWrite {
  /** Its number: writes are sent in this order. */
  readonly order: number;
  /** Identifies the state that it makes, in revisions of this device. */
  readonly version: number;
  /** The key; empty for a clear, which deletes everything that existed at the `seq` of its base. */
  readonly key: string;
  /** The value; `undefined` for a delete. */
  readonly value?: StoredJson | undefined;
  /** The server state that its author has seen; `undefined` if the author knew nothing of the key. */
  readonly base?: ServerState | undefined;
  /** Present if it may have been sent. Then its mutation is settled first. */
  readonly sentAs?: SentAs | undefined;
  /** Whether it keeps its base, whatever the result of the write before it is. */
  readonly hasOwnBase?: boolean | undefined;
  /** Whether it is part of a clear: it deletes what the write before it has stored. If that was not applied, there is nothing to delete. */
  readonly isFromClear?: true | undefined;
  /** Whether its call has rejected although the server may have applied it. It is settled, so that later writes follow it, and never sent again. */
  readonly rejected?: true | undefined;
  /** Whether it was made on a state that never existed at the server: it never applies. */
  readonly stale?: boolean | undefined;
  /** The atomic unit that it is part of. A unit is sent, applied and in conflict as a whole. */
  readonly unit?: AtomicUnit | undefined;
  /**
   * Whether it was computed from its base, or has a condition in a unit. Then it is not done because another client has stored the same
   * value.
   */
  readonly dependsOnBase?: boolean | undefined;
  /** Present if the server did not accept it although it answered others. */
  readonly failed?: Failed | undefined;
  /** When the app made it, in milliseconds since 1970. */
  readonly atMs: number;
}

/** How often the server did not accept a write. */
export interface Failed {
  /** How often it had no answer although the server accepted others. */
  readonly attempts: number;
  readonly error: string;
  /** When that was, in milliseconds since 1970. Present on level 0. */
  readonly atMs?: number;
}

/** An atomic unit of writes. */
export interface AtomicUnit {
  /** The `order` of its first write. */
  readonly order: number;
  /** How many writes it has. */
  readonly size: number;
  /** Conditions on other keys, which it does not write. */
  readonly checks: ReadonlyArray<{ readonly key: string; readonly base: ServerState }>;
}

/** What this device knows of the server as a whole, and its own counters. */
export interface Meta {
  readonly generation: number;
  readonly epoch: string;
  /** The highest sequence number that an answer has named. */
  readonly seq: number;
  /** The mirror is complete up to this sequence number; `undefined` while it may lack keys. */
  readonly cursor?: number | undefined;
  /** Whether the mirror was complete once, or the server was restored. When it is filled then, keys may have changed that it did not know. */
  readonly wasComplete?: boolean | undefined;
  /** Server states before this sequence number were deleted by a clear. */
  readonly clearedAt: number;
  /** The level of the server; `undefined` until it was reached once. */
  readonly level?: 0 | 1 | undefined;
  /** Whether values of an earlier generation have yet to be compared with the server. */
  readonly needsComparison?: boolean | undefined;
  /** The client of the last mutation of the outbox that the server has answered, and when, in milliseconds since 1970. */
  readonly client?: string | undefined;
  readonly usedAtMs?: number | undefined;
  /** The account whose data this is; `undefined` if the server has named none. */
  readonly account?: string | undefined;
  /** Whose outbox and mirror this is. */
  readonly owner?: Owner | undefined;
  /** The last `order` and `version` that were used. */
  readonly lastOrder: number;
  readonly lastSyncAtMs?: number | undefined;
}

/** The options of the storages that share an outbox. */
export interface Owner {
  readonly serverUrl: string;
  readonly database: string;
}

/** What this device has of one key. */
export interface KeyState {
  readonly serverState?: ServerState | undefined;
  /** Its queued writes, in their order. */
  readonly writes: readonly QueuedWrite[];
}

/** A local value that did not become the server's value. */
export interface ConflictRecord {
  readonly key: string;
  /** The server's value had changed; the server has rejected the write; the server was restored to an earlier state; or the app has discarded it. */
  readonly reason: 'changed' | 'rejected' | 'restored' | 'discarded';
  readonly base?: StoredJson | undefined;
  readonly local?: StoredJson | undefined;
  readonly server?: StoredJson | undefined;
  readonly detail: string;
  readonly atMs: number;
  /** The `order` of its atomic unit. The conflicts of a unit are kept and resolved together. */
  readonly unit?: number | undefined;
}

/** The key of a clear, which concerns all keys. */
export const ALL_KEYS = '';

/** The meta of a device that has never reached its server. */
export const INITIAL_META: Meta = { generation: 1, epoch: '', seq: 0, clearedAt: 0, lastOrder: 0 };

/** Whether two values are equal, or both are missing. The order of members does not matter. */
export function isSame(a: StoredJson | undefined, b: StoredJson | undefined): boolean {
  return a === undefined || b === undefined ? a === b : isSameJson(a.json, b.json);
}

function isSameJson(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false;
  const names = Object.keys(a);
  return (
    Array.isArray(a) === Array.isArray(b) &&
    names.length === Object.keys(b).length &&
    names.every((name) => Object.hasOwn(b, name) && isSameJson(a[name as never], b[name as never]))
  );
}

/** Whether a server state is not older than the known one. Answers may overtake each other. */
export function isNewer(
  known: ServerState | undefined,
  serverState: ServerState,
  { generation, clearedAt }: Meta,
): boolean {
  if (serverState.generation !== generation || serverState.seq < clearedAt) return false;
  return known === undefined || known.generation !== generation || serverState.seq >= known.seq;
}

/** The conflict that keeps a value of the mirror which a restored server no longer has. */
export function restoreConflict(
  key: string,
  known: ServerState | undefined,
  serverState: ServerState,
  atMs: number,
): ConflictRecord | undefined {
  // Level 0 has no revisions, so a restore looks like a change by another client.
  if (
    !known?.value ||
    known.generation === serverState.generation ||
    known.epoch === '' ||
    serverState.epoch === ''
  )
    return undefined;
  if (isSame(known.value, serverState.value)) return undefined;
  const { value: local } = known;
  return {
    key,
    reason: 'restored',
    local,
    server: serverState.value,
    detail: 'The server was restored to an earlier state.',
    atMs,
  };
}

/** The last queued write of a key that was acknowledged. */
export const lastAcknowledged = ({ writes }: KeyState): QueuedWrite | undefined =>
  writes.findLast(({ rejected }) => !rejected);

/** The prefix of revisions that only this device knows. */
export const LOCAL = 'local.';

/** The revision of a key: that of the server, or that of its last queued write. */
export function revisionOf(keyState: KeyState): string {
  const { serverState } = keyState;
  const last = lastAcknowledged(keyState);
  return last ? `${LOCAL}${last.version}` : `${serverState?.epoch}.${serverState?.seq}`;
}

/** The server's revision of a state that this device has named, if that write was sent and the state is current. */
export function arrivedAs({ serverState, writes }: KeyState, revision: string | null): string | undefined {
  const arrived =
    writes.length === 0 &&
    serverState?.version !== undefined &&
    revision === `${LOCAL}${serverState.version}`;
  return arrived ? `${serverState.epoch}.${serverState.seq}` : undefined;
}

/** What a reader sees of a key: its queued writes over the mirror. `undefined` if this device cannot know that. */
export function localView(
  keyState: KeyState,
  clears: readonly QueuedWrite[],
  meta: Meta,
): { value: StoredJson | undefined } | undefined {
  const last = lastAcknowledged(keyState);
  const clear = clears.at(-1);
  if (last && last.order > (clear?.order ?? 0)) return { value: last.value };
  if (clear) return { value: undefined };
  const serverState = knownServerState(keyState, meta);
  if (serverState) return { value: serverState.value };
  return meta.cursor !== undefined || meta.level === undefined ? { value: undefined } : undefined;
}

/** The server state of the mirror. That a key was missing in an earlier generation means nothing. */
export const knownServerState = ({ serverState }: KeyState, { generation }: Meta): ServerState | undefined =>
  serverState && (serverState.value || serverState.generation === generation) ? serverState : undefined;

/** Whether an answer shows that the server was restored to an earlier state. */
export const isRestored = (meta: Meta, epoch: string, seq: number): boolean =>
  meta.epoch !== '' && (epoch !== meta.epoch || seq < meta.seq);

/** Servers may forget a client that is silent for 30 days (docs/contract.md, 5.14); clocks may differ by a day. */
const REMEMBERED_MS = 29 * 86_400_000;

/** Whether the server may have forgotten the last client without a restore. */
export const isClientExpired = ({ usedAtMs }: Meta, nowMs: number): boolean =>
  usedAtMs !== undefined && nowMs - usedAtMs > REMEMBERED_MS;

/** Begins a new generation: known revisions do not order later ones, and the server knows no earlier mutation. */
export const inNextGeneration = (meta: Meta, epoch: string): Meta => ({
  ...meta,
  generation: meta.generation + 1,
  epoch,
  seq: 0,
  cursor: undefined,
  wasComplete: true,
  clearedAt: 0,
  needsComparison: true,
  client: undefined,
});

/** An account of the server; without a name if the server names none. */
type Account = Pick<Meta, 'account'>;

/** Whether this device holds data of another account. Before the server has named an account, it does not. */
export const isOfOtherAccount = (meta: Account | undefined, known: Account | undefined): boolean =>
  known !== undefined && meta?.account !== undefined && meta.account !== known.account;

/** The meta of a server that is used for another account from now on. The same transaction deletes everything else. */
export const inAccount = (meta: Meta, epoch: string, account: string | undefined): Meta => ({
  ...inNextGeneration(meta, epoch),
  wasComplete: false,
  needsComparison: false,
  account,
});
