/**
 * The error class of this package and its closed list of codes.
 *
 * Callers branch on `code`, never on the message. The platform's own error is in `cause`.
 */
/**
 * Why a call was rejected.
 *
 * Before any I/O:
 * - `invalid-option`: an option of {@link createStorage} or of a call is unknown or has an invalid value;
 * - `invalid-key`: the key cannot be stored on both backends (docs/contract.md, Keys);
 * - `unsupported-value`: the value cannot be stored on both backends, and the message names the path inside the value; or, from
 *   IndexedDB, the stored value cannot be read;
 * - `unsupported`: the backend does not support the call, such as `update` on a server without revisions;
 * - `wrong-backend`: the storage already uses the target of the migration;
 * - `closed`: the storage was closed before the call ended.
 *
 * From the backend:
 * - `unavailable`: IndexedDB or the server cannot be used, or the response is not a storage server's; a write may have arrived,
 *   unless the message says that nothing was stored;
 * - `timeout`: no response within the time limit; a write may have arrived, unless the message says that nothing was stored;
 * - `too-large`: the value exceeds the server's size limit;
 * - `quota`: the disk or the storage quota is full;
 * - `blocked`: another tab prevents the database from opening;
 * - `forbidden`: the server does not allow the operation to this origin, host or token, or the token is for another account;
 * - `conflict`: the key did not have the required revision ({@link ConflictError});
 * - `refused`: the server rejected the request; the message contains the HTTP status;
 * - `pending`: `forget()` would have deleted writes that are not on the server yet; nothing was deleted;
 * - `invalid-backup`: the backup is incomplete, damaged, or not a backup; nothing of it was stored;
 * - `migration`: not every entry was copied ({@link MigrationError}).
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
  | 'pending'
  | 'invalid-backup'
  | 'migration';

/** The error of every rejected call. The message says what failed, on which key or URL, and what to do next. */
export class StorageError extends Error {
  /** Why the call was rejected, from a closed list. */
  readonly code: StorageErrorCode;

  /**
   * Creates an error of this package.
   *
   * @param code Why the call was rejected.
   * @param message What failed, on which key or URL, and what to do next.
   * @param options `cause`: the platform's own error.
   */
  constructor(code: StorageErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'StorageError';
    this.code = code;
  }
}

/** The error of a call on a closed storage. */
export const closedError = (): StorageError =>
  new StorageError('closed', 'This storage is closed: create a new one with createStorage().');
