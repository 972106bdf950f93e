/**
 * Older databases become ours. The table `storage` of an old server is copied on the first start, once, and itself stays
 * as it is, so that the old server can still be started. The table `entries` of the first version of this server, which
 * knew no tenants, is moved.
 */
import type { DatabaseSync } from 'node:sqlite';
import { ANONYMOUS_TENANT } from '../tenant.ts';
import { transaction } from './database.ts';

/** What an adoption did. */
export interface Adoption {
  /** Rows that were copied. */
  readonly adopted: number;
  /** Rows without a key or without a JSON text, which only the old table has. */
  readonly left: number;
}

/** Copy the old table's rows, all or none. `undefined` where there is no such table, or it was adopted before. */
export function adoptOldTables(database: DatabaseSync): Adoption | undefined {
  return transaction(database, () => {
    if (columnsOf(database, 'entries').includes('rev')) moveEntries(database);
    const columns = columnsOf(database, 'storage');
    if (!columns.includes('key') || !columns.includes('value') || isAdopted(database)) return undefined;
    const adoption = copyRows(database);
    database.exec("INSERT INTO meta (name, value) VALUES ('adopted', 'storage')");
    return adoption;
  });
}

function columnsOf(database: DatabaseSync, table: string): unknown[] {
  return database
    .prepare('SELECT name FROM pragma_table_info(?)')
    .all(table)
    .map(({ name }) => name);
}

function isAdopted(database: DatabaseSync): boolean {
  return database.prepare("SELECT 1 FROM meta WHERE name = 'adopted'").get() !== undefined;
}

function moveEntries(database: DatabaseSync): void {
  database
    .prepare(
      "INSERT OR REPLACE INTO tenants (tenant, seq) SELECT ?, CAST(value AS INTEGER) FROM meta WHERE name = 'seq'",
    )
    .run(ANONYMOUS_TENANT);
  database
    .prepare(
      'INSERT OR REPLACE INTO records (tenant, key, value, rev) SELECT ?, key, value, rev FROM entries',
    )
    .run(ANONYMOUS_TENANT);
  database.exec("DELETE FROM meta WHERE name = 'seq'; DROP TABLE entries");
}

function copyRows(database: DatabaseSync): Adoption {
  const insert = database.prepare(
    'INSERT OR REPLACE INTO records (tenant, key, value, rev) VALUES (?, ?, ?, ?)',
  );
  let seq = Number(
    database.prepare('SELECT seq FROM tenants WHERE tenant = ?').get(ANONYMOUS_TENANT)?.seq ?? 0,
  );
  let adopted = 0;
  let left = 0;
  for (const { key, value } of database.prepare('SELECT key, value FROM storage').iterate()) {
    if (typeof key === 'string' && typeof value === 'string' && isJson(value)) {
      seq += 1;
      insert.run(ANONYMOUS_TENANT, key, value, seq);
      adopted += 1;
    } else left += 1;
  }
  database
    .prepare(
      'INSERT INTO tenants (tenant, seq) VALUES (?, ?) ON CONFLICT (tenant) DO UPDATE SET seq = excluded.seq',
    )
    .run(ANONYMOUS_TENANT, seq);
  return { adopted, left };
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
