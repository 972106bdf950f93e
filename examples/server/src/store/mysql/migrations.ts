/**
 * The tables in MariaDB or MySQL, as numbered migrations. postgres/migrations.ts explains the columns.
 *
 * DDL commits by itself here, so a migration may be interrupted after any of its statements. Each statement can be repeated.
 */
import type { Connection } from 'mariadb';

const OPTIONS = 'ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin';

const CREATE_META = `CREATE TABLE IF NOT EXISTS codeforge_meta (
  name VARBINARY(64) PRIMARY KEY, value VARBINARY(255) NOT NULL) ${OPTIONS}`;

/** Never change one that was released: add another. */
const MIGRATIONS = [
  [
    `CREATE TABLE IF NOT EXISTS codeforge_tenants (
      tenant VARBINARY(64) PRIMARY KEY, seq BIGINT NOT NULL DEFAULT 0, cleared BIGINT NOT NULL DEFAULT 0,
      forgotten BIGINT NOT NULL DEFAULT 0) ${OPTIONS}`,
    `CREATE TABLE IF NOT EXISTS codeforge_records (
      tenant VARBINARY(64) NOT NULL, entry_key VARBINARY(1024) NOT NULL, rev BIGINT NOT NULL, deleted_at_ms BIGINT,
      size INT NOT NULL, value LONGTEXT, PRIMARY KEY (tenant, entry_key), INDEX by_rev (tenant, rev),
      INDEX tombstones (deleted_at_ms)) ${OPTIONS}`,
    `CREATE TABLE IF NOT EXISTS codeforge_clients (
      tenant VARBINARY(64) NOT NULL, client VARBINARY(64) NOT NULL, settled BIGINT NOT NULL, top BIGINT NOT NULL,
      used_at_ms BIGINT NOT NULL, PRIMARY KEY (tenant, client)) ${OPTIONS}`,
    `CREATE TABLE IF NOT EXISTS codeforge_mutations (
      tenant VARBINARY(64) NOT NULL, client VARBINARY(64) NOT NULL, m BIGINT NOT NULL, results LONGTEXT,
      PRIMARY KEY (tenant, client, m)) ${OPTIONS}`,
  ],
  [
    `CREATE TABLE IF NOT EXISTS codeforge_usage (
      tenant VARBINARY(64) PRIMARY KEY, seq BIGINT NOT NULL, entries BIGINT NOT NULL, bytes BIGINT NOT NULL) ${OPTIONS}`,
  ],
];

/** Seconds to wait for another process that migrates. */
const LOCK_TIME = 60;

/**
 * Brings the tables to the newest version, and returns the epoch.
 *
 * A named lock lets one process at a time do it, so that several may start together.
 *
 * @param newEpoch Assigned to a new database, and to one that was restored.
 */
export async function migrate(
  connection: Connection,
  newEpoch: string,
  isRestored: boolean,
): Promise<string> {
  const [{ locked }] = await connection.query(
    `SELECT GET_LOCK(CONCAT('codeforge:', SHA1(DATABASE())), ${LOCK_TIME}) AS locked`,
  );
  if (locked !== 1) throw new Error('another process has migrated the tables for too long');
  await connection.query(CREATE_META);
  const version = Number((await readMeta(connection, 'version')) ?? 0);
  if (version > MIGRATIONS.length)
    throw new Error('the tables of this database were made by a newer version of this server');
  for (const [index, statements] of MIGRATIONS.entries()) {
    if (index < version) continue;
    for (const statement of statements) await connection.query(statement);
    await writeMeta(connection, 'version', String(index + 1));
  }
  const epoch = isRestored ? newEpoch : ((await readMeta(connection, 'epoch')) ?? newEpoch);
  await writeMeta(connection, 'epoch', epoch);
  // The caller ends the connection, which gives up the lock.
  return epoch;
}

async function readMeta(connection: Connection, name: string): Promise<string | undefined> {
  const [row] = await connection.execute<Array<{ value: Buffer }>>(
    'SELECT value FROM codeforge_meta WHERE name = ?',
    [name],
  );
  return row?.value.toString();
}

async function writeMeta(connection: Connection, name: string, value: string): Promise<void> {
  await connection.execute(
    'INSERT INTO codeforge_meta (name, value) VALUES (?, ?) ON DUPLICATE KEY UPDATE value = VALUES(value)',
    [name, value],
  );
}
