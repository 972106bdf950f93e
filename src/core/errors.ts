/**
 * The one error class of this package and its closed list of codes.
 *
 * Callers branch on `code`, never on the message. The platform's own error is kept in `cause`.
 */
import type { StoredEntry } from './backend.ts';

/**
 * Why a call was rejected.
 *
 * Refused before any I/O:
 * - `invalid-option`: an option of {@link createStorage} or of a call is unknown or malformed;
 * - `invalid-key`: not a key that both backends can hold (see docs/contract.md, Keys);
 * - `unsupported-value`: not a value that both backends can hold; the message names the path inside it;
 * - `unsupported`: this backend cannot do it at all (for example `update` on a server without revisions);
 * - `wrong-backend`: a migration to the backend that is already in use;
 * - `closed`: the storage was closed, before the call or while it was under way.
 *
 * From the medium:
 * - `unavailable`: no IndexedDB here, no server there, or an answer that is not the storage server's;
 * - `timeout`: no answer within the time limit: whether a write arrived is not known;
 * - `too-large`: the server's limit on the size of one value;
 * - `quota`: the disk or the quota is full;
 * - `blocked`: another tab keeps the database from opening;
 * - `forbidden`: the server does not let this caller (its origin, host or token) do this;
 * - `conflict`: a write with `ifRevision`, or an `update`, met another state ({@link ConflictError});
 * - `refused`: the server understood the request and refused it (its status is in the message);
 * - `migration`: see {@link MigrationError}.
 */
export type StorageErrorCode =
  | 'invalid-option'
  | 'invalid-key'
  | 'unsupported-value'
  | 'unsupported'
  | 'wrong-backend'
  | 'closed'
  | 'unavailable'
  | 'timeout'
  | 'too-large'
  | 'quota'
  | 'blocked'
  | 'forbidden'
  | 'refused'
  | 'conflict'
  | 'migration';

/** Every rejection of this package. The message says what failed, on which key or URL, and what to do. */
export class StorageError extends Error {
  /** What went wrong, from a closed list. */
  readonly code: StorageErrorCode;

  /**
   * An error of this package.
   *
   * @param code What went wrong.
   * @param message What failed, on what, and what to do.
   * @param options `cause`: the platform's own error.
   */
  constructor(code: StorageErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'StorageError';
    this.code = code;
  }
}

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

/** An entry that a migration could not bring over. */
export interface MigrationFailure {
  /** The entry's key. */
  readonly key: string;
  /** Why, in words. */
  readonly reason: string;
}

/**
 * A migration that did not bring over every entry. The source is untouched and the backend in use is the same as before;
 * running the migration again copies everything again.
 */
export class MigrationError extends StorageError {
  /** How many entries were written to the target and read back equal. */
  readonly migrated: number;
  /** Entries that could not be brought over, as far as the migration got. */
  readonly failed: readonly MigrationFailure[];

  /**
   * An error with what a migration did until it ended.
   *
   * @param message What happened and what to do.
   * @param migrated How many entries were verified at the target.
   * @param failed The entries that were not.
   * @param options `cause`: the error that ended the migration early, if one did.
   */
  constructor(
    message: string,
    migrated: number,
    failed: readonly MigrationFailure[],
    options?: ErrorOptions,
  ) {
    super('migration', message, options);
    this.name = 'MigrationError';
    this.migrated = migrated;
    this.failed = failed;
  }
}
