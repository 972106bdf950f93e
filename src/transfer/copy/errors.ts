/**
 * The error of a migration, import or adoption that did not copy every entry, with its messages.
 */
import { StorageError } from '../../core/errors.ts';

/** An entry that could not be copied or exported. */
export interface MigrationFailure {
  /** The entry's key. */
  readonly key: string;
  /** Why, as a text for people. */
  readonly reason: string;
}

/**
 * A migration, import or adoption did not copy every entry. The source is unchanged, and the storage still uses the same backend.
 *
 * Entries that were copied remain at the target. A migration that is called again with the same arguments continues after them; an
 * import or an adoption starts from the beginning. `cause` is the error that stopped the call early, if there was one.
 */
export class MigrationError extends StorageError {
  /** Number of entries that the target holds and that were read back equal. */
  readonly migrated: number;
  /** Entries that could not be copied, up to the point where the call stopped: each with its key and the reason. */
  readonly failed: readonly MigrationFailure[];
  /** Number of keys that already had another value at the target and were skipped (`onConflict: 'skip'`). */
  readonly skipped: number;

  /**
   * Creates an error with the result up to the point where the call stopped.
   *
   * @param message What happened and what to do next.
   * @param migrated Number of entries that were read back equal.
   * @param failed The entries that could not be copied.
   * @param options `cause`: the error that stopped the call early; `skipped`: number of skipped keys.
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

/** An entry that was not copied. */
export interface Failed {
  readonly reason: string;
  /** Whether the source cannot provide the entry, or the target refuses it. Another attempt would fail in the same way. */
  readonly refused?: boolean;
  /** Whether the target may hold an earlier value that this migration has written. */
  readonly written?: boolean;
}

/** Whether an entry may be left out: the target then holds no value of its key that this migration has written. */
export const isLeftOut = ({ refused, written }: Failed): boolean => refused === true && written !== true;

/** The result so far. */
interface Done {
  readonly verified: number;
  readonly skipped: number;
  readonly failed: ReadonlyMap<string, Failed>;
}

/** Why an entry is not copied with `'fail'`. */
export const CHANGED = 'The target holds another value under this key.';

/** Maximum number of failures in a message. All failures are in `failed`. */
const TOLD = 3;

const failuresOf = ({ failed }: Done): MigrationFailure[] =>
  Array.from(failed, ([key, { reason }]) => ({ key, reason }));

/** The error of a copy that ended without every entry. */
export function unfinished(name: string, done: Done, nothingWritten: boolean): MigrationError {
  const failed = failuresOf(done);
  const told = failed.slice(0, TOLD).map(({ key, reason }) => `${key}: ${reason}`);
  const more = failed.length > TOLD ? `; ${failed.length - TOLD} more are in \`failed\`` : '';
  const rest = nothingWritten ? 'nothing was written' : `${done.verified} were copied and verified`;
  const advice = failed.some(({ reason }) => reason === CHANGED)
    ? "Change or delete these entries, or choose 'overwrite' or 'skip'"
    : 'Change or delete these entries';
  const leave = [...done.failed.values()].every(isLeftOut) ? ', or leave them out with onRefused' : '';
  return new MigrationError(
    `${name}(): ${failed.length} ${failed.length === 1 ? 'entry' : 'entries'} cannot be copied (${told.join('; ')}${more}); ${rest}. The source is unchanged. ${advice}${leave}, then call ${name}() again.`,
    done.verified,
    failed,
    { skipped: done.skipped },
  );
}

/** The error of a copy that was stopped early. */
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
      ? 'Call it again with a token that allows this.'
      : resumes
        ? 'Call it again with the same arguments to continue.'
        : 'Call it again to start from the beginning.';
  return new MigrationError(
    `${name}() stopped: ${reason} ${done.verified} entries were copied and verified, ${done.failed.size} failed. The source is unchanged. ${again}`,
    done.verified,
    failuresOf(done),
    { cause: error, skipped: done.skipped },
  );
}
