/**
 * What the tools of a storage work with: migration, backup and adoption are loaded when an app calls for them.
 */

import type { Backend } from '../core/backend.ts';
import type { ResolvedOptions } from '../core/options.ts';
import type { Served } from '../sync/served.ts';
import type { SyncOptions } from '../sync/sync.ts';

/** What a storage has open. */
export type Closable = Pick<Backend, 'close'>;

/** A storage, as its tools see it. */
export interface Workshop extends Omit<ResolvedOptions, 'serverUrl'>, Pick<SyncOptions, 'log'> {
  readonly indexedDb: Backend;
  /** The backend in use, when everything that was called before is done. */
  inTurn(): Promise<Backend>;
  /** Run `task` while no call of this storage is under way, and none begins. */
  alone<T>(task: () => Promise<T>): Promise<T>;
  /** The server in use, once the backend is chosen. */
  served(): Served | undefined;
  serverUrl(): string | undefined;
  /** Have something closed with the storage. */
  keep<T extends Closable>(one: T): T;
  /** Close one before that. */
  letGo(one: Closable): Promise<void>;
  /** Use the server at a URL from now on, or IndexedDB. */
  use(serverUrl: string | undefined): Promise<void>;
}

/** The app's listener; what it throws is logged. */
export const listenerOf = <Progress>(
  { log }: Pick<Workshop, 'log'>,
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
