/** A database file as the first servers made it. */
import { DatabaseSync } from 'node:sqlite';

/** @param rows Key and text of the value. */
export function makeOldFile(path: string, rows: Readonly<Record<string, string>>): void {
  using database = new DatabaseSync(path);
  database.exec(
    'CREATE TABLE storage (key TEXT PRIMARY KEY, value TEXT NOT NULL, created_at TEXT, updated_at TEXT)',
  );
  const insert = database.prepare('INSERT INTO storage (key, value) VALUES (?, ?)');
  for (const row of Object.entries(rows)) insert.run(...row);
}
