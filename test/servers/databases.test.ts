/** The store over each database. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { it } from 'vitest';
import { parseDatabaseUrl } from '../../examples/server/src/database-url.ts';
import { openStore } from '../../examples/server/src/open-store.ts';
import { openDatabase } from '../../examples/server/src/store/sqlite/database.ts';
import { createSqliteStore } from '../../examples/server/src/store/sqlite/store.ts';
import type { Store } from '../../examples/server/src/store/store.ts';
import { query as queryMariadb, startMariadb } from '../support/databases/mariadb.ts';
import { query as queryPostgres, startPostgres } from '../support/databases/postgres.ts';
import { DATABASES, type DatabaseName, databaseSkipReason } from '../support/databases/programs.ts';
import { ANSWER_BYTES, type DatabaseUnderTest, PAST, QUOTAS, storeContract } from './store-contract.ts';

const silent = { info() {}, warn() {} };

/** Opens the store as the server does, but with a small answer. */
async function open(url: string, quotaOf = QUOTAS): Promise<Store> {
  const config = {
    database: parseDatabaseUrl(url),
    poolSize: 5,
    restored: false,
    maxBodyBytes: 8 * 1024 * 1024,
    quotaOf,
  };
  return openStore(config, ANSWER_BYTES, silent);
}

async function startSqlite(): Promise<DatabaseUnderTest> {
  const folder = await mkdtemp(join(tmpdir(), 'codeforge-store-'));
  const path = join(folder, 'test.db');
  const query = (sql: string, ...values: Array<string | number>) => {
    using database = new DatabaseSync(path);
    return database.prepare(sql).all(...values);
  };
  return {
    open: (quotaOf) => open(`sqlite:${path}`, quotaOf),
    async age(what, tenant, key) {
      if (what === 'clients')
        query('UPDATE mutation_clients SET used_at_ms = ? WHERE tenant = ?', PAST, tenant);
      else
        query('UPDATE records SET deleted_at_ms = ? WHERE tenant = ? AND key = ?', PAST, tenant, key ?? '');
    },
    mutations: async (tenant) =>
      Number(query('SELECT COUNT(*) AS n FROM mutations WHERE tenant = ?', tenant)[0]?.n),
    stop: () => rm(folder, { recursive: true, force: true }),
  };
}

async function startServer(name: DatabaseName): Promise<DatabaseUnderTest> {
  const isPostgres = name === 'postgres';
  const server = await (isPostgres ? startPostgres : startMariadb)();
  const query = isPostgres ? queryPostgres : queryMariadb;
  const [one, two, three, key] = isPostgres ? ['$1', '$2', '$3', 'key'] : ['?', '?', '?', 'entry_key'];
  return {
    open: (quotaOf) => open(server.url, quotaOf),
    async age(what, tenant, entryKey) {
      const values = [PAST, Buffer.from(tenant)];
      if (what === 'clients')
        await query(
          server.url,
          `UPDATE codeforge_clients SET used_at_ms = ${one} WHERE tenant = ${two}`,
          values,
        );
      else
        await query(
          server.url,
          `UPDATE codeforge_records SET deleted_at_ms = ${one} WHERE tenant = ${two} AND ${key} = ${three}`,
          [...values, Buffer.from(entryKey ?? '')],
        );
    },
    async mutations(tenant) {
      const sql = `SELECT COUNT(*) AS n FROM codeforge_mutations WHERE tenant = ${one}`;
      const [row] = await query(server.url, sql, [Buffer.from(tenant)]);
      return Number((row as { n: unknown }).n);
    },
    stop: () => server.stop(),
  };
}

const openReference = async (): Promise<Store> =>
  createSqliteStore(openDatabase(':memory:'), ANSWER_BYTES, QUOTAS);

storeContract('SQLite', startSqlite, openReference);
for (const name of ['postgres', 'mysql'] as const) {
  const { title } = DATABASES[name];
  const skipped = databaseSkipReason(name);
  if (skipped === undefined) storeContract(title, () => startServer(name), openReference);
  else it.skip(`${title}: ${skipped}`);
}
