/**
 * What an app holds: the methods of a storage, and what each promises.
 */
import type { ClearOptions, CountOptions, DeleteOptions, ListOptions, SetOptions } from './call-options.ts';
import type { BackendType, StorageStats, StoredEntry } from './core/backend.ts';
import type { Conflict, Resolution } from './core/conflict.ts';
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

/** What a key of a schema may be. */
export type KeyOf<Schema extends object> = keyof Schema & string;

/** A pair of a schema: a key and the type of its value. */
export type EntryOf<Schema extends object> = {
  [K in KeyOf<Schema>]: readonly [key: K, value: Schema[K]];
}[KeyOf<Schema>];

/**
 * One asynchronous key-value API over IndexedDB or a server.
 *
 * Calls of one turn of the event loop travel together, take effect in program order (a `get` after a `set` sees it,
 * awaited or not), and settle each by itself. A missing key is `undefined`; a medium that fails is a rejection, always a
 * {@link StorageError}. Besides what each method lists, every method may reject with `unavailable`, `timeout`,
 * `blocked`, `forbidden` or `closed`.
 *
 * @typeParam Schema Maps keys to the types of their values.
 */
export interface KeyValueStorage<Schema extends object = Record<string, unknown>> {
  /**
   * Read the value under `key`, or `undefined`. The value is the caller's own copy.
   *
   * @throws {StorageError} `invalid-key`; `unsupported-value` for an envelope that another program broke.
   */
  get<K extends KeyOf<Schema>>(key: K): Promise<Schema[K] | undefined>;
  /**
   * Read the value under `key` with its revision, or `undefined` where there is none.
   *
   * A revision names the state for a later `set` or `delete` with `ifRevision`. On a server no two states share one. IndexedDB
   * keeps none: there it is a fingerprint, so equal values have equal revisions, and a Blob counts by its size and type, a
   * File by its name and `lastModified` too, not by its bytes.
   *
   * @throws {StorageError} `invalid-key`; `unsupported` on a server without revisions (level 0); `unsupported-value` for a
   * value that another program stored and that cannot be read or fingerprinted.
   */
  getEntry<K extends KeyOf<Schema>>(key: K): Promise<StoredEntry<Schema[K]> | undefined>;
  /**
   * Store `value` under `key`, replacing what was there. The value is copied during the call.
   *
   * Resolves when it is durable: IndexedDB's transaction has completed, or the server has answered 2xx, or, while that is away, the
   * outbox has it on the disk (docs/guarantees.md). Where there is no IndexedDB and `timeout` or `unavailable` rejects it, the write
   * may have arrived; on a server of level 1 it has by the time that a later write resolves, or it never does: it does not
   * overtake that.
   *
   * @param key 1 to 1,024 UTF-8 bytes of well-formed text, no U+0000; compared exactly.
   * @param value JSON, or Date, Map, Set, bigint, typed arrays, Blob … anywhere inside it (docs/contract.md, Values).
   * @param options `ifRevision`: store it only if the key is still in this state, compared and written as one step.
   * @throws {StorageError} `invalid-key`, `invalid-option`, `unsupported-value` before any I/O; `too-large`, `quota`,
   * `refused`; `unsupported` for `ifRevision` on a server without revisions (level 0).
   * @throws {ConflictError} where `ifRevision` is not what is there: nothing was stored.
   */
  set<K extends KeyOf<Schema>>(key: K, value: Schema[K], options?: SetOptions): Promise<void>;
  /**
   * Delete `key`. A key that does not exist is no error, except with `ifRevision`.
   *
   * @param options `ifRevision`: delete it only if the key is still in this state, compared and deleted as one step.
   * @throws {StorageError} `invalid-key`, `invalid-option` before any I/O; `quota`, `refused`; `unsupported` for `ifRevision`
   * on a server without revisions (level 0).
   * @throws {ConflictError} where `ifRevision` is not what is there: nothing was deleted.
   */
  delete(key: KeyOf<Schema>, options?: DeleteOptions): Promise<void>;
  /**
   * Whether `key` exists, also where its value is `undefined`.
   *
   * @throws {StorageError} `invalid-key`
   */
  has(key: KeyOf<Schema>): Promise<boolean>;
  /**
   * All keys, in the byte order of their UTF-8 form.
   *
   * @throws {StorageError} `invalid-option`
   */
  keys(options?: ListOptions): Promise<Array<KeyOf<Schema>>>;
  /**
   * All entries, in the byte order of their keys, read in pages as they are asked for: memory stays flat. Not a
   * snapshot: what changes while iterating may or may not be seen.
   *
   * @throws {StorageError} `invalid-option`
   */
  entries(options?: ListOptions): AsyncIterableIterator<EntryOf<Schema>>;
  /**
   * Counts entries, all of them or those of a range of keys.
   *
   * Without options the cost does not depend on the number of entries. With options, a server lists the keys of the range.
   *
   * @throws {StorageError} `invalid-option`
   */
  count(options?: CountOptions): Promise<number>;
  /**
   * Deletes every entry, or every entry whose key begins with `prefix`.
   *
   * Takes effect in program order, like `set`. On IndexedDB, both forms are one transaction. On a server, `clear()` is one request.
   * `clear({ prefix })` lists the keys there and deletes them: it is not atomic, and if it rejects, some keys may have been deleted.
   * A key that another client writes meanwhile stays (on a server of level 0 it may be deleted).
   *
   * @param options `prefix`: a text that is not empty. Every other argument is rejected and deletes nothing, so that
   * `onclick={storage.clear}` and a misspelled option do not delete everything.
   * @throws {StorageError} `invalid-option` before any I/O; `refused`; `unsupported` for a prefix while the server is unreachable:
   * nothing was deleted.
   */
  clear(options?: ClearOptions): Promise<void>;
  /**
   * Read many keys: their values in the order of `keys`, `undefined` for each that is missing.
   *
   * @throws {StorageError} as `get`, for the first that fails.
   */
  getMany<K extends KeyOf<Schema>>(keys: Iterable<K>): Promise<Array<Schema[K] | undefined>>;
  /**
   * Store many entries. All are checked before the first is sent. One IndexedDB transaction, or a handful of requests;
   * on a server not all or nothing: when it rejects, some may have been stored.
   *
   * @throws {StorageError} as `set`, for the first that fails.
   */
  setMany(entries: Iterable<EntryOf<Schema>>): Promise<void>;
  /**
   * Delete many keys.
   *
   * @throws {StorageError} as `delete`, for the first that fails.
   */
  deleteMany(keys: Iterable<KeyOf<Schema>>): Promise<void>;
  /**
   * Replace a value by what `change` makes of it, atomically: nothing is written to `key` in between.
   *
   * On a server the value is read, changed, and stored only if it is still the same; where another writer was faster, all of
   * it again with the new value, until `timeout` has passed.
   *
   * @param change Gets the current value (`undefined` where there is none) and returns the next one. Synchronous, and
   * called again when it starts over. What it throws rejects the call.
   * @returns The value that was stored.
   * @throws {StorageError} as `set`; `unsupported` on a server without revisions (level 0).
   * @throws {ConflictError} where other writers were faster until `timeout` had passed.
   */
  update<K extends KeyOf<Schema>>(
    key: K,
    change: (current: Schema[K] | undefined) => Schema[K],
  ): Promise<Schema[K]>;
  /**
   * Number and size of the entries. IndexedDB keeps no sizes: there it reads every value.
   */
  stats(): Promise<StorageStats>;
  /**
   * Resolves when the backend is chosen and has answered. Calling it is optional: every other method waits for it.
   */
  ready(): Promise<void>;
  /** Who serves operations now: `'indexeddb'` until a server has answered, and while it is away. */
  getBackendType(): BackendType;
  /** Who serves operations now, how the server stands, and why. Asks nobody. */
  status(): StorageStatus;
  /**
   * Have `listener` called with each new status.
   *
   * @returns Ends that.
   * @throws {StorageError} `invalid-option`, at once, for what is no function.
   */
  watchStatus(listener: (status: StorageStatus) => void): () => void;
  /**
   * Send what waits for the server, now.
   *
   * Resolves when everything that waited at the call has left the outbox: it is at the server, or among the conflicts. Resolves at
   * once where no server is configured.
   *
   * @throws {StorageError} `unavailable` or `forbidden` where writes still wait; `status().reason` says why.
   */
  flush(): Promise<void>;
  /** Values that were acknowledged and that the server did not take, the oldest first. They are kept until they are resolved. */
  conflicts(): Promise<Conflict[]>;
  /**
   * Settle all conflicts of a key: with what was written here last, with what the server has, or with another value.
   *
   * @throws {StorageError} `invalid-option` for a key without a conflict, or a choice that is none; `unsupported-value`, `quota`.
   */
  resolve(key: KeyOf<Schema>, choice: Resolution): Promise<void>;
  /**
   * Copy every entry of IndexedDB to the server at `url`, and read each back.
   *
   * What this origin writes meanwhile is brought over too: the source is looked at again until nothing more has changed. A run that
   * was cut off, by whatever, is gone on with when the method is called again with the same arguments within a day. The source is
   * only read. The backend in use changes with `activate` alone.
   *
   * @param options What to do where the server holds another value, and whether to write at all.
   * @returns The number of entries at the server, all verified; of those that `onConflict: 'skip'` left alone, none. With `dryRun`
   * what would be done.
   * @throws {StorageError} `wrong-backend` (`Already using Flask backend`), `invalid-option`, before anything is written.
   * @throws {MigrationError} when anything less than every entry arrived: with `migrated`, `failed`, and how to go on.
   */
  migrateToFlask(url: string, options?: MigrateOptions & { readonly dryRun?: false }): Promise<number>;
  /** What `migrateToFlask` would do: both sides are read, and nothing is written. */
  migrateToFlask(url: string, options: MigrateOptions & { readonly dryRun: true }): Promise<MigrationPlan>;
  /**
   * Copy every entry of the server in use to IndexedDB, and read each back. What waits for the server is sent before.
   *
   * As `migrateToFlask`, in the other direction: what anybody writes to a server of level 1 meanwhile is brought over by its change
   * feed, a server of level 0 is read again.
   *
   * @returns The number of entries in IndexedDB, all verified. With `dryRun` what would be done.
   * @throws {StorageError} `wrong-backend` (`Already using IndexedDB`), `invalid-option`, before anything is written; `unavailable`
   * or `forbidden` where writes still wait for the server.
   * @throws {MigrationError} when anything less than every entry arrived.
   */
  migrateToIndexedDB(options?: MigrateOptions & { readonly dryRun?: false }): Promise<number>;
  /** What `migrateToIndexedDB` would do: both sides are read, and nothing is written. */
  migrateToIndexedDB(options: MigrateOptions & { readonly dryRun: true }): Promise<MigrationPlan>;
  /**
   * All entries as a backup: NDJSON with a checksum (docs/contract.md, section 8), in byte order of the keys, read as it is
   * consumed, with flat memory. Values are in the form in which they travel, so every kind of value comes back.
   *
   * Not a snapshot: what changes while it is read may or may not be in it. It is complete when the stream ends; until then the last
   * line is missing, and every reader refuses it.
   *
   * @param options `as: 'blob'` for a Blob, such as for a download link. `backupFileName()` names the file.
   * @throws {StorageError} `invalid-option`. The stream errors with what reading errors with, and with `unsupported-value`
   * for a value that another program stored and that cannot travel, unless `onRefused` takes note of it.
   */
  export(options?: ExportOptions & { readonly as?: 'stream' }): Promise<ReadableStream<Uint8Array>>;
  /** The same as one Blob, such as for a download link. */
  export(options: ExportOptions & { readonly as: 'blob' }): Promise<Blob>;
  /**
   * Store every entry of a backup, and read each back. Reads both forms that `export` writes, and what servers export.
   *
   * The backup is read twice: nothing is stored before all of it was read and its checksum verified. A stream is gathered into a Blob
   * first.
   *
   * @param source A File or another Blob, a stream of bytes, or the text.
   * @returns The number of entries that are stored, all verified; of those that `mode: 'skip'` left alone, none. With `dryRun` what
   * would be done.
   * @throws {StorageError} `invalid-backup` for one that is cut, damaged or none, and `invalid-option`: nothing was stored.
   * @throws {MigrationError} when anything less than every entry was stored.
   */
  import(source: BackupSource, options?: ImportOptions & { readonly dryRun?: false }): Promise<number>;
  /** What `import` would do: the backup is checked, what is there is read, and nothing is written. */
  import(source: BackupSource, options: ImportOptions & { readonly dryRun: true }): Promise<MigrationPlan>;
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
  /** What `adopt` would do: both sides are read, and nothing is written. */
  adopt(name: OldDatabase['name'], options: AdoptOptions & { readonly dryRun: true }): Promise<MigrationPlan>;
  /**
   * Let go of the database or the server. What waits is rejected with `closed`, as is every later call; a request that
   * is under way is aborted, and whether it arrived is not known.
   */
  close(): Promise<void>;
  /** The same as `close()`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>;
}
