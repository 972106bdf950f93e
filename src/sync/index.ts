/**
 * The part `server` of the package. It is loaded with the first call that needs a server.
 */
import { runPortable } from '../core/keys.ts';
import { findIndexedDb } from '../core/platform.ts';
import type { ServerSessionOptions, Session } from '../core/session.ts';
import { createRemoteSession } from '../remote/session.ts';
import { createSyncedSession } from './session.ts';

export { createFlaskBackend, type FlaskBackend } from '../remote/backend.ts';
export { askToken } from '../remote/http.ts';
export { changedSince, position } from '../remote/level1/changes.ts';
export { discardEntry, listOutboxes } from './outbox/entries.ts';

/**
 * A session with a server, with an outbox and a mirror if there is IndexedDB. Operations on keys that no server can store are rejected
 * one by one.
 */
export function createServerSession(options: ServerSessionOptions): Session {
  const session = findIndexedDb() === undefined ? createRemoteSession(options) : createSyncedSession(options);
  const { run } = session;
  return Object.assign(session, {
    run: (operations, options) => runPortable((portable) => run(portable, options), operations),
  } satisfies Partial<Session>);
}
