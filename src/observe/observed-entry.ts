/**
 * One key of a storage as views show it: its value, whether it is read or written now, and what has failed.
 *
 * The value is what `watch()` tells, so that it never goes back to an older one. Values that are being written are shown over it. When
 * the last of them is stored, the key is watched anew: what is told from then on contains them.
 */
import type { NamespacedStorage } from '../api.ts';
import type { StorageError } from '../core/errors.ts';
import { createSource, type Kept, type Source } from './source.ts';

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
export interface ObservedEntry extends Source<ShownEntry> {
  /**
   * Stores a value. It is shown at once, and no longer if the write fails.
   *
   * @param initial Stands for a missing value when `next` is a function.
   */
  set(next: Next, initial: unknown): Promise<void>;
}

/** What is shown before a key was read. */
export const NOT_READ: ShownEntry = { value: undefined, state: 'loading', error: undefined };

/** Observes `key` of `storage`. */
export function observeEntry(storage: NamespacedStorage, key: string, kept: Kept): ObservedEntry {
  /** The values that are being written, the oldest first. */
  const writes: Array<{ value: unknown }> = [];
  let stored: unknown;
  let isKnown = false;
  let readError: StorageError | undefined;
  let writeError: StorageError | undefined;
  const { get, subscribe, show, isWatching, restart } = createSource(
    storage,
    kept,
    NOT_READ,
    (signal, isFirst) => {
      /** Whether the storage could not tell the value. Where the database of this device fails, the server may answer. */
      let isUntold = false;
      const isNeeded = (): boolean => isUntold && !signal.aborted;
      const read = (): Promise<unknown> =>
        storage.get(key).then(
          (value) => isNeeded() && accept(value),
          (error) => isNeeded() && fail(error),
        );
      try {
        storage.watch(
          key,
          ({ value }) => {
            isUntold = false;
            accept(value);
          },
          {
            signal,
            immediate: true,
            onError() {
              isUntold = true;
              void read();
            },
          },
        );
      } catch (error) {
        // Listeners hear it later, as of any other failed read.
        Promise.reject(error).catch(fail);
      }
      // A server of level 0 does not tell what others change. What is read of it is told.
      if (isFirst && storage.status().state !== 'local') void read();
    },
  );

  function update(): void {
    const write = writes.at(-1);
    const error = writeError ?? readError;
    show({
      value: write ? write.value : stored,
      state: error ? 'error' : write ? 'saving' : isKnown ? 'ready' : 'loading',
      error,
    });
  }
  function accept(value: unknown): void {
    stored = value;
    isKnown = true;
    readError = undefined;
    update();
  }
  function fail(error: StorageError): void {
    readError = error;
    update();
  }

  async function save(write: { value: unknown }, storing: () => Promise<unknown>): Promise<void> {
    writeError = undefined;
    writes.push(write);
    update();
    try {
      await storing();
      stored = write.value;
      isKnown = true;
    } catch (error) {
      writeError = error as StorageError;
      throw error;
    } finally {
      writes.splice(writes.indexOf(write), 1);
      if (writes.length === 0 && isWatching()) restart();
      update();
    }
  }

  return {
    get,
    subscribe,
    set(next, initial) {
      const write = { value: next };
      let storing = (): Promise<unknown> => storage.set(key, next);
      if (typeof next === 'function') {
        const change = (current: unknown): unknown => next(current === undefined ? initial : current);
        write.value = change(get().value);
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
