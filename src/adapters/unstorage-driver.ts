/**
 * A driver of unstorage over a storage. unstorage separates the parts of a key with `:`, and makes text of the values of `setItem`.
 *
 * @see https://unstorage.unjs.io/guide/custom-driver
 */
import type { StorageError } from '../core/errors.ts';
import { type AnyStorage, checkArguments } from './arguments.ts';

/** Which keys of the storage the driver uses. */
export interface UnstorageOptions {
  /** The keys below this one, as in unstorage's own drivers: `base: 'app'` stores the key `a` as `app:a`. Default: all keys. */
  readonly base?: string | undefined;
}

/** What unstorage reads: text, or the value itself if the app has stored it with the storage or with `setItemRaw`. */
export type UnstorageValue = null | string | number | boolean | object;

/** A key and what is stored under it. */
export interface UnstorageItem {
  /** The key, as it was asked for. */
  key: string;
  /** The value, or `null` if there is none. */
  value: UnstorageValue;
}

/** unstorage's `Driver`, as far as this driver has it. Each method rejects with the {@link StorageError} of the storage's own call. */
export interface UnstorageDriver {
  /** `codeforge-storage` */
  readonly name: string;
  /** Returns whether the key exists. */
  hasItem(key: string): Promise<boolean>;
  /** Reads a value, or `null` if there is none. */
  getItem(key: string): Promise<UnstorageValue>;
  /** Reads a value as `setItemRaw` has stored it, or `null` if there is none. */
  getItemRaw(key: string): Promise<unknown>;
  /** Reads many values. */
  getItems(items: ReadonlyArray<{ readonly key: string }>): Promise<UnstorageItem[]>;
  /** Reads the revision of the key as `etag`: `null` if there is no key, or if the server has no revisions (level 0). */
  getMeta(key: string): Promise<{
    /** The revision, as `getEntry` of the storage returns it. */
    readonly etag: string;
  } | null>;
  /** Stores the text that unstorage makes of a value. */
  setItem(key: string, value: string): Promise<void>;
  /** Stores the value itself. Everything that the storage can hold survives: Date, Map, Uint8Array, Blob and others. */
  setItemRaw(key: string, value: unknown): Promise<void>;
  /** Stores many values. All of them are checked before the first one is sent. */
  setItems(items: ReadonlyArray<{ readonly key: string; readonly value: string }>): Promise<void>;
  /** Deletes a key. */
  removeItem(key: string): Promise<void>;
  /** Lists the keys below a base. */
  getKeys(base?: string): Promise<string[]>;
  /** Deletes the keys below a base. */
  clear(base?: string): Promise<void>;
  /**
   * Calls `callback` with each committed change, as `watch` of the storage tells it: of this tab, of other tabs and of other clients.
   *
   * @returns A function that ends this.
   */
  watch(callback: (event: 'update' | 'remove', key: string) => unknown): Promise<() => void>;
}

/**
 * A driver for `createStorage({ driver })` and `mount()` of unstorage.
 *
 * The driver does not close the storage: `dispose()` of unstorage leaves it open. unstorage writes `/` and `\` in keys as `:`, so keys
 * with these characters that the app itself has stored are not readable through unstorage.
 *
 * @param storage A storage or a namespace of one.
 * @throws {StorageError} `invalid-option`, at once, if there is no storage or an option is wrong.
 */
export function asUnstorageDriver(storage: AnyStorage, options?: UnstorageOptions): UnstorageDriver {
  const [whole, base] = checkArguments('asUnstorageDriver()', storage, options, 'base');
  const part = base === undefined ? whole : whole.namespace(base.replace(/:?$/, ':'));
  const read = async (key: string): Promise<UnstorageValue> =>
    ((await part.get(key)) ?? null) as UnstorageValue;
  return {
    name: 'codeforge-storage',
    hasItem: (key) => part.has(key),
    getItem: read,
    getItemRaw: read,
    async getItems(items) {
      const values = await part.getMany(items.map(({ key }) => key));
      return items.map(({ key }, i) => ({ key, value: (values[i] ?? null) as UnstorageValue }));
    },
    async getMeta(key) {
      try {
        const entry = await part.getEntry(key);
        return entry ? { etag: entry.revision } : null;
      } catch (error) {
        if ((error as StorageError).code === 'unsupported') return null;
        throw error;
      }
    },
    setItem: (key, value) => part.set(key, value),
    setItemRaw: (key, value) => part.set(key, value),
    setItems: (items) => part.setMany(items.map(({ key, value }) => [key, value])),
    removeItem: (key) => part.delete(key),
    getKeys: (below) => part.keys({ prefix: below }),
    clear: (below) => (below ? part.clear({ prefix: below }) : part.clear()),
    async watch(callback) {
      // unstorage names each key that is gone, and a storage that is cleared does not.
      const known = new Set<string>();
      const unwatch = part.watch(undefined, ({ type, key }) => {
        if (type === 'set') {
          known.add(key);
          callback('update', key);
          return;
        }
        for (const gone of type === 'delete' ? [key] : [...known]) {
          known.delete(gone);
          callback('remove', gone);
        }
      });
      try {
        for (const key of await part.keys()) known.add(key);
      } catch (error) {
        unwatch();
        throw error;
      }
      return unwatch;
    },
  };
}
