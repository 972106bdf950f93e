/**
 * A storage with the verbs of Web Storage, as most libraries take it, but with promises. Its items are text, or objects.
 *
 * @see https://html.spec.whatwg.org/multipage/webstorage.html
 */
import { StorageError } from '../core/errors.ts';
import { type AnyStorage, checkArguments } from './arguments.ts';

/** Which keys of the storage an adapter uses. */
export interface ItemOptions {
  /**
   * Text before each key in the storage. The adapter sees only the keys that begin with it. It is not separated from the rest: include a
   * delimiter such as `:`. Default: none, so the adapter uses the keys of the whole storage.
   */
  readonly prefix?: string | undefined;
}

/**
 * Items by key. Each method reads or writes the storage, and rejects with the {@link StorageError} of the storage's own call. The
 * methods can be passed around without the object.
 *
 * @typeParam Value Text or an object.
 */
export interface ItemStorage<Value> {
  /**
   * Reads an item, or `null` if there is none.
   *
   * @throws {StorageError} `invalid-key`; `unsupported-value` if the stored value is not an item of this adapter.
   */
  getItem(key: string): Promise<Value | null>;
  /**
   * Stores an item and replaces any previous one. Resolves when the write is committed, as `set` of the storage does.
   *
   * @throws {StorageError} `invalid-key`; `unsupported-value` if the value is not an item of this adapter; `quota` and the others of `set`.
   */
  setItem(key: string, value: Value): Promise<void>;
  /**
   * Deletes an item. A key that does not exist is no error.
   *
   * @throws {StorageError} `invalid-key`
   */
  removeItem(key: string): Promise<void>;
  /**
   * Lists all items of the adapter. TanStack Query's `experimental_createQueryPersister` removes old queries with it.
   *
   * @throws {StorageError} `unsupported-value` if a stored value is not an item of this adapter.
   */
  entries(): Promise<Array<[key: string, value: Value]>>;
}

/** What zustand stores: a store's state, and the option `version` of its middleware. */
export interface StoredState<State> {
  /** The state, as the option `partialize` returns it. */
  state: State;
  /** The version of the state's layout, for the option `migrate`. */
  version?: number;
}

/**
 * Items that are text: for redux-persist, TanStack Query's persisters, Supabase's client (`auth.storage`), and
 * `createJSONStorage(() => …)` of zustand.
 *
 * @param storage A storage or a namespace of one. The adapter does not close it.
 * @throws {StorageError} `invalid-option`, at once, if there is no storage or an option is wrong.
 */
export function asAsyncStorage(storage: AnyStorage, options?: ItemOptions): ItemStorage<string> {
  const call = 'asAsyncStorage()';
  return createItems(
    call,
    storage,
    options,
    (value, key) => {
      if (typeof value === 'string') return value;
      throw unsupported(
        `${call} stores text, but the value of item ${key} has the type ${typeof value}. Pass text, for example from JSON.stringify(), or use asStateStorage(), which stores objects.`,
      );
    },
    (stored, key) => {
      if (typeof stored === 'string') return stored;
      throw unsupported(
        `${call} reads text, but item ${key} is a value of the type ${typeof stored} that something else has stored. Give this adapter a prefix of its own.`,
      );
    },
  );
}

/**
 * Items that are objects: for zustand's option `storage`, in place of `createJSONStorage`, and for redux-persist with `serialize: false`.
 * No text is made of them, so everything that the storage can hold survives: Date, Map, Set, bigint, cycles and others.
 *
 * Functions that are direct members of `state` are left out, because zustand keeps a store's actions beside its state. An item that
 * `asAsyncStorage` has stored is parsed as JSON, so that a store can move from `createJSONStorage` to this and keep its state.
 *
 * @param storage A storage or a namespace of one. The adapter does not close it.
 * @typeParam State What zustand stores. It is inferred.
 * @throws {StorageError} `invalid-option`, at once, if there is no storage or an option is wrong.
 */
export function asStateStorage<State>(
  storage: AnyStorage,
  options?: ItemOptions,
): ItemStorage<StoredState<State>> {
  const call = 'asStateStorage()';
  return createItems(
    call,
    storage,
    options,
    (value, key) => {
      if (typeof value === 'object' && value !== null) return withoutActions(value);
      throw unsupported(
        `${call} stores objects, but the value of item ${key} has the type ${typeof value}. Pass an object, or use asAsyncStorage(), which stores text.`,
      );
    },
    (stored, key) => {
      if (typeof stored !== 'string') return stored as StoredState<State>;
      try {
        return JSON.parse(stored) as StoredState<State>;
      } catch (cause) {
        throw unsupported(
          `${call} reads objects, but item ${key} is text that something else has stored. Give this adapter a prefix of its own.`,
          { cause },
        );
      }
    },
  );
}

function createItems<Value>(
  call: string,
  storage: unknown,
  options: unknown,
  encode: (value: unknown, key: string) => unknown,
  decode: (stored: unknown, key: string) => Value,
): ItemStorage<Value> {
  const [whole, prefix] = checkArguments(call, storage, options, 'prefix');
  const part = prefix === undefined ? whole : whole.namespace(prefix);
  return {
    async getItem(key) {
      const stored = (await part.get(key)) ?? null;
      return stored === null ? null : decode(stored, key);
    },
    setItem: async (key, value) => part.set(key, encode(value, key)),
    removeItem: (key) => part.delete(key),
    async entries() {
      const items: Array<[string, Value]> = [];
      for await (const [key, stored] of part.entries()) items.push([key, decode(stored, key)]);
      return items;
    },
  };
}

/** The same object, but without the functions of its `state`. A function at any other place is rejected by the storage, with its path. */
function withoutActions(value: object): object {
  const { state } = value as { readonly state?: unknown };
  if (Object(state) !== state || Object.getPrototypeOf(state) !== Object.prototype) return value;
  const members = Object.entries(state as object).filter(([, member]) => typeof member !== 'function');
  return { ...value, state: Object.fromEntries(members) };
}

const unsupported = (message: string, options?: ErrorOptions): StorageError =>
  new StorageError('unsupported-value', message, options);
