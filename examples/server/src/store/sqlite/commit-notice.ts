/**
 * Notifies listeners of commits.
 *
 * Commits of other processes to the same file are found by polling SQLite's data version, and only while there are
 * listeners.
 */
import type { DatabaseSync } from 'node:sqlite';

/** Milliseconds. */
const POLL_INTERVAL = 100;

export interface CommitNotice {
  /** This process has committed. */
  committed(): void;
  /** Calls `listener` after commits. Returns a function that ends this. */
  listen(listener: () => void): () => void;
  stop(): void;
}

export function createCommitNotice(database: DatabaseSync): CommitNotice {
  const readVersion = database.prepare('PRAGMA data_version');
  const listeners = new Set<() => void>();
  let timer: ReturnType<typeof setInterval> | undefined;
  let version: unknown;

  const notify = (): void => {
    for (const listener of [...listeners]) listener();
  };
  const stop = (): void => {
    clearInterval(timer);
    timer = undefined;
  };
  const poll = (): void => {
    const current = readVersion.get()?.data_version;
    if (current === version) return;
    version = current;
    notify();
  };

  return {
    committed: notify,
    listen(listener) {
      listeners.add(listener);
      if (timer === undefined) {
        version = readVersion.get()?.data_version;
        timer = setInterval(poll, POLL_INTERVAL);
      }
      return () => {
        listeners.delete(listener);
        if (listeners.size === 0) stop();
      };
    },
    stop,
  };
}
