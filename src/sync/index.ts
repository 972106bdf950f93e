/**
 * The part of the package that talks to a server. It is loaded with the first call that needs one.
 */
import { findIndexedDb } from '../core/platform.ts';
import type { ServerSessionOptions, Session } from '../core/session.ts';
import { createRemoteSession } from '../remote/session.ts';
import { createSyncedSession } from './session.ts';

export { createFlaskBackend, type FlaskBackend } from '../remote/backend.ts';
export { changedSince, position } from '../remote/level1/changes.ts';
export { askToken } from '../remote/token.ts';

/** A session with a server: with an outbox and a mirror where there is IndexedDB for them. */
export const createServerSession = (options: ServerSessionOptions): Session =>
  findIndexedDb() === undefined ? createRemoteSession(options) : createSyncedSession(options);
