/**
 * What a migration says that did not bring over everything.
 */
import { StorageError } from '../core/errors.ts';

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
