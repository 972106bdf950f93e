/**
 * Options of the methods of a storage that read and write entries.
 */
/**
 * Which entries to count: those that meet every condition given. Texts are compared by their UTF-8 bytes and need not be keys.
 */
export interface CountOptions {
  /** Only keys that begin with this text. Default: all. */
  readonly prefix?: string | undefined;
  /** Only this key and those after it. Default: from the first key. */
  readonly start?: string | undefined;
  /** Only keys before this one: it is not included. Default: to the last key. */
  readonly end?: string | undefined;
}

/** Which entries to list, and in which order. */
export interface ListOptions extends CountOptions {
  /** The highest number of entries, a whole number from 0 up, counted from where the listing begins. Default: all. */
  readonly limit?: number | undefined;
  /**
   * Lists from the last entry to the first. `start` and `end` keep their meaning: `start` is the lower bound and is included.
   * Default `false`.
   */
  readonly reverse?: boolean | undefined;
}

/** Which entries to delete. */
export interface ClearOptions {
  /** Only keys that begin with this text, which must not be empty. */
  readonly prefix: string;
}

/** Which state a `set` is for. */
export interface SetOptions {
  /**
   * A revision from `getEntry`: only if the key is still at it. `null`: only if the key does not exist. Left out: always. Not
   * `undefined`, which a missing entry's revision would be: `entry?.revision ?? null` says what is meant.
   */
  readonly ifRevision?: string | null;
}

/** Which state a `delete` is for. */
export interface DeleteOptions {
  /** A revision from `getEntry`: only if the key is still at it. Left out: always. */
  readonly ifRevision?: string;
}
