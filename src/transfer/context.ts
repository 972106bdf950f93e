/**
 * The parts of a storage that migration, backup and adoption use.
 */
import type { Backend } from '../core/backend.ts';
import type { ResolvedOptions } from '../core/options.ts';
import type { ServerSessionOptions, Session, StorageStatus } from '../core/session.ts';

/** A resource that is closed together with the storage. */
export type Closable = Pick<Backend, 'close'>;

/** A storage as its transfers see it. */
export interface TransferContext
  extends Pick<ResolvedOptions, 'database' | 'timeout' | 'token'>,
    Pick<ServerSessionOptions, 'log'> {
  readonly indexedDb: Backend;
  /** Resolves with the session in use, after all earlier calls have ended. */
  session(): Promise<Session>;
  /** Runs `task` while no other call of this storage runs. Later calls wait. */
  alone<T>(task: () => Promise<T>): Promise<T>;
  status(): StorageStatus;
  /** The URL of the configured server. */
  serverUrl(): string | undefined;
  /** Switches to the server at a URL, or to IndexedDB if the URL is `undefined`. */
  use(serverUrl: string | undefined): Promise<void>;
  /** Loads the server part. */
  serverPart(): Promise<typeof import('../sync/index.ts')>;
  /** Registers a resource that is closed together with the storage. */
  keep<T extends Closable>(one: T): T;
  /** Closes a registered resource now. */
  letGo(one: Closable): Promise<void>;
}

/** The app's progress listener. Its errors are logged, not thrown. */
export const listenerOf = <Progress>(
  { log }: Pick<TransferContext, 'log'>,
  onProgress: ((progress: Progress) => void) | undefined,
): ((progress: Progress) => void) | undefined =>
  onProgress &&
  (async (progress) => {
    try {
      await onProgress(progress);
    } catch (error) {
      log('warn', `called onProgress, which failed: ${error}`);
    }
  });
