/**
 * A key of a storage as a store that views subscribe to, for any framework and for none.
 *
 * @module
 */
import type { KeyOf, NamespacedStorage, Unchecked, ValueOf } from '../api.ts';
import { type EntryState, observeEntry } from './observed-entry.ts';

export type { EntryState } from './observed-entry.ts';

/** How to observe a key. */
export interface ObserveOptions<Initial> {
  /** What is shown until the key was read, and while it does not exist. Default `undefined`. */
  readonly initial?: Initial;
}

/** Is called with the value, and with what is known about it. */
export type ObserveListener<Value> = (value: Value, state: EntryState) => void;

/** An observer as Observables take it. Only its `next` is called: `error` would end an Observable, and this one goes on. */
export interface ValueObserver<Value> {
  /** Is called with each value. */
  readonly next?: ((value: Value) => void) | null | undefined;
}

/** What ends a subscription: as a function, or as an object with that method. */
export interface Unsubscribe {
  (): void;
  /** The same. */
  unsubscribe(): void;
}

/** A key as a store. Its methods can be passed around without the object. */
export interface Observed<Value, Initial = undefined> {
  /** Returns the value that is shown. It is current while somebody subscribes. Do not modify it. */
  get(): Value | Initial;
  /**
   * Stores a value, or what a function makes of the current one, which `update` of the storage does. The value is shown at once. If the
   * write fails, the stored one is shown again, and the state is `error`. A rejection that nobody handles is not reported.
   *
   * @throws {StorageError} As `set`, and as `update` for a function.
   */
  set(next: Value | ((current: Value | Initial) => Value)): Promise<void>;
  /**
   * Calls `listener` at once, and again whenever the value or its state has changed. The first subscription begins to watch the key. When
   * the last one has ended, that ends too.
   *
   * @returns A function that ends this. It has itself as its method `unsubscribe`.
   */
  subscribe(listener: ObserveListener<Value | Initial> | ValueObserver<Value | Initial>): Unsubscribe;
}

/**
 * Observes a key: a Svelte store, and a source for Vue's `customRef`, Solid's `from`, Angular's `toSignal` and plain code. Nothing is
 * read before somebody subscribes.
 *
 * - The value is shared with the listeners of `watch()`: it changes with each committed change of the key, of this tab, of other tabs
 *   and of other clients. It never goes back from a newer value to an older one.
 * - No failure is thrown. While the key cannot be read, the last value is shown, and the state is `error`.
 *
 * @param storage A storage or a namespace of one.
 */
export function observe<
  Value extends Unchecked<Schema> = never,
  Schema extends object = Record<string, unknown>,
  Key extends KeyOf<Schema> = KeyOf<Schema>,
  Initial extends ValueOf<Schema, Key, Value> | null = ValueOf<Schema, Key, Value>,
>(
  storage: NamespacedStorage<Schema>,
  key: Key,
  options: ObserveOptions<Initial> & { readonly initial: Initial },
): Observed<ValueOf<Schema, Key, Value>, Initial>;
/** Observes a key, which is `undefined` until it was read. */
export function observe<
  Value extends Unchecked<Schema> = never,
  Schema extends object = Record<string, unknown>,
  Key extends KeyOf<Schema> = KeyOf<Schema>,
>(
  storage: NamespacedStorage<Schema>,
  key: Key,
  options?: ObserveOptions<undefined>,
): Observed<ValueOf<Schema, Key, Value>>;
export function observe(
  storage: NamespacedStorage,
  key: string,
  { initial }: ObserveOptions<unknown> = {},
): Observed<unknown, unknown> {
  const entry = observeEntry(storage, key, { keptMs: 0, dropped() {} });
  const get = (): unknown => {
    const { value } = entry.get();
    return value === undefined ? initial : value;
  };
  return {
    get,
    set: (next) => entry.set(next, initial),
    subscribe(listener) {
      let told: EntryState | undefined;
      const tell = (): void => {
        const shown = entry.get();
        if (shown === told) return;
        told = shown;
        if (typeof listener === 'function') listener(get(), shown);
        else listener.next?.(get());
      };
      const end = entry.subscribe(tell);
      tell();
      return Object.assign(() => end(), { unsubscribe: end });
    },
  };
}
