/**
 * Notifies the listeners of a tenant of commits.
 *
 * Commits of other processes to the same file are found by polling SQLite's data version, and only while there are
 * listeners. Then one query for each tenant that has listeners finds whose data has changed.
 *
 * Nothing here throws. When the database cannot be read, all listeners are called: they read it themselves, and see why.
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

interface Watched {
  readonly listeners: Set<() => void>;
  /** The sequence number when another process was last found to have committed. */
  seq: unknown;
}

export function createCommitNotice(database: DatabaseSync): CommitNotice {
  const readVersion = database.prepare('PRAGMA data_version');
  const readSeq = database.prepare('SELECT seq FROM tenants WHERE tenant = ?');
  const watched = new Map<string, Watched>();
  let timer: ReturnType<typeof setInterval> | undefined;
  /** `undefined`: nothing is known. */
  let version: unknown;

  const notify = (tenants: Iterable<string>): void => {
    for (const tenant of new Set(tenants))
      for (const listener of [...(watched.get(tenant)?.listeners ?? [])]) listener();
  };
  const stop = (): void => {
    clearInterval(timer);
    timer = undefined;
  };
  /** The tenants whose data another process may have changed. */
  const changed = (): string[] => {
    try {
      const current = readVersion.get()?.data_version;
      if (current === version) return [];
      version = current;
      return [...watched].flatMap(([tenant, state]) => {
        const before = state.seq;
        state.seq = readSeq.get(tenant)?.seq;
        return state.seq === before ? [] : [tenant];
      });
    } catch {
      version = undefined;
      return [...watched.keys()];
    }
  };

  return {
    committed: notify,
    listen(tenant, listener) {
      const state = watched.get(tenant) ?? { listeners: new Set(), seq: undefined };
      watched.set(tenant, state);
      state.listeners.add(listener);
      timer ??= setInterval(() => notify(changed()), POLL_INTERVAL);
      return () => {
        if (!state.listeners.delete(listener) || state.listeners.size > 0) return;
        watched.delete(tenant);
        if (watched.size === 0) stop();
      };
    },
    stop,
  };
}
