/** Opens a SQLite file as a store. */
import type { Logger } from '../../log.ts';
import type { QuotaOf } from '../quota.ts';
import type { Store } from '../store.ts';
import { adoptOldTable } from './adoption.ts';
import { mintEpoch, openDatabase } from './database.ts';
import { createSqliteStore } from './store.ts';

/** @throws {Error} If the file cannot be opened, or is not a SQLite file. */
export function openSqlite(
  path: string,
  isRestored: boolean,
  answerBytes: number,
  quotaOf: QuotaOf,
  log: Pick<Logger, 'info' | 'warn'>,
): Store {
  const database = openDatabase(path);
  try {
    const adoption = adoptOldTable(database);
    if (isRestored) mintEpoch(database);
    if (adoption?.adopted) log.info(`adopted ${adoption.adopted} keys of an old server`);
    if (adoption?.hadEmptyKey)
      log.warn('deleted the empty key, which an earlier version had adopted: it stays in the old table');
    if (adoption?.skipped)
      log.warn(
        `did not adopt ${adoption.skipped} rows: they have no key, an empty key or no JSON value, and stay in the old table`,
      );
    return createSqliteStore(database, answerBytes, quotaOf);
  } catch (error) {
    database.close();
    throw error;
  }
}
