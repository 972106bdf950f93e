/**
 * The SQLite file: its tables, how it is opened, and transactions. The Flask server reads and writes the same tables.
 *
 * - `meta`: `epoch` identifies this incarnation of the data.
 * - `tenants`: `seq` counts a tenant's changes and never decreases. `cleared` is its value at the last clear. `forgotten`
 *   is the highest revision of all expired tombstones.
 * - `records`: entries, and tombstones (without a value) for keys that were deleted since the last clear. Rows up to `cleared`
 *   do not count: a clear leaves most of them, and they are deleted in slices afterwards. The value is the last column: SQLite
 *   reads through a large value to reach the columns after it.
 * - `mutation_clients`: the clients that number their mutations. `settled` is the number up to which a client has settled
 *   all of them, `top` the highest number.
 * - `mutations`: the results of a mutation's writes (results-column.ts); null if its client gave it up. Rows with a settled
 *   number count as deleted.
 * - `tenant_usage`: what a tenant with a quota uses (quota.ts), valid while `seq` is that of the tenant.
 */
import { randomBytes } from 'node:crypto';
import { DatabaseSync } from 'node:sqlite';
import { RETENTION } from '../store.ts';

/** Milliseconds to wait for another process that writes. */
const BUSY_TIMEOUT = 5000;

/** Milliseconds for which a failed attempt says that the lock is still taken. */
const BUSY_MEMORY = 1000;

/** The longest pause in milliseconds between two attempts to get the lock of another process. */
const MAX_PAUSE = 50;

/** Bytes to which the write-ahead log is cut after it was longer, as it is while a snapshot is read slowly. */
export const MAX_WAL_BYTES = 16 * 1024 * 1024;

/** The condition for rows of tenant `?1` that are entries: no tombstones, and not cleared. */
export const IS_ENTRY = 'value IS NOT NULL AND rev > (SELECT cleared FROM tenants WHERE tenant = ?1)';

/** Rows that one statement deletes: few enough to keep the event loop free. */
const SLICE = 1000;

/** SQLite's primary result code of a lock that another connection has. */
const SQLITE_BUSY = 5;

/** Opens the database at `path`, and creates missing tables. */
export function openDatabase(path: string): DatabaseSync {
  const database = new DatabaseSync(path);
  try {
    database.exec(`PRAGMA busy_timeout = ${BUSY_TIMEOUT}`);
    database.exec('PRAGMA journal_mode = WAL');
    // A commit returns when the disk has it. With NORMAL, the default of WAL, a power failure can lose the last commits.
    database.exec('PRAGMA synchronous = FULL');
    database.exec(`PRAGMA journal_size_limit = ${MAX_WAL_BYTES}`);
    transaction(database, () => createTables(database));
    return database;
  } catch (error) {
    database.close();
    throw error;
  }
}

/** Opens a second, read-only connection to the same file. It does not block writes. */
export function openReader(database: DatabaseSync): DatabaseSync {
  const reader = new DatabaseSync(database.location() ?? '', { readOnly: true });
  reader.exec(`PRAGMA busy_timeout = ${BUSY_TIMEOUT}`);
  return reader;
}

/** Holds the write lock from its begin. */
const BEGIN_WRITE = 'BEGIN IMMEDIATE';
/** Its reads see one committed state. */
const BEGIN_READ = 'BEGIN';

/** Runs `work` in a write transaction. The changes are durable when this returns. */
export function transaction<T>(database: DatabaseSync, work: () => T): T {
  database.exec(BEGIN_WRITE);
  try {
    const result = work();
    database.exec('COMMIT');
    return result;
  } catch (error) {
    rollBack(database);
    throw error;
  }
}

/** Runs transactions on one connection, one after the other. */
export interface Transactions {
  /** Resolves when the changes of `work` are durable. */
  write<T>(work: () => T | Promise<T>): Promise<T>;
  /** Runs `work` over one committed state. */
  read<T>(work: () => T | Promise<T>): Promise<T>;
  /** Runs `work` between two transactions. */
  between(work: () => void): Promise<void>;
  /** Resolves after all earlier transactions. */
  idle(): Promise<void>;
}

/**
 * A queue of transactions for a connection. A transaction starts after the one before it has ended, so none reads what
 * another has not committed, even if `work` awaits.
 *
 * While another process has the lock, a write is tried again after a pause. Reads are carried out meanwhile, other writes wait
 * for their turn. SQLite's own waiting would block the event loop. When the lock has not been free for five seconds, writes
 * are refused, later ones at once: otherwise each would wait for those before it, too.
 *
 * `work` must await only promises that are already settled. Such a transaction also runs within one task of the event
 * loop: between its BEGIN and its COMMIT only microtasks run, so no timer and no socket is served and the write lock is
 * not held across I/O.
 */
export function createTransactions(database: DatabaseSync): Transactions {
  database.exec('PRAGMA busy_timeout = 0');
  let last: Promise<unknown> = Promise.resolve();
  let lastWrite: Promise<unknown> = Promise.resolve();

  function enqueue<T>(work: () => Promise<T>): Promise<T> {
    const result = last.then(work);
    last = result.catch(() => {});
    return result;
  }

  function attempt<T>(begin: string, work: () => T | Promise<T>): Promise<T> {
    return enqueue(async () => {
      database.exec(begin);
      try {
        const result = await work();
        database.exec('COMMIT');
        return result;
      } catch (error) {
        rollBack(database);
        throw error;
      }
    });
  }

  /** Since when, and when last, each kind of transaction has not got its lock. */
  const busy = new Map<string, { readonly since: number; readonly last: number }>();

  /** Repeats a transaction until no other process has the lock. */
  async function run<T>(begin: string, work: () => T | Promise<T>): Promise<T> {
    for (let pause = 1; ; pause = Math.min(2 * pause, MAX_PAUSE)) {
      try {
        const result = await attempt(begin, work);
        busy.delete(begin);
        return result;
      } catch (error) {
        if (!isBusy(error)) throw error;
        const last = Date.now();
        const before = busy.get(begin);
        // After a while without an attempt, nothing is known of the lock.
        const since = before !== undefined && last - before.last < BUSY_MEMORY ? before.since : last;
        busy.set(begin, { since, last });
        if (last - since > BUSY_TIMEOUT) throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }

  return {
    write(work) {
      const result = lastWrite.then(() => run(BEGIN_WRITE, work));
      lastWrite = result.catch(() => {});
      return result;
    },
    read: (work) => run(BEGIN_READ, work),
    between: (work) => enqueue(async () => work()),
    async idle() {
      await lastWrite;
      await last;
    },
  };
}

/** Whether another process has the lock that a statement needs. */
export function isBusy(error: unknown): boolean {
  const { errcode = 0 } = error as { errcode?: number };
  // The low byte of an extended code is the primary one.
  return (errcode & 0xff) === SQLITE_BUSY;
}

function rollBack(database: DatabaseSync): void {
  // When the disk is full, SQLite has already rolled back.
  if (database.isTransaction) database.exec('ROLLBACK');
}

/** Assigns a new epoch: revisions and cursors of the previous one have no meaning for this data. */
export function mintEpoch(database: DatabaseSync): void {
  transaction(database, () => {
    database.prepare("UPDATE meta SET value = ? WHERE name = 'epoch'").run(newEpoch());
  });
}

/**
 * Deletes a slice of the expired tombstones and of the clients with their stored results, inside a transaction.
 * Returns whether there may be more.
 */
export function deleteExpired(database: DatabaseSync): boolean {
  const time = Date.now() - RETENTION;
  const tombstones =
    'SELECT rowid FROM records WHERE value IS NULL AND deleted_at_ms < ?1 ORDER BY deleted_at_ms LIMIT ?2';
  database
    .prepare(
      'UPDATE tenants SET forgotten = old.rev FROM ' +
        `(SELECT tenant, MAX(rev) AS rev FROM records WHERE rowid IN (${tombstones}) GROUP BY tenant) AS old ` +
        'WHERE tenants.tenant = old.tenant AND forgotten < old.rev AND cleared < old.rev',
    )
    .run(time, SLICE);
  const { changes } = database.prepare(`DELETE FROM records WHERE rowid IN (${tombstones})`).run(time, SLICE);
  const clients =
    'SELECT tenant, client FROM mutation_clients WHERE used_at_ms < ?1 ORDER BY tenant, client LIMIT ?2';
  database.prepare(`DELETE FROM mutations WHERE (tenant, client) IN (${clients})`).run(time, SLICE);
  const gone = database
    .prepare(`DELETE FROM mutation_clients WHERE (tenant, client) IN (${clients})`)
    .run(time, SLICE);
  return Number(changes) === SLICE || Number(gone.changes) === SLICE;
}

/** Deletes a slice of the rows that a clear of the tenant has left, inside a transaction. Returns whether there may be more. */
export function deleteCleared(database: DatabaseSync, tenant: string): boolean {
  const { changes } = database
    .prepare(
      'DELETE FROM records WHERE rowid IN (SELECT rowid FROM records ' +
        'WHERE tenant = ?1 AND rev <= (SELECT cleared FROM tenants WHERE tenant = ?1) LIMIT ?2)',
    )
    .run(tenant, SLICE);
  return Number(changes) === SLICE;
}

function newEpoch(): string {
  return randomBytes(8).toString('hex');
}

function createTables(database: DatabaseSync): void {
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
    -- The results of single writes, of an earlier version.
    DROP TABLE IF EXISTS clients;
    CREATE TABLE IF NOT EXISTS mutation_clients (
      tenant TEXT NOT NULL, client TEXT NOT NULL, settled INTEGER NOT NULL, top INTEGER NOT NULL,
      used_at_ms INTEGER NOT NULL, PRIMARY KEY (tenant, client)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS mutations (
      tenant TEXT NOT NULL, client TEXT NOT NULL, m INTEGER NOT NULL, results TEXT,
      PRIMARY KEY (tenant, client, m)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS tenant_usage (
      tenant TEXT PRIMARY KEY, seq INTEGER NOT NULL, keys INTEGER NOT NULL, bytes INTEGER NOT NULL) WITHOUT ROWID`);
  database.prepare("INSERT OR IGNORE INTO meta (name, value) VALUES ('epoch', ?)").run(newEpoch());
}
