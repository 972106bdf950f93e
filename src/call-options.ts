/**
 * Options of the methods of a storage that read and write entries.
 */
/** Which entries to list. */
export interface ListOptions {
  /** Only keys that begin with this text. Default: all. */
  readonly prefix?: string | undefined;
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
