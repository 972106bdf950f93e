/**
 * The rules of sync: what the mirror and the outbox hold in, what they are to hold out.
 *
 * No I/O. Each function is what one transaction does with what it has read, or what follows from one answer, so that a
 * simulation can drive them through every order of losses and crashes. They keep three promises: a write that was put into the
 * outbox is at the server, in the outbox or among the conflicts; it applies once; and it never overwrites what its writer had
 * not seen.
 */

import type { StoredJson } from '../../core/json.ts';

export type { StoredJson } from '../../core/json.ts';

/** What was seen of a key at the server. */
export interface ServerState {
  /** Counts the incarnations of the server's data that this origin has met: a restore begins a new one. */
  readonly generation: number;
  /** The server's own name for it; empty on level 0. */
  readonly epoch: string;
  /** The revision of the value, or, where the key did not exist, a sequence number at which that was so. 0 on level 0. */
  readonly seq: number;
  /** Nothing where the key did not exist. */
  readonly value?: StoredJson | undefined;
  /** The `version` of the write of this origin that made it, where it waited before. */
  readonly version?: number | undefined;
}

/** The mutation as which a write was sent, and its place among the writes of that. */
export interface SentAs {
  readonly client: string;
  readonly m: number;
  readonly index: number;
}

/** A write that waits to be at the server. */
export interface QueuedWrite {
  /** Its place in the order of writes. */
  readonly order: number;
  /** Names this state of the key. */
  readonly version: number;
  /** The key; empty for a clear, which deletes everything that was there at the `seq` of its base. */
  readonly key: string;
  /** What to store; nothing where the key is to be deleted. */
  readonly value?: StoredJson | undefined;
  /** What its writer knew of the key; nothing where that was nothing. */
  readonly base?: ServerState | undefined;
  /** Present when it may have been sent: whether it has arrived is to be settled first. */
  readonly sentAs?: SentAs | undefined;
  /** Whether its base is its own, whatever becomes of the write before it. */
  readonly hasOwnBase?: boolean | undefined;
  /** Whether it deletes, for a clear, what the write before it has stored. Without that there is nothing to delete. */
  readonly isFromClear?: true | undefined;
  /** Whether its call has rejected, although it may have arrived: it is settled, so that later writes follow it, and never sent again. */
  readonly rejected?: true | undefined;
  /** Whether it was made on a state that never came to be: it never applies. */
  readonly stale?: boolean | undefined;
  /** The atomic unit that it is part of: sent, applied, and in conflict as a whole. */
  readonly unit?: AtomicUnit | undefined;
  /**
   * Whether it was computed from what was there, or, in a unit, has a condition: that the server has its value by somebody else does
   * not make it done.
   */
  readonly dependsOnBase?: boolean | undefined;
  /** Present when the server did not take it although it answered others: how often it had no answer, and why. */
  readonly failed?: { readonly attempts: number; readonly error: string } | undefined;
  /** When it was made, in milliseconds since 1970. */
  readonly atMs: number;
}

/** An atomic unit of writes. */
export interface AtomicUnit {
  /** The `n` of its first write. */
  readonly order: number;
  /** How many writes it has. */
  readonly size: number;
  /** States of other keys that must be current when it applies. */
  readonly checks: ReadonlyArray<{ readonly key: string; readonly base: ServerState }>;
}

/** What is known of the server as a whole, and the counters. */
export interface Meta {
  readonly generation: number;
  readonly epoch: string;
  /** The highest sequence number that was seen. */
  readonly seq: number;
  /** Up to this sequence number the mirror holds everything; nothing while it may lack keys. */
  readonly cursor?: number | undefined;
  /** What was seen before this sequence number is gone. */
  readonly clearedAt: number;
  /** The level at which the server was reached; nothing where it never was. */
  readonly level?: 0 | 1 | undefined;
  /** Whether entries of an earlier era are still to be compared with the server. */
  readonly needsComparison?: boolean | undefined;
  /** The client of the last mutation of the outbox that the server has answered, and when, in milliseconds since 1970. */
  readonly client?: string | undefined;
  readonly usedAtMs?: number | undefined;
  /** The account whose data this is; `undefined` if the server has named none. */
  readonly account?: string | undefined;
  /** Whose outbox and mirror this is. */
  readonly owner?: Owner | undefined;
  /** The last `n` and `version` that were given out. */
  readonly lastOrder: number;
  readonly lastSyncAtMs?: number | undefined;
}

/** The options of the storages that share an outbox. */
export interface Owner {
  readonly serverUrl: string;
  readonly database: string;
}

/** What is here of one key. */
export interface KeyState {
  readonly serverState?: ServerState | undefined;
  /** Its writes that wait, in their order. */
  readonly writes: readonly QueuedWrite[];
}

/** A local value that did not come to be the server's. */
export interface ConflictRecord {
  readonly key: string;
  /** The server's had changed, it refused the write for good, it has lost it in a restore, or the app has discarded it. */
  readonly reason: 'changed' | 'rejected' | 'restored' | 'discarded';
  readonly base?: StoredJson | undefined;
  readonly local?: StoredJson | undefined;
  readonly server?: StoredJson | undefined;
  readonly detail: string;
  readonly atMs: number;
  /** The `n` of the atomic unit of which it was a part: all of them are kept, and settled, together. */
  readonly unit?: number | undefined;
}

/** A write that is about everything. */
export const ALL_KEYS = '';

/** Before anything is known. */
export const INITIAL_META: Meta = { generation: 1, epoch: '', seq: 0, clearedAt: 0, lastOrder: 0 };

/** Whether two values, or their absence, are the same, whatever the order of members. */
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

/** Whether what an answer showed is not older than what is known: answers overtake each other. */
export function isNewer(
  known: ServerState | undefined,
  serverState: ServerState,
  { generation, clearedAt }: Meta,
): boolean {
  if (serverState.generation !== generation || serverState.seq < clearedAt) return false;
  return known === undefined || known.generation !== generation || serverState.seq >= known.seq;
}

/** What becomes of a value of the mirror that a restored server does not have: it is kept as a conflict. */
export function restoreConflict(
  key: string,
  known: ServerState | undefined,
  serverState: ServerState,
  atMs: number,
): ConflictRecord | undefined {
  // Without revisions what was restored looks like what others have changed: level 0 tells nothing of it, before or after.
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

/** The last write of a key that waits and was acknowledged. */
export const lastAcknowledged = ({ writes }: KeyState): QueuedWrite | undefined =>
  writes.findLast(({ rejected }) => !rejected);

/** What a reader sees of a key, writes that wait laid over the mirror. Nothing where that cannot be known. */
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

/** What the mirror says, unless it says that a key of an earlier era did not exist. */
export const knownServerState = ({ serverState }: KeyState, { generation }: Meta): ServerState | undefined =>
  serverState && (serverState.value || serverState.generation === generation) ? serverState : undefined;

/** Whether a server cannot be the one whose answers were seen: it was restored to an earlier state. */
export const isRestored = (meta: Meta, epoch: string, seq: number): boolean =>
  meta.epoch !== '' && (epoch !== meta.epoch || seq < meta.seq);

/** Servers may forget a client that is silent for 30 days (docs/contract.md, 5.14); clocks may differ by a day. */
const REMEMBERED_MS = 29 * 86_400_000;

/** Whether it says nothing of a restore that the server does not know this client. */
export const isClientExpired = ({ usedAtMs }: Meta, nowMs: number): boolean =>
  usedAtMs !== undefined && nowMs - usedAtMs > REMEMBERED_MS;

/** A new era: nothing that was seen orders what comes, and the server knows no mutation. */
export const inNextGeneration = (meta: Meta, epoch: string): Meta => ({
  ...meta,
  generation: meta.generation + 1,
  epoch,
  seq: 0,
  cursor: undefined,
  clearedAt: 0,
  needsComparison: true,
  client: undefined,
});
