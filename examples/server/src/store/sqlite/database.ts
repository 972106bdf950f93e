/**
 * The SQLite file: how it is opened, and what is in it. The Flask server reads and writes the same tables.
 *
 * - `meta`: `epoch`, which names this incarnation of the data.
 * - `tenants`: `seq` counts a tenant's changes and only grows; `cleared` is its value at the last clear; `forgotten` the
 *   highest revision among the tombstones that are gone.
 * - `records`: entries, and as tombstones (without a value) the keys that were deleted since the last clear. The value
 *   stands last: SQLite walks through a large one to reach what stands behind it.
 * - `clients`: of each client its last numbered writes, `first_n` to `last_n`, and their results.
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
  return between(database, 'BEGIN IMMEDIATE', work);
}

/** Run `work` over one state of the data. */
export function reading<T>(database: DatabaseSync, work: () => T): T {
  return between(database, 'BEGIN', work);
}

function between<T>(database: DatabaseSync, begin: string, work: () => T): T {
  database.exec(begin);
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

/** Another epoch: revisions and cursors of before say nothing about this data. */
export function mintEpoch(database: DatabaseSync): void {
  transaction(database, () => {
    database.prepare("UPDATE meta SET value = ? WHERE name = 'epoch'").run(newEpoch());
  });
}

function newEpoch(): string {
  return randomBytes(8).toString('hex');
}

function makeTables(database: DatabaseSync): void {
  database.exec(`
    CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value);
    CREATE TABLE IF NOT EXISTS tenants (
      tenant TEXT PRIMARY KEY, seq INTEGER NOT NULL DEFAULT 0, cleared INTEGER NOT NULL DEFAULT 0,
      forgotten INTEGER NOT NULL DEFAULT 0);
    CREATE TABLE IF NOT EXISTS records (
      tenant TEXT NOT NULL, key TEXT NOT NULL, rev INTEGER NOT NULL, deleted_at_ms INTEGER, value TEXT,
      PRIMARY KEY (tenant, key));
    CREATE INDEX IF NOT EXISTS records_by_rev ON records (tenant, rev);
    CREATE INDEX IF NOT EXISTS tombstones ON records (deleted_at_ms) WHERE value IS NULL;
    CREATE TABLE IF NOT EXISTS clients (
      tenant TEXT NOT NULL, client TEXT NOT NULL, first_n INTEGER NOT NULL, last_n INTEGER NOT NULL,
      results TEXT NOT NULL, used_at_ms INTEGER NOT NULL, PRIMARY KEY (tenant, client)) WITHOUT ROWID`);
  database.prepare("INSERT OR IGNORE INTO meta (name, value) VALUES ('epoch', ?)").run(newEpoch());
}
