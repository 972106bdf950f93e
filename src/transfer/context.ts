/**
 * What migration, backup and adoption see of the storage that they work for.
 */
import type { Backend } from '../core/backend.ts';
import type { ResolvedOptions } from '../core/options.ts';
import type { ServerSessionOptions, Session, StorageStatus } from '../core/session.ts';

/** Something that is closed with the storage. */
export type Closable = Pick<Backend, 'close'>;

/** A storage, as its transfers see it. */
export interface TransferContext
  extends Pick<ResolvedOptions, 'database' | 'timeout' | 'token'>,
    Pick<ServerSessionOptions, 'log'> {
  readonly indexedDb: Backend;
  /** The session in use, when everything that was called before is done. */
  session(): Promise<Session>;
  /** Runs `task` while no call of this storage is under way, and none begins. */
  alone<T>(task: () => Promise<T>): Promise<T>;
  status(): StorageStatus;
  /** The address of the configured server. */
  serverUrl(): string | undefined;
  /** Uses the server at a URL from now on, or IndexedDB. */
  use(serverUrl: string | undefined): Promise<void>;
  /** The part that talks to a server. */
  serverPart(): Promise<typeof import('../sync/index.ts')>;
  /** Has something closed with the storage. */
  keep<T extends Closable>(one: T): T;
  /** Closes one of these before that. */
  letGo(one: Closable): Promise<void>;
}

/** The app's listener; what it throws is logged. */
export const listenerOf = <Progress>(
  { log }: Pick<TransferContext, 'log'>,
  onProgress: ((progress: Progress) => void) | undefined,
): ((progress: Progress) => void) | undefined =>
  onProgress &&
  (async (progress) => {
    try {
      await onProgress(progress);
    } catch (error) {
      log('warn', `has a function given as onProgress that fails: ${error}`);
    }
  });
