/**
 * A session over a server alone, where there is no IndexedDB: while the server does not answer, calls reject.
 */
import { StorageError } from '../core/errors.ts';
import { type ServerSessionOptions, type Session, statusOf } from '../core/session.ts';
import { createFlaskBackend } from './backend.ts';

/** A session with the server at `serverUrl`. */
export function createRemoteSession({ serverUrl, timeout, token, log }: ServerSessionOptions): Session {
  const backend = createFlaskBackend(serverUrl, timeout, token);
  let away = `${serverUrl} was not asked yet`;
  const status = () => {
    const detected = backend.detected();
    return statusOf({
      state: detected ? 'online' : 'offline',
      level: detected?.level,
      reason: detected?.reason ?? away,
    });
  };
  return {
    ...backend,
    get type() {
      return status().backend;
    },
    status,
    async open() {
      const isFirst = backend.detected() === undefined;
      await backend.open().catch((error: StorageError) => {
        away = `the server cannot be used: ${error.message}`;
        throw error;
      });
      if (isFirst) log('info', `uses the Flask backend at ${serverUrl}`);
    },
    async ready(isFirst) {
      if (!isFirst) await backend.open();
    },
    flush: async () => {},
    conflicts: async () => [],
    forget: async () => {},
    async resolve(key) {
      throw new StorageError('invalid-option', `Key ${key} has no conflict: see conflicts().`);
    },
  };
}
