'use client';
/**
 * Hooks of React for the values, the keys and the status of a storage.
 *
 * @module
 */
import { useCallback, useSyncExternalStore } from 'react';
import type { KeyOf, KeyWith, NamespacedStorage, Unchecked, ValueOf } from '../api.ts';
import type { ListOptions } from '../call-options.ts';
import type { StorageError } from '../core/errors.ts';
import type { StorageStatus } from '../core/session.ts';
import { type EntryState, NOT_READ, observeEntry } from '../observe/observed-entry.ts';
import { NOT_LISTED, observeKeys, type ShownKeys } from '../observe/observed-keys.ts';
import { nextChange, sharedSource } from './shared-source.ts';

export type { EntryState, ShownKeys };

/** The status on a server. Nothing of it may depend on the storage there: the page must begin with the same. */
const NOT_ASKED: StorageStatus = {
  backend: 'indexeddb',
  state: 'offline',
  level: undefined,
  pending: 0,
  conflicts: 0,
  lastSyncAtMs: undefined,
  reason: '',
};

/** How a component uses a key. */
export interface StoredOptions<Initial> {
  /** What is shown until the key was read, while it does not exist, and on a server. Default `undefined`. */
  readonly initial?: Initial;
  /** Whether the component suspends until the key was read. It needs a `<Suspense>`, whose fallback a server renders. Default `false`. */
  readonly suspense?: boolean | undefined;
}

/** Stores a value, or what a function makes of the current one. Rejects as `set` or `update` of the storage does. */
export type SetStored<Value, Initial> = (
  next: Value | ((current: Value | Initial) => Value),
) => Promise<void>;

/** What {@link useStored} returns. */
export type Stored<Value, Initial> = readonly [
  value: Value | Initial,
  set: SetStored<Value, Initial>,
  state: EntryState['state'],
  error: StorageError | undefined,
];

/**
 * The value of a key, which the component shows and changes. It renders again with each committed change of this key: of this tab, of
 * other tabs and of other clients. All components of a page that use a key of the same storage show the same value.
 *
 * - `set` shows the value at once and stores it. If the write fails, the stored value is shown again, and the state is `error`. Its
 *   promise rejects too; a rejection that nobody handles is not reported. A function is carried out by `update`, so that no step is lost.
 * - The state is `loading` until the key was read, `saving` while a value is being written, `error` after a failure, else `ready`.
 * - A failed read does not throw. It is repeated when the server is reachable again, and forgotten with the next change.
 * - On a server, and while its page is hydrated, `initial` is shown.
 *
 * @param storage A storage or a namespace of one. Create it outside of components: another object is another storage.
 */
export function useStored<
  Value extends Unchecked<Schema> = never,
  Schema extends object = Record<string, unknown>,
  Key extends KeyOf<Schema> = KeyOf<Schema>,
  Initial extends ValueOf<Schema, Key, Value> | null = ValueOf<Schema, Key, Value>,
>(
  storage: NamespacedStorage<Schema>,
  key: Key,
  options: StoredOptions<Initial> & { readonly initial: Initial },
): Stored<ValueOf<Schema, Key, Value>, Initial>;
/** The value of a key, which is `undefined` until it was read. */
export function useStored<
  Value extends Unchecked<Schema> = never,
  Schema extends object = Record<string, unknown>,
  Key extends KeyOf<Schema> = KeyOf<Schema>,
>(
  storage: NamespacedStorage<Schema>,
  key: Key,
  options?: StoredOptions<undefined>,
): Stored<ValueOf<Schema, Key, Value>, undefined>;
export function useStored(
  storage: NamespacedStorage,
  key: string,
  { initial, suspense = false }: StoredOptions<unknown> = {},
): Stored<unknown, unknown> {
  const entry = sharedSource(storage, `entry ${key}`, (kept) => observeEntry(storage, key, kept));
  const { value, state, error } = useSyncExternalStore(entry.subscribe, entry.get, () => {
    if (suspense) throw new Error('A server renders the fallback');
    return NOT_READ;
  });
  if (suspense && state === 'loading') throw nextChange(entry);
  const set = useCallback((next: unknown) => entry.set(next, initial), [entry, initial]);
  return [value === undefined ? initial : value, set, state, error];
}

/** What {@link useKeys} returns. */
export type StoredKeys<Key extends string> = readonly [
  keys: readonly Key[],
  state: ShownKeys['state'],
  error: StorageError | undefined,
];

/**
 * The keys that `storage.keys(options)` lists. The component renders again when a key is added or removed, not when a value changes.
 *
 * The state is `loading`, with an empty list, until they were listed, `error` with the last list if that fails, else `ready`.
 *
 * @param storage A storage or a namespace of one. Create it outside of components.
 */
export function useKeys<Schema extends object, const Prefix extends string = string>(
  storage: NamespacedStorage<Schema>,
  options?: ListOptions<Prefix>,
): StoredKeys<KeyWith<Schema, NoInfer<Prefix>>> {
  const source = sharedSource(storage, `keys ${JSON.stringify(options)}`, (kept) =>
    observeKeys(storage as unknown as NamespacedStorage, options, kept),
  );
  const { keys, state, error } = useSyncExternalStore(source.subscribe, source.get, () => NOT_LISTED);
  return [keys as ReadonlyArray<KeyWith<Schema, Prefix>>, state, error];
}

/** The status of a storage: see `status()`. On a server, and while its page is hydrated, nothing is known of the server and the outbox. */
export function useStorageStatus(storage: Pick<NamespacedStorage, 'status' | 'watchStatus'>): StorageStatus {
  return useSyncExternalStore(storage.watchStatus, storage.status, () => NOT_ASKED);
}
