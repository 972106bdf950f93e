/**
 * The error of a migration, import or adoption that did not copy every entry, and its words.
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

/** Why an entry is not at the target as it is at the source. */
export interface Failed {
  readonly reason: string;
  /** Whether the source cannot provide the entry, or the target refuses it: another attempt would end in the same way. */
  readonly refused?: boolean;
  /** Whether the target may hold what this migration has written before. */
  readonly written?: boolean;
}

/** Whether an entry may be left out: the target then holds nothing of it that comes from this migration. */
export const isLeftOut = ({ refused, written }: Failed): boolean => refused === true && written !== true;

/** What was done until then. */
interface Done {
  readonly verified: number;
  readonly skipped: number;
  readonly failed: ReadonlyMap<string, Failed>;
}

/** Why an entry is not brought over with `'fail'`. */
export const CHANGED = 'The target holds another value under this key.';

/** So many failures are told in a message; all are in `failed`. */
const TOLD = 3;

const failuresOf = ({ failed }: Done): MigrationFailure[] =>
  Array.from(failed, ([key, { reason }]) => ({ key, reason }));

/** The error of a migration that came to its end without every entry. */
export function unfinished(name: string, done: Done, nothingWritten: boolean): MigrationError {
  const failed = failuresOf(done);
  const told = failed.slice(0, TOLD).map(({ key, reason }) => `${key}: ${reason}`);
  const more = failed.length > TOLD ? `; and ${failed.length - TOLD} more, see \`failed\`` : '';
  const rest = nothingWritten ? 'nothing was written' : `${done.verified} were brought over and verified`;
  const advice = failed.some(({ reason }) => reason === CHANGED)
    ? "mend or delete those entries, or choose 'overwrite' or 'skip' for what the target holds with another value"
    : 'mend or delete those entries';
  const leave = [...done.failed.values()].every(isLeftOut) ? ', or leave them out with onRefused' : '';
  return new MigrationError(
    `${failed.length} entries cannot be brought over (${told.join('; ')}${more}), ${rest}. The source is untouched: ${advice}${leave}, and call ${name}() again.`,
    done.verified,
    failed,
    { skipped: done.skipped },
  );
}

/** The error of a migration that was ended early. */
export function stopped(
  name: string,
  done: Done,
  error: unknown,
  { signal, resumes }: { readonly signal: AbortSignal | undefined; readonly resumes: boolean },
): MigrationError {
  if (error instanceof MigrationError) return error;
  const why = error instanceof Error ? error.message : String(error);
  const reason = signal?.aborted ? 'it was aborted.' : why;
  const again =
    error instanceof StorageError && error.code === 'forbidden'
      ? 'with a token that may do this'
      : resumes
        ? 'with the same arguments, and it goes on from there'
        : 'and it begins anew';
  return new MigrationError(
    `${name}() stopped: ${reason} Until then ${done.verified} entries were verified at the target, ${done.failed.size} failed. The source is untouched: call it again ${again}.`,
    done.verified,
    failuresOf(done),
    { cause: error, skipped: done.skipped },
  );
}
