/**
 * Notifies the listeners of a tenant of commits.
 *
 * Commits of other processes to the same file are found by polling SQLite's data version, and only while there are
 * listeners. It does not say whose data has changed, so they notify the listeners of all tenants.
 */
import type { DatabaseSync } from 'node:sqlite';

/** Milliseconds. */
const POLL_INTERVAL = 100;

export interface CommitNotice {
  /** This process has committed changes of these tenants. */
  committed(tenants: Iterable<string>): void;
  /** Calls `listener` after commits. Returns a function that ends this. */
  listen(tenant: string, listener: () => void): () => void;
  stop(): void;
}

export function createCommitNotice(database: DatabaseSync): CommitNotice {
  const readVersion = database.prepare('PRAGMA data_version');
  const listeners = new Map<string, Set<() => void>>();
  let timer: ReturnType<typeof setInterval> | undefined;
  let version: unknown;

  const notify = (tenants: Iterable<string>): void => {
    for (const tenant of new Set(tenants))
      for (const listener of [...(listeners.get(tenant) ?? [])]) listener();
  };
  const stop = (): void => {
    clearInterval(timer);
    timer = undefined;
  };
  const poll = (): void => {
    const current = readVersion.get()?.data_version;
    if (current === version) return;
    version = current;
    notify(listeners.keys());
  };

  return {
    committed: notify,
    listen(tenant, listener) {
      const own = listeners.get(tenant) ?? new Set();
      listeners.set(tenant, own.add(listener));
      if (timer === undefined) {
        version = readVersion.get()?.data_version;
        timer = setInterval(poll, POLL_INTERVAL);
      }
      return () => {
        if (!own.delete(listener)) return;
        if (own.size === 0) listeners.delete(tenant);
        if (listeners.size === 0) stop();
      };
    },
    stop,
  };
}
