/**
 * Tells those who wait for changes that something was committed.
 *
 * What another process commits to the same file is seen by asking SQLite for its data version, a few times a second
 * and only while somebody waits.
 */
import type { DatabaseSync } from 'node:sqlite';

const ASK_EVERY = 100;

/** Commits, as they happen. */
export interface CommitNotice {
  /** This process has committed. */
  committed(): void;
  /** Call `listener` after commits until the function that is returned is called. */
  listen(listener: () => void): () => void;
  stop(): void;
}

export function createCommitNotice(database: DatabaseSync): CommitNotice {
  const readVersion = database.prepare('PRAGMA data_version');
  const listeners = new Set<() => void>();
  let timer: ReturnType<typeof setInterval> | undefined;
  let version: unknown;

  const tell = (): void => {
    for (const listener of [...listeners]) listener();
  };
  const stop = (): void => {
    clearInterval(timer);
    timer = undefined;
  };
  const ask = (): void => {
    const now = readVersion.get()?.data_version;
    if (now === version) return;
    version = now;
    tell();
  };

  return {
    committed: tell,
    listen(listener) {
      listeners.add(listener);
      if (timer === undefined) {
        version = readVersion.get()?.data_version;
        timer = setInterval(ask, ASK_EVERY);
      }
      return () => {
        listeners.delete(listener);
        if (listeners.size === 0) stop();
      };
    },
    stop,
  };
}
