/**
 * A server, as a storage uses it: with sync where there is IndexedDB, else alone.
 */
import type { Backend, BackendType } from '../core/backend.ts';
import type { Conflict, Resolution } from '../core/conflict.ts';
import { StorageError } from '../core/errors.ts';
import { runPortable } from '../core/keys.ts';
import type { StorageStatus } from '../core/session.ts';
import { createFlaskBackend, type FlaskBackend } from '../remote/backend.ts';
import { createSync, type SyncOptions } from './sync.ts';

/** A server in use. */
export interface Served extends Backend {
  /** The server itself. */
  readonly server: FlaskBackend;
  status(): StorageStatus;
  /**
   * Resolves when something serves.
   *
   * @param opened Whether it was opened just now.
   * @throws {StorageError} where nothing does.
   */
  ready(opened: boolean): Promise<void>;
  /** @throws {StorageError} `unavailable`, `forbidden` */
  flush(): Promise<void>;
  conflicts(): Promise<Conflict[]>;
  /** @throws {StorageError} `invalid-option`, `unsupported-value`, `quota` */
  resolve(key: string, choice: Resolution): Promise<void>;
}

/** The server of `options`. */
export function createServed(options: SyncOptions): Served {
  const served = typeof indexedDB === 'undefined' ? createAlone(options) : createSync(options);
  const { run } = served;
  return Object.assign(served, {
    run: (operations) => runPortable(run, operations),
  } satisfies Partial<Served>);
}

/** A server with nothing behind it: where it does not answer, calls reject. */
function createAlone({ serverUrl, timeout, token, log }: SyncOptions): Served {
  const flask = createFlaskBackend(serverUrl, timeout, token);
  let away = `${serverUrl} was not asked yet`;
  return {
    ...flask,
    get type() {
      return typeOf(flask);
    },
    server: flask,
    async open() {
      const first = flask.detected() === undefined;
      await flask.open().catch((error: StorageError) => {
        away = `the server cannot be used: ${error.message}`;
        throw error;
      });
      if (first) log('info', `uses the Flask backend at ${serverUrl}`);
    },
    async ready(opened) {
      if (!opened) await flask.open();
    },
    status: () => ({
      backend: typeOf(flask),
      state: flask.detected() ? 'online' : 'offline',
      level: flask.detected()?.level,
      pending: 0,
      conflicts: 0,
      lastSyncAtMs: undefined,
      reason: flask.detected()?.reason ?? away,
    }),
    flush: async () => {},
    conflicts: async () => [],
    async resolve(key) {
      throw new StorageError('invalid-option', `Key ${key} has no conflict: see conflicts().`);
    },
  };
}

/** Nobody serves until the server has answered. */
const typeOf = (flask: FlaskBackend): BackendType => (flask.detected() ? 'flask' : 'indexeddb');
