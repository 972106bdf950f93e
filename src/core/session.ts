/**
 * A session: what a storage holds and sends every call to. It is a backend that also knows how it stands to a server.
 *
 * There are three: over IndexedDB alone (indexeddb/session.ts), over a server alone where there is no IndexedDB
 * (remote/session.ts), and over a server with an outbox and a mirror (sync/session.ts). A storage holds exactly one.
 */
import type { Backend, BackendType, SyncState } from './backend.ts';
import type { Conflict, Resolution } from './conflict.ts';
import type { ResolvedOptions } from './options.ts';

/** Which backend serves calls, and how the storage stands to its server. More members may come. */
export interface StorageStatus {
  /** As `getBackendType()`. */
  readonly backend: BackendType;
  /** The connection state. */
  readonly state: SyncState;
  /** The level of the server's protocol (docs/contract.md); `undefined` until a server was reached. */
  readonly level: 0 | 1 | undefined;
  /** Number of writes of this origin in the outbox: they are not at the server yet. */
  readonly pending: number;
  /** Number of values that the server did not take: see `conflicts()`. */
  readonly conflicts: number;
  /** When this origin last synchronized with the server, in milliseconds since 1970. */
  readonly lastSyncAtMs: number | undefined;
  /** Why this backend and this state, in words for people. */
  readonly reason: string;
}

/** A backend in use, with what a storage asks about its server. */
export interface Session extends Backend {
  status(): StorageStatus;
  /**
   * Resolves when calls can be served.
   *
   * @param isFirst Whether the session was opened by this very call: then its server has answered just now.
   * @throws {StorageError} if neither the server nor IndexedDB can serve calls.
   */
  ready(isFirst: boolean): Promise<void>;
  /** Sends the outbox. @throws {StorageError} `unavailable`, `forbidden` */
  flush(): Promise<void>;
  conflicts(): Promise<Conflict[]>;
  /** @throws {StorageError} `invalid-option`, `unsupported-value`, `quota` */
  resolve(key: string, choice: Resolution): Promise<void>;
}

/** What a session with a server is made of. */
export interface ServerSessionOptions
  extends Pick<ResolvedOptions, 'database' | 'timeout' | 'token' | 'conflict' | 'ack'> {
  readonly serverUrl: string;
  log(level: 'info' | 'warn', text: string): void;
  /** Called when the status has changed. */
  changed(): void;
}

/** A status. What is left out is as in a storage without a server. The server serves calls exactly while it is `online`. */
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
