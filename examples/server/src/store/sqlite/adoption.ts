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
  /** Rows without a key (the empty key is none) or without a JSON text. They stay in the old table only. */
  readonly skipped: number;
  /** Whether an earlier version had adopted the empty key, which the contract does not have. It was deleted. */
  readonly hadEmptyKey: boolean;
}

/** Copies all rows in one transaction. Returns `undefined` when there is nothing to do. */
export function adoptOldTable(database: DatabaseSync): Adoption | undefined {
  return transaction(database, () => {
    const columns = database.prepare("SELECT name FROM pragma_table_info('storage')").all();
    const names = columns.map(({ name }) => name);
    if (!names.includes('key') || !names.includes('value') || isAdopted(database))
      return deleteEmptyKey(database) ? { adopted: 0, skipped: 0, hadEmptyKey: true } : undefined;
    const adoption = copyRows(database);
    database.exec("INSERT INTO meta (name, value) VALUES ('adopted', 'storage')");
    return adoption;
  });
}

function isAdopted(database: DatabaseSync): boolean {
  return database.prepare("SELECT 1 FROM meta WHERE name = 'adopted'").get() !== undefined;
}

/** Returns whether there was one. */
function deleteEmptyKey(database: DatabaseSync): boolean {
  const { changes } = database
    .prepare("DELETE FROM records WHERE tenant = ? AND key = '' AND value IS NOT NULL")
    .run(ANONYMOUS_TENANT);
  return changes !== 0;
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
    if (typeof key === 'string' && key !== '' && typeof value === 'string' && isJson(value)) {
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
  return { adopted, skipped, hadEmptyKey: false };
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
