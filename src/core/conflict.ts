/**
 * A conflict: a class of its own file, because an app without conditional writes does not load it.
 */
import type { StoredEntry } from './backend.ts';
import { StorageError } from './errors.ts';

/**
 * A write that was made for another state than the one that is there. Nothing was stored. Both sides are here, so that the
 * app can merge them, show them, or write again with `current.revision`.
 */
export class ConflictError extends StorageError {
  /** The key that was to be written. */
  readonly key: string;
  /** The value that was to be stored; `undefined` for a delete. */
  readonly attempted: unknown;
  /** What is there instead; `undefined` where there is nothing. */
  readonly current: StoredEntry | undefined;

  /**
   * An error with both sides of a conflict.
   *
   * @param key The key.
   * @param attempted The value that was to be stored.
   * @param current What is there.
   */
  constructor(key: string, attempted: unknown, current: StoredEntry | undefined) {
    super(
      'conflict',
      `Key ${key} is not in the state that this write was for; nothing was changed. Merge \`attempted\` and \`current\`, and write again.`,
    );
    this.name = 'ConflictError';
    this.key = key;
    this.attempted = attempted;
    this.current = current;
  }
}

/** A value of one side of a conflict; nothing where the key did not exist there, or was not known. */
export type ConflictValue =
  | {
      /** It. */
      readonly value: unknown;
    }
  | undefined;

/**
 * A write that was acknowledged while the server was away, and that did not come to be the server's. It is kept until
 * `resolve()` settles it.
 */
export interface Conflict {
  /** The key; empty for a `clear()`. */
  readonly key: string;
  /**
   * - `changed`: the server had something that the writer had not seen;
   * - `rejected`: the server refused the write for good;
   * - `restored`: the server was restored to an earlier state, and has lost the value.
   */
  readonly reason: 'changed' | 'rejected' | 'restored';
  /** What the writer had seen. */
  readonly base: ConflictValue;
  /** What was written here; nothing for a delete. */
  readonly local: ConflictValue;
  /** What the server held then. */
  readonly server: ConflictValue;
  /** The same in words for people. */
  readonly detail: string;
  /** When it was found, in milliseconds since 1970. */
  readonly atMs: number;
}

/** How a conflict is settled: by what was written here, by what the server has, or by another value. */
export type Resolution =
  | 'local'
  | 'server'
  | {
      /** What is to be stored. */
      readonly value: unknown;
    };

/**
 * What is done where the server has something that the writer of a value had not seen. The server's value stands
 * (`'keep-server'`), the local one replaces it (`'keep-local'`), or what a function makes of both, which may be a promise. Each side is
 * `undefined` where the key does not exist, or, for `base`, was not known; a result of `undefined` deletes the key. Where the
 * function fails, the server's value stands. A local value that does not come to be the server's is kept: `conflicts()`.
 */
export type ConflictPolicy =
  | 'keep-server'
  | 'keep-local'
  | ((base: unknown, local: unknown, server: unknown, key: string) => unknown);
