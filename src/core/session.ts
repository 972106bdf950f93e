/**
 * A session: the backend that a storage sends every call to. It also knows the connection state.
 *
 * There are three: IndexedDB only (indexeddb/session.ts), a server without IndexedDB (remote/session.ts), and a server with an
 * outbox and a mirror (sync/session.ts). A storage has exactly one session at a time.
 */
import type { Backend, BackendType, SyncState } from './backend.ts';
import type { Watched } from './changes.ts';
import type { ConflictOf, Resolution } from './conflict.ts';
import type { ResolvedOptions } from './options.ts';
import type { Deadline } from './time.ts';

/** The status of a storage: its backend, its connection state and its outbox. More members may be added. */
export interface StorageStatus {
  /** The backend that serves calls: the same as `getBackendType()`. */
  readonly backend: BackendType;
  /** The connection state. */
  readonly state: SyncState;
  /** The level of the server's protocol (docs/contract.md); `undefined` until the server was reached once. */
  readonly level: 0 | 1 | undefined;
  /** Number of writes of this origin in the outbox. They are not on the server yet. */
  readonly pending: number;
  /** Number of unresolved conflicts: see `conflicts()`. */
  readonly conflicts: number;
  /** When this origin last synchronized with the server, in milliseconds since 1970; `undefined` if it never did. */
  readonly lastSyncAtMs: number | undefined;
  /** Why this backend is in use and why the state is what it is: a text for people. */
  readonly reason: string;
}

/** The backend in use, with the methods of a storage that concern its server. */
export interface Session extends Backend, Watched {
  status(): StorageStatus;
  /** The account whose data is used; `undefined` until the server has named it, or if it names none. */
  account(): string | undefined;
  /**
   * Resolves when calls can be served.
   *
   * @param isFirst Whether this call has opened the session. If so, its server has just answered.
   * @throws {StorageError} if neither the server nor IndexedDB can be used.
   */
  ready(isFirst: boolean, deadline: Deadline): Promise<void>;
  /** Sends the outbox. @throws {StorageError} `unavailable`, `forbidden`, `timeout`, `blocked` */
  flush(deadline?: Deadline): Promise<void>;
  conflicts(): Promise<ConflictOf[]>;
  /**
   * Deletes what this device keeps for the server: the mirror, the outbox and the conflicts. Storages of other tabs that share them
   * are told to close; the caller closes this one.
   *
   * @throws {StorageError} `pending` if writes wait, unless `discardPending`; `blocked`, `timeout`. Nothing was deleted.
   */
  forget(discardPending: boolean): Promise<void>;
  /** @throws {StorageError} `invalid-option`, `unsupported-value`, `quota` */
  resolve(key: string, choice: Resolution): Promise<void>;
}

/** The options of a session with a server. */
export interface ServerSessionOptions
  extends Pick<ResolvedOptions, 'database' | 'timeout' | 'token' | 'conflict' | 'ack'> {
  readonly serverUrl: string;
  /** The same URL as the app has given it, for `outbox()`. */
  readonly givenUrl: string | undefined;
  log(level: 'info' | 'warn', text: string): void;
  /** Is called after the status has changed. */
  changed(): void;
  /** Is called when another tab has deleted what this device keeps for the server. */
  forgotten(): void;
}

/** Completes a status: missing members get the values of a storage without a server. A server serves calls only in the state `online`. */
export const statusOf = (
  known: Pick<StorageStatus, 'state' | 'reason'> & Partial<Omit<StorageStatus, 'backend'>>,
): StorageStatus => ({
  backend: known.state === 'online' ? 'flask' : 'indexeddb',
  level: undefined,
  pending: 0,
  conflicts: 0,
  lastSyncAtMs: undefined,
  ...known,
});

/** Reads a status, and returns the same frozen object until a member of it changes. */
export function createStatusReader(read: () => StorageStatus): () => StorageStatus {
  let last: StorageStatus | undefined;
  return () => {
    const next = read();
    const isSame =
      last &&
      (Object.keys(next) as Array<keyof StorageStatus>).every((name) => Object.is(last?.[name], next[name]));
    if (!last || !isSame) last = Object.freeze(next);
    return last;
  };
}
