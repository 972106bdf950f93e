/**
 * The methods of a storage and of a namespace, and what each of them guarantees.
 */
import type {
  ClearOptions,
  CountOptions,
  DeleteOptions,
  DiscardOptions,
  ForgetOptions,
  ListOptions,
  SetOptions,
  WatchKeyOptions,
  WatchOptions,
  WatchRange,
} from './call-options.ts';
import type { BackendType, StorageStats, StoredEntry } from './core/backend.ts';
import type { ChangeSource } from './core/changes.ts';
import type { ConflictOf, Resolution } from './core/conflict.ts';
import type { OutboxEntry } from './core/outbox.ts';
import type { StorageStatus } from './core/session.ts';
import type {
  AdoptOptions,
  BackupSource,
  ExportOptions,
  ImportOptions,
  MigrateOptions,
  MigrationPlan,
  OldDatabase,
} from './transfer/copy/options.ts';

/** The keys of a schema. */
export type KeyOf<Schema extends object> = keyof Schema & string;

/** The keys of a schema that begin with a prefix. */
export type KeyWith<Schema extends object, Prefix extends string> = KeyOf<Schema> &
  Beginning<KeyOf<Schema>, Prefix>;

/** Each of some keys or key patterns as far as it begins with a prefix. */
type Beginning<Key extends string, Prefix extends string> = Key extends `${Prefix}${string}`
  ? Key
  : `${Prefix}${string}` extends Key
    ? `${Prefix}${string}`
    : CanBegin<Key, Prefix> extends true
      ? `${Prefix}${string}`
      : never;

/** Whether a key pattern and a prefix agree as far as both are known. TypeScript does not compare two patterns by itself. */
type CanBegin<Key extends string, Prefix extends string> = Prefix extends `${infer First}${infer Rest}`
  ? Key extends `${infer KeyFirst}${infer KeyRest}`
    ? string extends KeyFirst
      ? true
      : KeyFirst extends First
        ? CanBegin<KeyRest, Rest>
        : First extends KeyFirst
          ? true
          : false
    : false
  : true;

/** The entries of a schema: pairs of a key and the type of its value. */
export type EntryOf<Schema extends object, Key extends KeyOf<Schema> = KeyOf<Schema>> = {
  [K in Key]: readonly [key: K, value: Schema[K]];
}[Key];

/** One operation of `atomic()`, with the state that its key must have: see `set()` and `delete()`. */
export type AtomicOperation<Schema extends object = Record<string, unknown>> =
  | {
      [Key in KeyOf<Schema>]: {
        /** The key to store. */
        readonly set: Key;
        /** Its value. */
        readonly value: Schema[Key];
        /** The revision that the key must have; `null` if it must not exist. Default: any. */
        readonly ifRevision?: string | null;
      };
    }[KeyOf<Schema>]
  | {
      /** The key to delete. */
      readonly delete: KeyOf<Schema>;
      /** The revision that the key must have. Default: any. */
      readonly ifRevision?: string;
    }
  | {
      /** The key to check. It is not changed. */
      readonly check: KeyOf<Schema>;
      /** The revision that the key must have; `null` if it must not exist. */
      readonly ifRevision: string | null;
    };

/**
 * The schema of a namespace: the keys of a schema that begin with a prefix, without it. A key pattern that only overlaps with the
 * prefix is left out. If the prefix is not a literal type, every key has the type of all values.
 */
export type SchemaWithin<Schema extends object, Prefix extends string> = string extends Prefix
  ? Record<string, Schema[KeyOf<Schema>]>
  : {
      [Key in KeyOf<Schema> as Key extends `${Prefix}${infer Rest}`
        ? Rest
        : `${Prefix}${string}` extends Key
          ? string
          : never]: Schema[Key];
    };

/** The values of a list of keys: a tuple for a tuple. */
export type ValuesOf<Schema extends object, Keys, Value = never> = Keys extends readonly unknown[]
  ? { -readonly [I in keyof Keys]: ValueOf<Schema, Keys[I], Value> | undefined }
  : Keys extends Iterable<infer Key>
    ? Array<ValueOf<Schema, Key, Value> | undefined>
    : never;

/** The type of a value: that of the schema, or the one that the caller names for a storage without a schema. */
export type ValueOf<Schema extends object, Key, Value = never> = [Value] extends [never]
  ? Schema[Key & keyof Schema]
  : NoInfer<Value>;

/** What a caller may name as the type of a value: everything without a schema, nothing with one. */
export type Unchecked<Schema extends object> =
  string extends KeyOf<Schema> ? (unknown extends Schema[KeyOf<Schema>] ? unknown : never) : never;

/**
 * A committed change. It is frozen, and every listener gets the same value: do not change it.
 *
 * `clear` has no key: everything was deleted. What `clear({ prefix })` deletes is told key by key.
 */
export type Change<
  Schema extends object = Record<string, unknown>,
  Key extends KeyOf<Schema> = KeyOf<Schema>,
> =
  | {
      [One in Key]: {
        /** The key has a new value. */
        readonly type: 'set';
        /** The key, without the prefix of a namespace. */
        readonly key: One;
        /** The value that is stored now. */
        readonly value: Schema[One];
        /** The value before, if it is known without reading it: to a listener of one key that has heard it. */
        readonly previous?: Schema[One];
        /** As `getEntry` returns it; `undefined` on a server without revisions (level 0). */
        readonly revision: string | undefined;
        /** Where the change was made. */
        readonly source: ChangeSource;
      };
    }[Key]
  | {
      [One in Key]: {
        /** The key does not exist any more. */
        readonly type: 'delete';
        /** The key, without the prefix of a namespace. */
        readonly key: One;
        /** There is none. */
        readonly value?: undefined;
        /** As of a `set`. */
        readonly previous?: Schema[One];
        /** Where the change was made. */
        readonly source: ChangeSource;
      };
    }[Key]
  | {
      /** Everything was deleted. */
      readonly type: 'clear';
      /** There is none: it is about all keys. */
      readonly key?: undefined;
      /** There is none. */
      readonly value?: undefined;
      /** As of a `set`. */
      readonly previous?: Schema[Key];
      /** Where the change was made. */
      readonly source: ChangeSource;
    };

/** A conflict of a storage with a schema. Its `key` decides the type of its values. */
export type Conflict<Schema extends object = Record<string, unknown>> =
  | { [Key in KeyOf<Schema>]: ConflictOf<Key, Schema[Key]> }[KeyOf<Schema>]
  | (string extends KeyOf<Schema> ? never : ConflictOf<''>);

/**
 * The entries of a storage whose keys begin with a prefix, as `namespace()` returns them. A {@link KeyValueStorage} has the same
 * methods over all keys.
 *
 * Every key that goes in or comes out is without the prefix. The limits of keys hold for the whole key, and error messages name it.
 * A namespace owns nothing: it works until the storage that it comes from is closed.
 *
 * Calls made in the same turn of the event loop are sent together, take effect in program order (a `get` after a `set` sees its
 * value, awaited or not), and settle independently. Methods can be passed around without the object: `keys.map(storage.get)`.
 *
 * Every method rejects with a {@link StorageError}. Besides the codes that a method lists, each one may reject with `unavailable`,
 * `timeout`, `blocked`, `forbidden` or `closed`.
 *
 * @typeParam Schema Maps keys to the types of their values. Nothing is checked at run time.
 */
export interface NamespacedStorage<Schema extends object = Record<string, unknown>> {
  /**
   * Reads the value under `key`, or `undefined` if there is none. Each caller gets a copy of its own.
   *
   * A storage with a schema infers the type. Without a schema it is `unknown`, unless it is named: `get<User>('user:1')`. That is an
   * assertion of the caller.
   *
   * @throws {StorageError} `invalid-key`; `unsupported-value` if another program stored a value that cannot be read.
   */
  get<Value extends Unchecked<Schema> = never, Key extends KeyOf<Schema> = KeyOf<Schema>>(
    key: Key,
  ): Promise<ValueOf<Schema, Key, Value> | undefined>;
  /**
   * Reads the value under `key` with its revision, or `undefined` if there is none.
   *
   * A revision names a state of the key, for `ifRevision` of `set` and `delete`. On a server, no two states of a key have the same
   * revision. IndexedDB stores no revisions: there it is a fingerprint of the value, so equal values have equal revisions. A Blob
   * counts by its size and type, a File also by its name and `lastModified`, not by its bytes.
   *
   * @throws {StorageError} `invalid-key`; `unsupported` on a server without revisions (level 0); `unsupported-value` if another
   * program stored a value that cannot be read or has no fingerprint.
   */
  getEntry<Value extends Unchecked<Schema> = never, Key extends KeyOf<Schema> = KeyOf<Schema>>(
    key: Key,
  ): Promise<StoredEntry<ValueOf<Schema, Key, Value>> | undefined>;
  /**
   * Stores `value` under `key` and replaces any previous value. The value is copied during the call.
   *
   * Resolves when the write is committed:
   *
   * - on IndexedDB, when its transaction has completed. The value survives a crash of the tab and of the browser. It survives a power
   *   cut only with the option `durability: 'strict'`;
   * - on a server, when it has answered 2xx, which it does when the value is on its disk;
   * - while the server is unreachable, when the value is in the outbox, which is flushed to disk. It is sent later, once and in order.
   *
   * Without IndexedDB there is no outbox, and a write that rejects with `timeout` or `unavailable` may still arrive. On a server of
   * level 1 it never arrives after a later write of this storage.
   *
   * @param key 1 to 1,024 UTF-8 bytes, well-formed, without U+0000. Compared exactly, without normalization.
   * @param value JSON, and Date, Map, Set, bigint, typed arrays, Blob and others at any depth (docs/contract.md, Values).
   * @param options `ifRevision`: stores the value only if the key is still in this state. Comparison and write are one step.
   * @throws {StorageError} `invalid-key`, `invalid-option`, `unsupported-value` before any I/O; `too-large`, `quota`, `refused`;
   * `unsupported` for `ifRevision` on a server without revisions (level 0).
   * @throws {ConflictError} if `ifRevision` is not the revision of the stored value. Nothing was stored.
   * @see docs/guarantees.md, RFC 9110 §13.1.1
   */
  set<Key extends KeyOf<Schema>>(key: Key, value: Schema[Key], options?: SetOptions): Promise<void>;
  /**
   * Deletes `key`. Without `ifRevision`, a key that does not exist is no error. Resolves when the write is committed, as `set` does.
   *
   * @param options `ifRevision`: deletes the key only if it is still in this state. Comparison and write are one step.
   * @throws {StorageError} `invalid-key`, `invalid-option` before any I/O; `quota`, `refused`; `unsupported` for `ifRevision` on a
   * server without revisions (level 0).
   * @throws {ConflictError} if `ifRevision` is not the revision of the stored value. Nothing was deleted.
   */
  delete(key: KeyOf<Schema>, options?: DeleteOptions): Promise<void>;
  /**
   * Returns whether `key` exists. A key whose value is `undefined` exists.
   *
   * @throws {StorageError} `invalid-key`
   */
  has(key: KeyOf<Schema>): Promise<boolean>;
  /**
   * Lists keys, in the byte order of their UTF-8 form, which is the order of their code points.
   *
   * @param options Which keys, how many, and in which direction. The conditions can be combined.
   * @throws {StorageError} `invalid-option`
   */
  keys<const Prefix extends string = string>(
    options?: ListOptions<Prefix>,
  ): Promise<Array<KeyWith<Schema, NoInfer<Prefix>>>>;
  /**
   * Lists entries, in the byte order of their keys. They are read in pages as they are consumed, so memory use stays flat.
   *
   * Not a snapshot: changes made during the iteration may or may not be seen.
   *
   * @param options Which entries, how many, and in which direction. With `reverse`, a server's keys are all listed first.
   * @throws {StorageError} `invalid-option`; `unsupported-value` at an entry that cannot be read, after the entries before it.
   */
  entries<const Prefix extends string = string>(
    options?: ListOptions<Prefix>,
  ): AsyncIterableIterator<EntryOf<Schema, KeyWith<Schema, NoInfer<Prefix>>>>;
  /**
   * Counts entries: all of them, or those whose keys are in a range. Values are not read. A server lists the keys of a range.
   *
   * @throws {StorageError} `invalid-option`
   */
  count(options?: CountOptions): Promise<number>;
  /**
   * Deletes every entry, or every entry whose key begins with `prefix`.
   *
   * Takes effect in program order, like `set`. On IndexedDB it is one transaction. On a server, `clear()` is one request, and a prefix
   * is cleared by listing its keys and deleting them: not atomically, so when it rejects, some keys may have been deleted. A key that
   * another client writes meanwhile stays (on a server of level 0 it may be deleted).
   *
   * @param options `prefix`: a text that is not empty. Every other argument is rejected and deletes nothing, so that
   * `onclick={storage.clear}` or a misspelled option does not delete everything.
   * @throws {StorageError} `invalid-option` before any I/O; `refused`; `unavailable` while the server is unreachable, if not
   * everything that it holds is known on this device: nothing was deleted.
   */
  clear(options?: ClearOptions): Promise<void>;
  /**
   * Reads many values: in the order of `keys`, with `undefined` for each key that does not exist.
   *
   * @throws {StorageError} As `get`, for the first key that fails.
   */
  getMany<
    Value extends Unchecked<Schema> = never,
    const Keys extends Iterable<KeyOf<Schema>> = Iterable<KeyOf<Schema>>,
  >(keys: Keys): Promise<ValuesOf<Schema, Keys, Value>>;
  /**
   * Stores many entries. All of them are checked before the first one is sent. On IndexedDB they are one transaction, Blobs excepted.
   * A server gets few requests, and is not atomic: if the call rejects, some entries may have been stored.
   *
   * @throws {StorageError} As `set`, for the first entry that fails.
   */
  setMany(entries: Iterable<EntryOf<Schema>>): Promise<void>;
  /**
   * Deletes many keys.
   *
   * @throws {StorageError} As `delete`, for the first key that fails. The other keys may be deleted.
   */
  deleteMany(keys: Iterable<KeyOf<Schema>>): Promise<void>;
  /**
   * Replaces a value by the result of `change`, atomically: nobody writes the key in between.
   *
   * On a server the value is read, changed, and stored if it is still the same. If another client was faster, this is repeated with
   * the new value, until `timeout` has passed.
   *
   * @param change Gets the current value, or `undefined`, and returns the next one. It must be synchronous, and may be called again.
   * What it throws rejects the call.
   * @returns The value that was stored.
   * @throws {StorageError} As `set`; `unsupported` on a server without revisions (level 0).
   * @throws {ConflictError} if other clients were faster until `timeout` had passed.
   */
  update<Value extends Unchecked<Schema> = never, Key extends KeyOf<Schema> = KeyOf<Schema>>(
    key: Key,
    change: (current: ValueOf<Schema, Key, Value> | undefined) => ValueOf<Schema, Key, Value>,
  ): Promise<ValueOf<Schema, Key, Value>>;
  /**
   * Carries out several writes as a whole: all of them, or none. Nobody sees a state in between.
   *
   * ```ts
   * const balance = await storage.getEntry('balance');
   * await storage.atomic([
   *   { set: 'balance', value: 5, ifRevision: balance?.revision ?? null },
   *   { delete: 'hold:1' },
   *   { check: 'account', ifRevision: account.revision },
   * ]);
   * ```
   *
   * @param operations Each key occurs in one `set` or `delete`, and in one `check`. A `check` changes nothing; it may name any key.
   * On a server the whole is one request, so its limits apply to all operations together.
   * @throws {ConflictError} of the first key that is not at its `ifRevision`: nothing was stored.
   * @throws {StorageError} `invalid-key`, `invalid-option`, `unsupported-value` before any I/O; as `set`; `unsupported` on a server
   * without revisions (level 0). After `unavailable` and `timeout` it is not known whether the whole was stored.
   */
  atomic(operations: Iterable<AtomicOperation<Schema>>): Promise<void>;
  /**
   * Returns the entries whose keys begin with `prefix`, with the same methods: `namespace('cache:').set('a', 1)` stores `cache:a`,
   * and its `clear()` deletes the keys that begin with `cache:`. Nothing is read or written. Namespaces nest.
   *
   * @param prefix A text that a key can begin with, not empty. It is not separated from the rest: include a delimiter such as `:`.
   * @throws {StorageError} `invalid-option`, synchronously.
   */
  namespace<const Prefix extends string>(prefix: Prefix): NamespacedStorage<SchemaWithin<Schema, Prefix>>;
  /**
   * Resolves when the backend is chosen and has answered. Calling it is optional: every other method waits for that.
   */
  ready(): Promise<void>;
  /** Returns which backend serves calls now: `'indexeddb'` until a server has answered, and while the server is unreachable. */
  getBackendType(): BackendType;
  /**
   * Returns the connection state of the whole storage. It returns the same frozen object until something changes. It does no I/O.
   */
  status(): StorageStatus;
  /**
   * Calls `listener` with each new status.
   *
   * @returns A function that stops this.
   * @throws {StorageError} `invalid-option`, synchronously, if `listener` is not a function.
   */
  watchStatus(listener: (status: StorageStatus) => void): () => void;
  /**
   * Calls `listener` with each committed change of a key, of the keys with a prefix, or of all keys: of this tab, of the other tabs and
   * workers of this origin, and of other clients of the server.
   *
   * - The changes of a key come in the order of their commits, each once. Writes of one turn are one commit: of several writes of a
   *   key the last one is told.
   * - Changes of this origin are all told. Of quick changes by other clients only the latest may be. A value that another client
   *   stores again unchanged is not told.
   * - A write in the outbox is told when it is made, not again when it is sent. If it loses a conflict, the server's value is told.
   * - If changes may have been missed, for example because a tab was killed between its commit and its message, a listener of a key
   *   gets its present state if that differs, and every other listener a `clear` and then each entry that exists.
   * - Listening to the other tabs begins a moment after the call. Code that writes to the database without the SDK is not heard.
   *
   * A listener that throws is logged, and does not stop the others. If what the keys hold cannot be read, `onError` is called;
   * it is read again every 10 seconds until it is told.
   *
   * @param keys A key, `{ prefix }`, or `undefined` for all keys.
   * @returns A function that ends this. `close()` ends it too.
   * @throws {StorageError} `invalid-option`, `invalid-key`, synchronously.
   */
  watch<Key extends KeyOf<Schema>>(
    keys: Key,
    listener: (change: Change<Schema, Key>) => void,
    options?: WatchKeyOptions,
  ): () => void;
  /** Calls `listener` with each committed change of the keys with a prefix, or of all keys. */
  watch<const Prefix extends string = string>(
    keys: WatchRange<Prefix> | undefined,
    listener: (change: Change<Schema, KeyWith<Schema, NoInfer<Prefix>>>) => void,
    options?: WatchOptions,
  ): () => void;
  /**
   * Sends the outbox now, of the whole storage.
   *
   * Resolves when every write that was in the outbox at the call has left it: it is at the server, or it is a conflict. Resolves at
   * once if no server is configured.
   *
   * @throws {StorageError} `unavailable` or `forbidden` if writes are still in the outbox; `status().reason` says why. `timeout` or
   * `blocked` if the database of this device does not answer.
   */
  flush(): Promise<void>;
  /**
   * Lists the acknowledged writes that the server did not accept, the oldest first. They are kept until `resolve` settles them.
   */
  conflicts(): Promise<Array<Conflict<Schema>>>;
  /**
   * Settles all conflicts of a key.
   *
   * @param choice `'local'` keeps the last local value, `'server'` the server's, and `{ value }` stores another one. The empty key of a
   * storage settles a `clear()`, with `'server'`.
   * @throws {StorageError} `invalid-option` if the key has no conflict, or for any other choice; `unsupported-value`, `quota`.
   */
  resolve<Key extends KeyOf<Schema> | ''>(
    key: Key,
    choice: Resolution<Schema[Key & keyof Schema]>,
  ): Promise<void>;
  /**
   * Exports all entries as a backup: NDJSON with a checksum (docs/contract.md, section 8), in byte order of the keys. It is read as it
   * is consumed, so memory use stays flat. Every kind of value that can be stored can be exported. A namespace exports its keys
   * without the prefix, and imports them under it.
   *
   * Not a snapshot: changes made meanwhile may or may not be exported. A backup is complete when the stream ends: until then its last
   * line is missing, and every reader rejects it.
   *
   * @param options `as: 'blob'` returns a Blob, for example for a download link. `backupFileName()` names the file.
   * @throws {StorageError} `invalid-option`. The stream fails with the errors of reading, and with `unsupported-value` for a value that
   * another program stored and that cannot be exported, unless `onRefused` is given.
   */
  export(options?: ExportOptions & { readonly as?: 'stream' }): Promise<ReadableStream<Uint8Array>>;
  /** Exports all entries as one Blob, for example for a download link. */
  export(options: ExportOptions & { readonly as: 'blob' }): Promise<Blob>;
  /**
   * Stores every entry of a backup, and reads each of them back. Accepts both forms that `export` writes, and exports of servers.
   *
   * The backup is read twice: nothing is stored before it was read to its end and its checksum was verified. A stream is collected into
   * a Blob first. On IndexedDB, entries are flushed to disk before they count (`durability: 'strict'`).
   *
   * @param source A File or another Blob, a stream of bytes, or text.
   * @returns The number of entries that are stored and verified, without those that `mode: 'skip'` or `onRefused` left out. With
   * `dryRun`, what would be done.
   * @throws {StorageError} `invalid-backup` if the backup is truncated, damaged or none, and `invalid-option`: nothing was stored.
   * @throws {MigrationError} if not every entry was stored.
   */
  import(source: BackupSource, options?: ImportOptions & { readonly dryRun?: false }): Promise<number>;
  /** Returns what `import` would do. The backup is checked, the stored entries are read, and nothing is written. */
  import(source: BackupSource, options: ImportOptions & { readonly dryRun: true }): Promise<MigrationPlan>;
}

/**
 * One asynchronous key-value API over IndexedDB or a server. See {@link NamespacedStorage} for what holds for every method.
 *
 * @typeParam Schema Maps keys to the types of their values. Nothing is checked at run time.
 */
export interface KeyValueStorage<Schema extends object = Record<string, unknown>>
  extends NamespacedStorage<Schema> {
  /**
   * Returns the number and the size of all entries. IndexedDB stores no sizes, so every value is read there. `count()` is cheaper.
   */
  stats(): Promise<StorageStats>;
  /**
   * Copies every entry of IndexedDB to the server at `url`, and reads each of them back.
   *
   * Entries that are written meanwhile are copied too: the source is compared until nothing has changed. If a run is interrupted, a
   * call with the same arguments within a day resumes it. The source is only read. Only `activate` changes the backend in use.
   *
   * @param options What to do with keys that the server holds with another value, and whether to write at all.
   * @returns The number of entries that are at the server and verified, without those that `onConflict: 'skip'` or `onRefused` left out.
   * With `dryRun`, what would be done.
   * @throws {StorageError} `wrong-backend` (`Already using Flask backend`), `invalid-option`, before anything is written.
   * @throws {MigrationError} if not every entry arrived, with `migrated`, `failed`, and how to continue.
   */
  migrateToFlask(url: string, options?: MigrateOptions & { readonly dryRun?: false }): Promise<number>;
  /** Returns what `migrateToFlask` would do. Both sides are read, and nothing is written. */
  migrateToFlask(url: string, options: MigrateOptions & { readonly dryRun: true }): Promise<MigrationPlan>;
  /**
   * Copies every entry of the server in use to IndexedDB, and reads each of them back. The outbox is sent first. Entries are flushed to
   * disk before they count (`durability: 'strict'`).
   *
   * Otherwise like `migrateToFlask`. Changes that anybody makes meanwhile are found in the change feed of a server of level 1; a server
   * of level 0 is read again.
   *
   * @returns The number of entries that are in IndexedDB and verified. With `dryRun`, what would be done.
   * @throws {StorageError} `wrong-backend` (`Already using IndexedDB`), `invalid-option`, before anything is written; `unavailable` or
   * `forbidden` if the outbox could not be sent.
   * @throws {MigrationError} if not every entry arrived.
   */
  migrateToIndexedDB(options?: MigrateOptions & { readonly dryRun?: false }): Promise<number>;
  /** Returns what `migrateToIndexedDB` would do. Both sides are read, and nothing is written. */
  migrateToIndexedDB(options: MigrateOptions & { readonly dryRun: true }): Promise<MigrationPlan>;
  /**
   * Lists the writes that wait for a server on this device, of all servers and all options `database`, the oldest of each first. With
   * an atomic unit, and with each other write, it lists one entry.
   *
   * @throws {StorageError} `unavailable`, `blocked`, `timeout`
   */
  outbox(): Promise<OutboxEntry[]>;
  /**
   * Takes an entry out of its outbox, for example one that its server never takes. Later writes of its keys stay. A request that was sent
   * and not answered may still arrive.
   *
   * @param id From `outbox()`.
   * @param options `forget: true` drops its values. Otherwise they are kept in `conflicts()` of the storage for that server.
   * @throws {StorageError} `invalid-option` if there is no such entry; `unavailable`, `blocked`, `timeout`, `quota`.
   */
  discard(id: string, options?: DiscardOptions): Promise<void>;
  /**
   * Signs this device out: deletes what it keeps for the server, which is its copy of the data, the outbox and the conflicts. Then this
   * storage closes, as do the storages of other tabs for the same server and `database`. The server's own data stays. Without a
   * server the storage only closes.
   *
   * @param options `discardPending: true` also deletes writes that are not on the server yet.
   * @throws {StorageError} `pending` if there are such writes: nothing was deleted; `blocked` or `timeout` if another tab does not let
   * go of the database.
   */
  forget(options?: ForgetOptions): Promise<void>;
  /**
   * The databases that older apps have left at this origin, with all of their stores: `codeforge-storage` and `CodeForgeDB`.
   *
   * Known stores are `kv-store` of `codeforge-storage` (keys outside of the values), and of `CodeForgeDB` `keyvalue` (records
   * `{ key, value }`), `projects`, `files`, `models`, `components`, `workflows` (records with an `id`) and `settings` (records with
   * a `key`). Any other store is listed too, without a `prefix`. The database that this storage itself uses is not listed.
   *
   * Nothing is created, upgraded or written, and the databases are closed before the call resolves.
   *
   * @throws {StorageError} `unavailable` if there is no IndexedDB; `blocked` if another tab keeps a database from opening.
   */
  oldDatabases(): Promise<OldDatabase[]>;
  /**
   * Copies every entry of an old database to the backend in use, and reads each back.
   *
   * Records of the main store (`kv-store`, `keyvalue`) keep their keys. A record of another known store becomes the entry
   * `<store>:<id>`, such as `projects:p1`, with the whole record as its value. An `id` that is a number becomes its decimal text.
   *
   * The old database is only read, in pages, and does not change. Tabs of the old app can write to it, upgrade it and delete it
   * meanwhile, so the copy is not a snapshot. Another call starts from the beginning.
   *
   * @param name A name that `oldDatabases()` lists. Members of `keyvalue` records besides `key` and `value` are not copied.
   * @param options What to do where the backend holds another value, which entries to leave out, and whether to write at all.
   * @returns The number of entries that are stored, all verified, without those that `onConflict: 'skip'` or `onRefused` left out.
   * With `dryRun` the plan.
   * @throws {StorageError} before anything is written: `invalid-option`, also for the database that this storage itself uses;
   * `unavailable` if there is no such database, or none of its stores is known; `blocked`.
   * @throws {MigrationError} if not every record was stored. A record whose key is not a string is named by the type and value
   * of the key, such as `number 42` or `projects: date 1970-01-01T00:00:00.000Z`, and a store of an unknown layout as
   * `store <name>`.
   */
  adopt(name: OldDatabase['name'], options?: AdoptOptions & { readonly dryRun?: false }): Promise<number>;
  /** Returns what `adopt` would do. Both sides are read, and nothing is written. */
  adopt(name: OldDatabase['name'], options: AdoptOptions & { readonly dryRun: true }): Promise<MigrationPlan>;
  /**
   * Closes the connection to the database and to the server. Calls that have not started, and all later calls, reject with `closed`. A
   * request in progress is aborted, and may or may not have arrived.
   */
  close(): Promise<void>;
  /** The same as `close()`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>;
}
