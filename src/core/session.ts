/**
 * A session: what a storage holds and sends every call to. It is a backend that also knows how it stands to a server.
 */
import type { BackendType, SyncState } from './backend.ts';

/** Who serves operations, and how the server stands. More members may come. */
export interface StorageStatus {
  /** As `getBackendType()`. */
  readonly backend: BackendType;
  /** How the storage stands to its server. */
  readonly state: SyncState;
  /** The level of the server's protocol (docs/contract.md); `undefined` while none was reached. */
  readonly level: 0 | 1 | undefined;
  /** Writes of this origin that wait to be at the server. */
  readonly pending: number;
  /** Values that the server did not take: see `conflicts()`. */
  readonly conflicts: number;
  /** When the server was last met, or looked at for what others have changed, in milliseconds since 1970. */
  readonly lastSyncAtMs: number | undefined;
  /** Why it is this backend and this state, in words for people. */
  readonly reason: string;
}
