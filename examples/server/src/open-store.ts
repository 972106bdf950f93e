/** Opens the store that the configuration names. Only the driver of its database is loaded. */
import type { Config } from './config.ts';
import type { DatabaseLocation, NetworkedDatabase } from './database-url.ts';
import type { Logger } from './log.ts';
import type { Driver } from './store/driver.ts';
import { createPooledStore } from './store/pooled-store.ts';
import type { Store } from './store/store.ts';

type StoreConfig = Pick<Config, 'database' | 'poolSize' | 'restored' | 'maxBodyBytes' | 'quotaOf'>;

/**
 * @param answerBytes Bytes of values in one answer.
 * @throws {Error} If the database cannot be opened.
 */
export async function openStore(
  config: StoreConfig,
  answerBytes: number,
  log: Pick<Logger, 'info' | 'warn'>,
): Promise<Store> {
  const { database, restored, quotaOf } = config;
  let store: Store;
  if (database.kind === 'sqlite') {
    const { openSqlite } = await import('./store/sqlite/open.ts');
    store = openSqlite(database.path, restored, answerBytes, quotaOf, log);
  } else store = createPooledStore(await openDriver(config, database), answerBytes, quotaOf);
  if (restored) log.info('created a new epoch: clients will list everything again');
  return store;
}

/** The database as messages may name it: without the password. */
export function describeDatabase(database: DatabaseLocation): string {
  if (database.kind === 'sqlite') return database.path;
  const hosts = database.hosts.map(({ host, port }) => `${host.includes(':') ? `[${host}]` : host}:${port}`);
  return `${database.kind}://${database.user}@${hosts.join()}/${database.database}`;
}

async function openDriver(
  { poolSize, restored, maxBodyBytes }: StoreConfig,
  database: NetworkedDatabase,
): Promise<Driver> {
  if (database.kind === 'mysql') {
    const { openMysql } = await import('./store/mysql/driver.ts');
    return openMysql(database, poolSize, restored, maxBodyBytes);
  }
  const { openPostgres } = await import('./store/postgres/driver.ts');
  return openPostgres(database, poolSize, restored);
}
