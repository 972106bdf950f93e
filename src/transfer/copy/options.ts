/**
 * Options and results of migration, import, export and adoption.
 */
import { checkOptions, oneOf, RULES } from '../../core/options.ts';
import type { MigrationFailure } from './errors.ts';

/**
 * What happens to a key that already has another value at the target. An equal value is not a conflict.
 *
 * - `'overwrite'`: the target's value is replaced.
 * - `'skip'`: the target's value stays.
 * - `'fail'`: nothing is written at all.
 */
export type OnConflict = 'overwrite' | 'skip' | 'fail';

/** The progress of a migration, an import or an adoption. */
export interface MigrationProgress {
  /**
   * - `'check'`: the backup is read and its checksum verified;
   * - `'plan'`: source and target are compared, and nothing is written;
   * - `'copy'`: entries are written and read back;
   * - `'catch-up'`: entries that have changed at the source since they were copied are copied again.
   */
  readonly phase: 'check' | 'plan' | 'copy' | 'catch-up';
  /** Entries processed in this phase, including those of an interrupted earlier run. */
  readonly done: number;
  /** Entries of the source at the start. */
  readonly total: number;
  /** Bytes of the values sent in this run, as JSON text in UTF-8. In the phase `'check'`: bytes of the values read. */
  readonly bytes: number;
}

/** The result of a dry run. Nothing was written. */
export interface MigrationPlan {
  /** Number of entries of the source. */
  readonly entries: number;
  /** Bytes of their values, as JSON text in UTF-8. */
  readonly bytes: number;
  /** Number of entries that the target already holds with an equal value. */
  readonly equal: number;
  /** Keys that the target holds with another value. */
  readonly conflicts: readonly string[];
  /** Entries that cannot be copied, as far as that is known in advance. */
  readonly refused: readonly MigrationFailure[];
}

/** The common options of migration, import and adoption. */
export interface CopyOptions {
  /** Compare only, write nothing, and return a {@link MigrationPlan}. Default `false`. */
  readonly dryRun?: boolean | undefined;
  /** Is called after each page of entries. Its errors are logged. */
  readonly onProgress?: ((progress: MigrationProgress) => void) | undefined;
  /**
   * Is called with each entry that is left out: one that cannot be read, whose key or value cannot be stored, or that the target
   * rejects permanently, for example because it is too large. The call then resolves with the number of the other entries. Without
   * this option, such an entry makes the call reject at the end, after the others were copied. Each entry is reported once, just
   * before the call resolves or the target is activated. If the function throws, the call rejects. A dry run does not call it.
   */
  readonly onRefused?: ((failure: MigrationFailure) => void) | undefined;
  /** Stops the call. Entries that were copied before stay at the target. */
  readonly signal?: AbortSignal | undefined;
}

/** Options of a migration. */
export interface MigrateOptions extends CopyOptions {
  /** What happens to a key that already has another value at the target. Default `'overwrite'`. */
  readonly onConflict?: OnConflict | undefined;
  /**
   * Whether this storage uses the target from then on, if every entry was copied. Default `false`. Calls of this storage wait during
   * the last comparison. Other storages are not affected: they use the backend that their options select.
   */
  readonly activate?: boolean | undefined;
}

/** Options of an import. */
export interface ImportOptions extends CopyOptions {
  /** What happens to a key that already exists with another value. Default `'overwrite'`. */
  readonly mode?: OnConflict | undefined;
}

/** A backup: a File or another Blob, a stream of bytes, or its text. */
export type BackupSource = Blob | ReadableStream<Uint8Array> | string;

/** Options of an export. */
export interface ExportOptions {
  /**
   * `'ndjson'`: one line for each entry, with a count and a checksum; `'json'`: one object without them, the format of older apps.
   * Default `'ndjson'`.
   */
  readonly format?: 'ndjson' | 'json' | undefined;
  /** The type of the result: a `ReadableStream` of bytes or a `Blob`. Default `'stream'`. */
  readonly as?: 'stream' | 'blob' | undefined;
  /** Export only keys that begin with this text. Default: all keys. */
  readonly prefix?: string | undefined;
  /** Is called after each page of entries. Its errors are logged. */
  readonly onProgress?: ((progress: ExportProgress) => void) | undefined;
  /** Is called for each entry that cannot be exported; the entry is omitted. Without it, the export fails at the first such entry. */
  readonly onRefused?: ((failure: MigrationFailure) => void) | undefined;
  /** Stops the export, which then fails with the reason of the signal. */
  readonly signal?: AbortSignal | undefined;
}

/** The progress of an export. */
export interface ExportProgress {
  /** Entries written. */
  readonly done: number;
  /** Entries to write, counted when the export began. */
  readonly total: number;
  /** Bytes of their values, as JSON text in UTF-8. */
  readonly bytes: number;
}

/** Options of an adoption. */
export type AdoptOptions = Omit<MigrateOptions, 'activate'>;

/** A database that an older app has left at this origin. */
export interface OldDatabase {
  /** Its name, for `adopt()`. */
  readonly name: 'codeforge-storage' | 'CodeForgeDB';
  /** Its version. It is never raised. */
  readonly version: number;
  /** The number of records in all stores, including those that cannot be adopted. */
  readonly entries: number;
  /** Its object stores, those that can be adopted first. */
  readonly stores: readonly OldStore[];
}

/** An object store of an old database. */
export interface OldStore {
  /** Its name. */
  readonly name: string;
  /** The number of its records, including those that cannot be adopted. */
  readonly entries: number;
  /**
   * The text that `adopt()` puts before the keys of this store, such as `projects:`; empty for the main store. `undefined` if the
   * layout of the store is not known: `adopt()` names the store as one that it cannot copy.
   */
  readonly prefix: string | undefined;
}

/** Checked and complete options. */
export interface CheckedOptions {
  readonly onConflict: OnConflict;
  readonly dryRun: boolean;
  readonly activate: boolean;
  readonly signal: AbortSignal | undefined;
  readonly onProgress: ((progress: MigrationProgress) => void) | undefined;
  readonly onRefused: ((failure: MigrationFailure) => void) | undefined;
}

/**
 * Checks the options of a migration, an import or an adoption, and fills in the defaults.
 *
 * @param call The method in error messages.
 * @param conflictName The method's name for `onConflict`.
 * @throws {StorageError} `invalid-option`
 */
export function checkCopyOptions(
  call: 'migrateToFlask()' | 'migrateToIndexedDB()' | 'import()' | 'adopt()',
  options: unknown,
  conflictName: 'onConflict' | 'mode' = 'onConflict',
): CheckedOptions {
  const given = checkOptions<MigrateOptions & ImportOptions>(call, options, {
    [conflictName]: oneOf('overwrite', 'skip', 'fail'),
    dryRun: RULES.boolean,
    onProgress: RULES.function,
    onRefused: RULES.function,
    signal: RULES.signal,
    ...(call.startsWith('migrate') && { activate: RULES.boolean }),
  });
  const { dryRun = false, activate = false, signal, onProgress, onRefused } = given;
  return { onConflict: given[conflictName] ?? 'overwrite', dryRun, activate, signal, onProgress, onRefused };
}
