/**
 * The SQLite file: how it is opened, and what is in it. The Flask server reads and writes the same tables.
 *
 * `meta` holds `epoch`, which names this incarnation of the data, and `seq`, which counts its changes and only grows.
 */
import { randomBytes } from 'node:crypto';
import { DatabaseSync } from 'node:sqlite';

/** Milliseconds to wait for another process that writes. */
const BUSY_TIMEOUT = 5000;

/** Open the database at `path`, and make its tables where they are missing. */
export function openDatabase(path: string): DatabaseSync {
  const database = new DatabaseSync(path);
  try {
    database.exec(`PRAGMA busy_timeout = ${BUSY_TIMEOUT}`);
    database.exec('PRAGMA journal_mode = WAL');
    // A commit returns when the disk has it. WAL's usual NORMAL could lose the last commits with the power.
    database.exec('PRAGMA synchronous = FULL');
    transaction(database, () => makeTables(database));
    return database;
  } catch (error) {
    database.close();
    throw error;
  }
}

/** Open a second, read-only connection to the same file: it does not hold back writes. */
export function openReader(database: DatabaseSync): DatabaseSync {
  const reader = new DatabaseSync(database.location() ?? '', { readOnly: true });
  reader.exec(`PRAGMA busy_timeout = ${BUSY_TIMEOUT}`);
  return reader;
}

/** Run `work` in a transaction that holds the write lock from its begin; durable when this returns. */
export function transaction<T>(database: DatabaseSync, work: () => T): T {
  database.exec('BEGIN IMMEDIATE');
  try {
    const result = work();
    database.exec('COMMIT');
    return result;
  } catch (error) {
    // SQLite ends it by itself when the disk is full.
    if (database.isTransaction) database.exec('ROLLBACK');
    throw error;
  }
}

function makeTables(database: DatabaseSync): void {
  database.exec('CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value)');
  database.exec(
    'CREATE TABLE IF NOT EXISTS entries (key TEXT PRIMARY KEY, value TEXT NOT NULL, rev INTEGER NOT NULL)',
  );
  database
    .prepare("INSERT OR IGNORE INTO meta (name, value) VALUES ('epoch', ?), ('seq', 0)")
    .run(randomBytes(8).toString('hex'));
}
