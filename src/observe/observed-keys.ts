/**
 * A list of keys as views show it. It is listed again after each change that may have added or removed one of them.
 */

import type { NamespacedStorage } from '../api.ts';
import type { ListOptions } from '../call-options.ts';
import type { StorageError } from '../core/errors.ts';
import { createSource, type Kept, type Source } from './source.ts';

/** What is shown of a list: the same object until something changes. */
export interface ShownKeys {
  /** The keys; those that were listed last, after an error. */
  readonly keys: readonly string[];
  /** `loading` until the keys were listed, `error` if that fails, else `ready`. */
  readonly state: 'loading' | 'ready' | 'error';
  /** Why the state is `error`: the keys could not be listed. */
  readonly error: StorageError | undefined;
}

/** What is shown before the keys were listed. */
export const NOT_LISTED: ShownKeys = { keys: [], state: 'loading', error: undefined };

/** Observes the keys that `storage.keys(options)` lists. They are watched while somebody listens. */
export function observeKeys(
  storage: NamespacedStorage,
  options: ListOptions = {},
  kept: Kept,
): Source<ShownKeys> {
  let isListing = false;
  /** Whether something has changed since the list under way was asked for. */
  let isStale = false;
  const { get, subscribe, show, isWatching } = createSource(storage, kept, NOT_LISTED, (signal) => {
    const heard = ({
      type,
      key = '',
    }: {
      readonly type: string;
      readonly key?: string | undefined;
    }): void => {
      // A key that is listed has another value, or one that is not is gone.
      const isUnchanged = type !== 'clear' && (type === 'set') === get().keys.includes(key);
      if (isListing || !isUnchanged) void list();
    };
    try {
      storage.watch({ prefix: options.prefix ?? '' }, heard, { signal, onError: list });
    } catch {
      // The list fails in the same way.
    }
    void list();
  });

  async function list(): Promise<void> {
    isStale = true;
    if (isListing) return;
    isListing = true;
    while (isStale && isWatching()) {
      isStale = false;
      const { keys } = get();
      await storage.keys(options).then(
        (now) => {
          // No key contains U+0000.
          const isSame = now.join('\0') === keys.join('\0');
          show({ keys: isSame ? keys : now, state: 'ready', error: undefined });
        },
        (error) => show({ keys, state: 'error', error }),
      );
    }
    isListing = false;
  }

  return { get, subscribe };
}
