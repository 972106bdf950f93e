/**
 * The one error class of this package and its closed list of codes.
 *
 * Callers branch on `code`, never on the message. The platform's own error is kept in `cause`.
 */
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
 * - `timeout`: no answer within the time limit: whether a write arrived is not known, unless the message says that nothing was stored;
 * - `too-large`: the server's limit on the size of one value;
 * - `quota`: the disk or the quota is full;
 * - `blocked`: another tab keeps the database from opening;
 * - `forbidden`: the server does not let this caller (its origin, host or token) do this;
 * - `conflict`: a write with `ifRevision`, or an `update`, met another state (`ConflictError`);
 * - `refused`: the server understood the request and refused it (its status is in the message);
 * - `invalid-backup`: what was to be imported is cut, damaged, or no backup: nothing of it was stored;
 * - `migration`: `MigrationError`.
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
  | 'invalid-backup'
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

/** Why a call on a closed storage is rejected. */
export const closedError = (): StorageError =>
  new StorageError('closed', 'This storage is closed: create a new one with createStorage().');
