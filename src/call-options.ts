/**
 * Options of the methods of a storage that read, write and delete entries.
 */
import type { StorageError } from './core/errors.ts';

/**
 * Which entries to count: those whose keys meet every condition. The texts are compared by their UTF-8 bytes. They need not be keys.
 */
export interface CountOptions<Prefix extends string = string> {
  /** Only keys that begin with this text. Default: all. */
  readonly prefix?: Prefix | undefined;
  /** Only this key and the keys after it. Default: from the first key. */
  readonly start?: string | undefined;
  /** Only the keys before this one, which is excluded. Default: to the last key. An `end` that is not after `start` selects no keys. */
  readonly end?: string | undefined;
}

/** Which entries to list, and in which order. */
export interface ListOptions<Prefix extends string = string> extends CountOptions<Prefix> {
  /** The maximum number of entries, a whole number of 0 or more, counted in the order of the list. Default: no limit. */
  readonly limit?: number | undefined;
  /**
   * Lists from the last key to the first. `start` and `end` keep their meaning: `start` is the lower bound and is included, `end` is the
   * upper bound and is excluded. Default `false`.
   */
  readonly reverse?: boolean | undefined;
}

/** Which entries to delete. */
export interface ClearOptions {
  /** Only keys that begin with this text, which must not be empty. */
  readonly prefix: string;
}

/** The state of a key that a `set` expects. */
export interface SetOptions {
  /**
   * A revision from `getEntry`: stores only if the key is still at it. `null`: stores only if the key does not exist. Left out: stores
   * always. `undefined` is rejected, because it would be the revision of a missing entry: write `entry?.revision ?? null`.
   */
  readonly ifRevision?: string | null;
}

/** The state of a key that a `delete` expects. */
export interface DeleteOptions {
  /** A revision from `getEntry`: deletes only if the key is still at it. Left out: deletes always. */
  readonly ifRevision?: string;
}

/** Which keys to watch. */
export interface WatchRange<Prefix extends string = string> {
  /** Only keys that begin with this text. */
  readonly prefix: Prefix;
}

/** How to watch. */
export interface WatchOptions {
  /** Ends the watching when it aborts. */
  readonly signal?: AbortSignal | undefined;
  /**
   * Is called when what the keys hold cannot be read: at first with `immediate`, or after changes may have been missed. Later changes
   * are told nevertheless. Default: it is logged.
   */
  readonly onError?: ((error: StorageError) => void) | undefined;
}

/** How to watch one key. */
export interface WatchKeyOptions extends WatchOptions {
  /** Whether the listener first gets the present state of the key: a `set`, or a `delete` if it does not exist. Default `false`. */
  readonly immediate?: boolean | undefined;
}

/** What becomes of an entry that is taken out of the outbox. */
export interface DiscardOptions {
  /** Whether the value is dropped. Default `false`: it is kept in `conflicts()` as `discarded`. */
  readonly forget?: boolean | undefined;
}

/** What `forget()` deletes. */
export interface ForgetOptions {
  /** Whether writes that are not on the server yet are deleted too. Default `false`: then the call rejects if there are any. */
  readonly discardPending?: boolean | undefined;
}
