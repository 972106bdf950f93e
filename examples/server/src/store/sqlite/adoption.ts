/**
 * Copies the table `storage` of an old server, on the first start over its file. The old table stays unchanged, so the old
 * server can still be started.
 */
import type { DatabaseSync } from 'node:sqlite';
import { ANONYMOUS_TENANT } from '../store.ts';
import { transaction } from './database.ts';

/** The numbers of an adoption. */
export interface Adoption {
  /** Rows that were copied. */
  readonly adopted: number;
  /** Rows without a key or without a JSON text. They stay in the old table only. */
  readonly skipped: number;
}

/** Copies all rows in one transaction. Returns `undefined` when the table does not exist or was adopted before. */
export function adoptOldTable(database: DatabaseSync): Adoption | undefined {
  return transaction(database, () => {
    const columns = database.prepare("SELECT name FROM pragma_table_info('storage')").all();
    const names = columns.map(({ name }) => name);
    if (!names.includes('key') || !names.includes('value') || isAdopted(database)) return undefined;
    const adoption = copyRows(database);
    database.exec("INSERT INTO meta (name, value) VALUES ('adopted', 'storage')");
    return adoption;
  });
}

function isAdopted(database: DatabaseSync): boolean {
  return database.prepare("SELECT 1 FROM meta WHERE name = 'adopted'").get() !== undefined;
}

function copyRows(database: DatabaseSync): Adoption {
  const insert = database.prepare(
    'INSERT OR REPLACE INTO records (tenant, key, value, rev) VALUES (?, ?, ?, ?)',
  );
  let seq = Number(
    database.prepare('SELECT seq FROM tenants WHERE tenant = ?').get(ANONYMOUS_TENANT)?.seq ?? 0,
  );
  let adopted = 0;
  let skipped = 0;
  for (const { key, value } of database.prepare('SELECT key, value FROM storage').iterate()) {
    if (typeof key === 'string' && typeof value === 'string' && isJson(value)) {
      seq += 1;
      insert.run(ANONYMOUS_TENANT, key, value, seq);
      adopted += 1;
    } else skipped += 1;
  }
  database
    .prepare(
      'INSERT INTO tenants (tenant, seq) VALUES (?, ?) ON CONFLICT (tenant) DO UPDATE SET seq = excluded.seq',
    )
    .run(ANONYMOUS_TENANT, seq);
  return { adopted, skipped };
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
