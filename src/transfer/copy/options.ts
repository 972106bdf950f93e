/**
 * What may be asked of a migration, an import or an adoption, and what they tell.
 */
import { checkOptions, oneOf, RULES } from '../../core/options.ts';
import type { MigrationFailure } from './errors.ts';

/**
 * What becomes of a key that the target holds with another value: `'overwrite'`, the target's is replaced; `'skip'`, the target's
 * stays; `'fail'`, nothing at all is written. An equal value is no conflict.
 */
export type OnConflict = 'overwrite' | 'skip' | 'fail';

/** How far it is. */
export interface MigrationProgress {
  /**
   * `'check'`: a backup is read, and its checksum verified; `'plan'`: both sides are read, nothing is written; `'copy'`: entries are written and read back; `'catch-up'`: what was written
   * to the source meanwhile is looked for.
   */
  readonly phase: 'check' | 'plan' | 'copy' | 'catch-up';
  /** Entries of this phase that are done, those of a run that was cut off included. */
  readonly done: number;
  /** Entries of the source when it began. */
  readonly total: number;
  /** Bytes of the values that were sent in this run, as JSON text in UTF-8. */
  readonly bytes: number;
}

/** What is to be done, told by a dry run. */
export interface MigrationPlan {
  /** Entries of the source. */
  readonly entries: number;
  /** Bytes of their values, as JSON text in UTF-8. */
  readonly bytes: number;
  /** How many of them the target holds already, with an equal value. */
  readonly equal: number;
  /** Keys that the target holds with another value. */
  readonly conflicts: readonly string[];
  /** Entries that the target would refuse, as far as it tells beforehand. */
  readonly refused: readonly MigrationFailure[];
}

/** What is common to migration, import and adoption. */
export interface CopyOptions {
  /** Only tell what would be done: nothing is written. Default `false`. */
  readonly dryRun?: boolean | undefined;
  /** Called as it goes on. What it throws is logged. */
  readonly onProgress?: ((progress: MigrationProgress) => void) | undefined;
  /**
   * Called with each entry that is left out: one that cannot be read, whose key or value cannot be stored, or that the target
   * refuses for good, for example because it is too large. The call then resolves with the number of the others. Without this
   * option such an entry makes the call reject at the end, after the others were copied. Each entry is reported once, just before
   * the call resolves or the target is activated. An error that the function throws rejects the call. A dry run does not call it.
   */
  readonly onRefused?: ((failure: MigrationFailure) => void) | undefined;
  /** Ends it. What was brought over until then stays. */
  readonly signal?: AbortSignal | undefined;
}

/** Options of a migration. */
export interface MigrateOptions extends CopyOptions {
  /** What becomes of a key that the target holds with another value. Default `'overwrite'`. */
  readonly onConflict?: OnConflict | undefined;
  /**
   * Use the target from then on, if everything arrived. Default `false`. Calls wait while what was written meanwhile is looked for
   * once more. It holds for this object: `useFlask` decides what the next one uses.
   */
  readonly activate?: boolean | undefined;
}

/** Options of an import. */
export interface ImportOptions extends CopyOptions {
  /** What becomes of a key that exists with another value. Default `'overwrite'`. */
  readonly mode?: OnConflict | undefined;
}

/** What an import reads. */
export type BackupSource = Blob | ReadableStream<Uint8Array> | string;

/** Options of an export. */
export interface ExportOptions {
  /**
   * `'ndjson'`: a line an entry, with count and checksum; `'json'`: one bare object, as the first apps wrote it, without them.
   * Default `'ndjson'`.
   */
  readonly format?: 'ndjson' | 'json' | undefined;
  /** What is returned. Default `'stream'`. */
  readonly as?: 'stream' | 'blob' | undefined;
  /** Only keys that begin with this text. Default: all. */
  readonly prefix?: string | undefined;
  /** Called as it goes on, with the entries written. What it throws is logged. */
  readonly onProgress?: ((progress: ExportProgress) => void) | undefined;
  /** Told of each entry that cannot be in a backup, which is then left out. Without it the export fails at the first. */
  readonly onRefused?: ((failure: MigrationFailure) => void) | undefined;
  /** Ends it. */
  readonly signal?: AbortSignal | undefined;
}

/** How far an export is. */
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

/** Options, checked and complete. */
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
 * @param call Names the method, for messages.
 * @param conflictName The name of `onConflict` there.
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
