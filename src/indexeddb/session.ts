/**
 * A session over IndexedDB alone: no server is configured, so the outbox is always empty and there are no conflicts.
 */
import { StorageError } from '../core/errors.ts';
import { type Session, statusOf } from '../core/session.ts';
import type { WatchedBackend } from './backend.ts';

/** A session over a backend of this origin, and why it is this one. The caller closes the backend. */
export const createLocalSession = (backend: WatchedBackend, reason: string): Session => ({
  ...backend,
  status: () =>
    statusOf({
      state: 'local',
      reason: backend.hearsOthers()
        ? reason
        : `${reason}; watch() hears only this tab, because this browser has no channel to the others`,
    }),
  account: () => undefined,
  ready: () => backend.open(),
  flush: async () => {},
  conflicts: async () => [],
  forget: async () => {},
  async resolve(key) {
    throw new StorageError('invalid-option', `Key ${key} has no conflict: there are none without a server.`);
  },
});
