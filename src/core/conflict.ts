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
