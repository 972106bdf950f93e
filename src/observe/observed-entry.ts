/**
 * One key of a storage as views show it: its value, whether it is read or written now, and what has failed.
 *
 * The value is what `watch()` tells, so that it never goes back to an older one. Values that are being written are shown over it. When
 * the last of them is stored, the key is watched anew: what is told from then on contains them.
 */
import type { NamespacedStorage } from '../api.ts';
import type { StorageError } from '../core/errors.ts';

/** How a key and a view stand. */
export interface EntryState {
  /**
   * `loading` until the key was read; `saving` while the value that is shown is being written; `error` if the key could not be read or
   * written; else `ready`.
   */
  readonly state: 'loading' | 'ready' | 'saving' | 'error';
  /**
   * Why the state is `error`. A failed read is forgotten when the next change is told. It is repeated when the server is reachable again
   * and when another view subscribes. A failed write is forgotten with the next one.
   */
  readonly error: StorageError | undefined;
}

/** What is shown of a key: the same object until something changes. */
export interface ShownEntry extends EntryState {
  /** The value; `undefined` if there is none, or if it is not known yet. */
  readonly value: unknown;
}

/** A new value, or a function that makes it of the current one. */
export type Next = unknown | ((current: unknown) => unknown);

/** A key that is watched while somebody listens. */
export interface ObservedEntry {
  get(): ShownEntry;
  /** Calls `listener` after each change of what is shown. Returns what ends that. */
  subscribe(listener: () => void): () => void;
  /**
   * Stores a value. It is shown at once, and no longer if the write fails.
   *
   * @param initial Stands for a missing value when `next` is a function.
   */
  set(next: Next, initial: unknown): Promise<void>;
}

/** Observes `key` of `storage`. */
export function observeEntry(storage: NamespacedStorage, key: string): ObservedEntry {
  const listeners = new Set<() => void>();
  /** The values that are being written, the oldest first. */
  const writes: Array<{ value: unknown }> = [];
  let stored: unknown;
  let isKnown = false;
  let readError: StorageError | undefined;
  let writeError: StorageError | undefined;
  let shown: ShownEntry = { value: undefined, state: 'loading', error: undefined };
  let stop = (): void => {};

  function show(): void {
    const write = writes.at(-1);
    const value = write ? write.value : stored;
    const error = writeError ?? readError;
    const state = error ? 'error' : write ? 'saving' : isKnown ? 'ready' : 'loading';
    if (Object.is(value, shown.value) && state === shown.state && error === shown.error) return;
    shown = { value, state, error };
    for (const listener of [...listeners]) listener();
  }

  function accept(value: unknown): void {
    stored = value;
    isKnown = true;
    readError = undefined;
    show();
  }

  function fail(error: StorageError): void {
    readError = error;
    show();
  }

  /** Watches the key from now on, beginning with its present value. */
  function watch(): void {
    const stopBefore = stop;
    const ends = new AbortController();
    const { signal } = ends;
    let { state } = storage.status();
    const unwatchStatus = storage.watchStatus((status) => {
      const isBack = status.state === 'online' && state !== 'online';
      state = status.state;
      if (isBack && readError) watch();
    });
    stop = () => {
      unwatchStatus();
      ends.abort();
    };
    try {
      let isUnread = false;
      storage.watch(
        key,
        ({ value }) => {
          isUnread = false;
          accept(value);
        },
        {
          signal,
          immediate: true,
          onError() {
            // Where the database of this device fails, the server may answer.
            isUnread = true;
            const isNeeded = () => isUnread && !signal.aborted;
            storage.get(key).then(
              (value) => isNeeded() && accept(value),
              (error) => isNeeded() && fail(error),
            );
          },
        },
      );
    } catch (error) {
      fail(error as StorageError);
    }
    // After the new one has begun, so that the storage goes on following the server.
    stopBefore();
  }

  async function save(write: { value: unknown }, storing: () => Promise<unknown>): Promise<void> {
    writeError = undefined;
    writes.push(write);
    show();
    try {
      await storing();
      stored = write.value;
      isKnown = true;
    } catch (error) {
      writeError = error as StorageError;
      throw error;
    } finally {
      writes.splice(writes.indexOf(write), 1);
      if (writes.length === 0 && listeners.size > 0) watch();
      show();
    }
  }

  return {
    get: () => shown,
    subscribe(listener) {
      const own = (): void => listener();
      listeners.add(own);
      if (listeners.size === 1 || readError) {
        watch();
        // A server of level 0 does not tell what others change. What is read of it is told.
        if (storage.status().state !== 'local') storage.get(key).catch(() => {});
      }
      return () => {
        if (listeners.delete(own) && listeners.size === 0) stop();
      };
    },
    set(next, initial) {
      const write = { value: next };
      let storing = (): Promise<unknown> => storage.set(key, next);
      if (typeof next === 'function') {
        const change = (current: unknown): unknown => next(current === undefined ? initial : current);
        write.value = change(shown.value);
        storing = async () => {
          write.value = await storage.update(key, change);
        };
      }
      const saving = save(write, storing);
      // Who does not wait for it sees the error in what is shown.
      saving.catch(() => {});
      return saving;
    },
  };
}
