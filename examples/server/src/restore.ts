/**
 * Restores a backup of BACKUP_DIR into an empty database. Nothing is written unless the whole file is undamaged.
 *
 * The restored data has a new epoch, so clients notice the restore and list everything again.
 */
import { type BackupContents, checkBackupFile, DamagedBackup, readBackupFile } from './backup/file.ts';
import { type Config, ConfigError, readConfig } from './config.ts';
import { describeDatabase, openStore } from './open-store.ts';
import { NO_QUOTAS } from './store/quota.ts';
import type { Store } from './store/store.ts';

/** `settings`: a variable is wrong. `damaged`: the file is. `not-empty`: the database has data. In these cases nothing was written. */
export type RestoreErrorCode = 'settings' | 'damaged' | 'not-empty' | 'failed';

/** Why nothing, or with `failed` only a part, was restored. */
export class RestoreError extends Error {
  override readonly name = 'RestoreError';
  readonly code: RestoreErrorCode;

  constructor(code: RestoreErrorCode, message: string, cause?: unknown) {
    super(message, { cause });
    this.code = code;
  }
}

/** What was restored, or would be. */
export interface Restored extends BackupContents {
  readonly database: string;
  /** Of the restored data. Absent after a dry run. */
  readonly epoch?: string;
}

/**
 * @param env The settings of the database: see `SETTINGS`.
 * @param signal Ends it between two pages.
 * @throws {RestoreError}
 */
export async function restoreBackup(
  file: string,
  env: NodeJS.ProcessEnv,
  { dryRun, signal }: { readonly dryRun: boolean; readonly signal: AbortSignal },
): Promise<Restored> {
  const config = configOf(env);
  const database = describeDatabase(config.database);
  let contents: BackupContents;
  try {
    contents = await checkBackupFile(file, signal);
  } catch (error) {
    signal.throwIfAborted();
    const { message } = error as Error;
    if (error instanceof DamagedBackup)
      throw new RestoreError(
        'damaged',
        `${file} cannot be restored: ${message}. Nothing was changed.`,
        error,
      );
    throw new RestoreError('failed', `${file} cannot be read: ${message}. Nothing was changed.`, error);
  }
  if (dryRun) return { database, ...contents };
  const store = await openStore({ ...config, restored: true, quotaOf: NO_QUOTAS }, config.maxBodyBytes, {
    info() {},
    warn() {},
  }).catch((error) => {
    throw new RestoreError(
      'failed',
      `${database} cannot be opened: ${error.message}. Nothing was changed.`,
      error,
    );
  });
  try {
    if ((await store.tenants()).length > 0)
      throw new RestoreError(
        'not-empty',
        `${database} has data already. Restore into a new database, and then let the server use that. Nothing was restored.`,
      );
    await fill(store, file, signal).catch((error) => {
      throw new RestoreError(
        'failed',
        `The restore into ${database} failed: ${error.message}. It holds only a part of the backup now: delete it, and restore again.`,
        error,
      );
    });
    return { database, ...contents, epoch: store.epoch };
  } finally {
    await store.close();
  }
}

async function fill(store: Store, file: string, signal: AbortSignal): Promise<void> {
  for await (const { tenant, page } of readBackupFile(file)) {
    signal.throwIfAborted();
    await store.run(tenant, { operations: page.map(({ key, text }) => ({ type: 'put', key, value: text })) });
  }
}

function configOf({ DATABASE_URL, DATABASE_PATH, DATABASE_POOL, MAX_BODY_BYTES }: NodeJS.ProcessEnv): Config {
  try {
    return readConfig({ DATABASE_URL, DATABASE_PATH, DATABASE_POOL, MAX_BODY_BYTES });
  } catch (error) {
    if (error instanceof ConfigError) throw new RestoreError('settings', error.message, error);
    throw error;
  }
}
