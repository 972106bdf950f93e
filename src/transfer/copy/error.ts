/**
 * What a migration says that did not bring over everything.
 */
import { StorageError } from '../../core/errors.ts';

/** An entry that a migration could not bring over. */
export interface MigrationFailure {
  /** The entry's key. */
  readonly key: string;
  /** Why, in words. */
  readonly reason: string;
}

/**
 * A migration, import or adoption that did not bring over every entry. The source is untouched and the backend in use is the same
 * as before. What was brought over stays; called again with the same arguments, a migration goes on after that.
 */
export class MigrationError extends StorageError {
  /** How many entries the target holds, read back equal. */
  readonly migrated: number;
  /** Entries that could not be brought over, as far as it got: each with its key and the reason. */
  readonly failed: readonly MigrationFailure[];
  /** Keys that were left as they are at the target, as `onConflict: 'skip'` asks. */
  readonly skipped: number;

  /**
   * An error with what a migration did until it ended.
   *
   * @param message What happened and what to do.
   * @param migrated How many entries were verified at the target.
   * @param failed The entries that were not.
   * @param options `cause`: the error that ended the migration early, if one did; `skipped`: the number of keys left as they were.
   */
  constructor(
    message: string,
    migrated: number,
    failed: readonly MigrationFailure[],
    options: ErrorOptions & { readonly skipped?: number } = {},
  ) {
    super('migration', message, 'cause' in options ? { cause: options.cause } : undefined);
    this.name = 'MigrationError';
    this.migrated = migrated;
    this.failed = failed;
    this.skipped = options.skipped ?? 0;
  }
}
