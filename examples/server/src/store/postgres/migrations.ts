/**
 * The tables in PostgreSQL, as numbered migrations.
 *
 * - `codeforge_meta`: `epoch` identifies this incarnation of the data. `version` is the number of the last migration.
 * - `codeforge_tenants`: `seq` counts a tenant's changes and never decreases. `cleared` is its value at the last clear.
 *   `forgotten` is the highest revision of all expired tombstones.
 * - `codeforge_records`: entries, and tombstones (with `deleted_at_ms`, without a value) for keys that were deleted since the
 *   last clear. `size` is the number of bytes of the value, so that lists and counts need not read values.
 * - `codeforge_clients`: the clients that number their mutations. `settled` is the number up to which a client has settled
 *   all of them, `top` the highest number.
 * - `codeforge_mutations`: the results of a mutation's writes (results-column.ts); null if its client gave it up. Rows with
 *   a settled number count as deleted.
 * - `codeforge_usage`: what a tenant with a quota uses (quota.ts), valid while `seq` is that of the tenant.
 *
 * Tenants, keys and clients are bytes: no collation applies, and the order is that of the contract. Values are texts.
 */
import type pg from 'pg';

/** Never change one that was released: add another. */
const MIGRATIONS = [
  `CREATE TABLE codeforge_tenants (
    tenant bytea PRIMARY KEY, seq bigint NOT NULL DEFAULT 0, cleared bigint NOT NULL DEFAULT 0,
    forgotten bigint NOT NULL DEFAULT 0) WITH (fillfactor = 50);
  CREATE TABLE codeforge_records (
    tenant bytea NOT NULL, key bytea NOT NULL, rev bigint NOT NULL, deleted_at_ms bigint, size integer NOT NULL, value text,
    PRIMARY KEY (tenant, key));
  CREATE INDEX codeforge_records_by_rev ON codeforge_records (tenant, rev);
  CREATE INDEX codeforge_tombstones ON codeforge_records (deleted_at_ms) WHERE deleted_at_ms IS NOT NULL;
  CREATE TABLE codeforge_clients (
    tenant bytea NOT NULL, client bytea NOT NULL, settled bigint NOT NULL, top bigint NOT NULL, used_at_ms bigint NOT NULL,
    PRIMARY KEY (tenant, client));
  CREATE TABLE codeforge_mutations (
    tenant bytea NOT NULL, client bytea NOT NULL, m bigint NOT NULL, results text, PRIMARY KEY (tenant, client, m))`,
  `CREATE TABLE codeforge_usage (
    tenant bytea PRIMARY KEY, seq bigint NOT NULL, keys bigint NOT NULL, bytes bigint NOT NULL) WITH (fillfactor = 50)`,
];

/** Any number, the same in all processes. */
const LOCK = 0x636f6465;

/**
 * Brings the tables to the newest version, and returns the epoch.
 *
 * One transaction under a lock, so that several processes may start at the same time.
 *
 * @param newEpoch Assigned to a new database, and to one that was restored.
 */
export async function migrate(client: pg.ClientBase, newEpoch: string, isRestored: boolean): Promise<string> {
  await client.query('BEGIN');
  try {
    await client.query('SELECT pg_advisory_xact_lock($1)', [LOCK]);
    await client.query(
      'CREATE TABLE IF NOT EXISTS codeforge_meta (name text PRIMARY KEY, value text NOT NULL)',
    );
    const meta = await readMeta(client);
    const version = Number(meta.get('version') ?? 0);
    if (version > MIGRATIONS.length)
      throw new Error('the tables of this database were made by a newer version of this server');
    for (const migration of MIGRATIONS.slice(version)) await client.query(migration);
    const epoch = isRestored ? newEpoch : (meta.get('epoch') ?? newEpoch);
    await client.query(
      'INSERT INTO codeforge_meta (name, value) SELECT * FROM unnest($1::text[], $2::text[]) ' +
        'ON CONFLICT (name) DO UPDATE SET value = excluded.value',
      [
        ['version', 'epoch'],
        [String(MIGRATIONS.length), epoch],
      ],
    );
    await client.query('COMMIT');
    return epoch;
  } catch (error) {
    await client.query('ROLLBACK').catch(() => {});
    throw error;
  }
}

async function readMeta(client: pg.ClientBase): Promise<ReadonlyMap<string, string>> {
  const { rows } = await client.query<{ name: string; value: string }>(
    'SELECT name, value FROM codeforge_meta',
  );
  return new Map(rows.map(({ name, value }) => [name, value]));
}
