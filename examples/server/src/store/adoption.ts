/**
 * The database of an old server becomes ours: on the first start its table `storage` is copied, once, and itself stays
 * as it is, so that the old server can still be started.
 */
import type { DatabaseSync } from 'node:sqlite';
import { transaction } from './database.ts';

/** What an adoption did. */
export interface Adoption {
  /** Rows that were copied. */
  readonly adopted: number;
  /** Rows without a key or without a JSON text, which only the old table has. */
  readonly left: number;
}

/** Copy the old table's rows, all or none. `undefined` where there is no such table, or it was adopted before. */
export function adoptOldTable(database: DatabaseSync): Adoption | undefined {
  return transaction(database, () => {
    if (!hasOldTable(database) || isAdopted(database)) return undefined;
    const adoption = copyRows(database);
    database.exec("INSERT INTO meta (name, value) VALUES ('adopted', 'storage')");
    return adoption;
  });
}

function hasOldTable(database: DatabaseSync): boolean {
  const columns = database
    .prepare("SELECT name FROM pragma_table_info('storage')")
    .all()
    .map(({ name }) => name);
  return columns.includes('key') && columns.includes('value');
}

function isAdopted(database: DatabaseSync): boolean {
  return database.prepare("SELECT 1 FROM meta WHERE name = 'adopted'").get() !== undefined;
}

function copyRows(database: DatabaseSync): Adoption {
  const nextSeq = database.prepare("UPDATE meta SET value = value + 1 WHERE name = 'seq'");
  const insert = database.prepare(
    "INSERT OR REPLACE INTO entries (key, value, rev) VALUES (?, ?, (SELECT value FROM meta WHERE name = 'seq'))",
  );
  let adopted = 0;
  let left = 0;
  for (const { key, value } of database.prepare('SELECT key, value FROM storage').iterate()) {
    if (typeof key === 'string' && typeof value === 'string' && isJson(value)) {
      nextSeq.run();
      insert.run(key, value);
      adopted += 1;
    } else left += 1;
  }
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
