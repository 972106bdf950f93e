/**
 * Queries in PostgreSQL. Each is one statement, which sees one committed state.
 *
 * The lock of the tenant's counter orders its writers, and a transaction is visible before it releases its locks. So a
 * reader that sees a number sees all changes up to it.
 */
import type pg from 'pg';
import { bytesOf, endOf, textOf } from '../bytes.ts';
import type { Address, PageRoom, TenantLog } from '../driver.ts';
import type { Change, Entry, KeyPage, Range, Stats } from '../store.ts';

/** Anything that runs a statement: a pool, or a connection. */
export interface Queryable {
  query<Row extends pg.QueryResultRow>(query: pg.QueryConfig): Promise<{ readonly rows: Row[] }>;
}

const READ_SEQS = 'SELECT tenant, seq FROM codeforge_tenants WHERE tenant = ANY ($1::bytea[])';

const READ_ENTRIES =
  'SELECT wanted.n, r.rev, r.value FROM unnest($1::bytea[], $2::bytea[]) WITH ORDINALITY AS wanted (tenant, key, n) ' +
  'JOIN codeforge_records r ON r.tenant = wanted.tenant AND r.key = wanted.key AND r.deleted_at_ms IS NULL';

const READ_KEYS =
  'SELECT t.seq, r.key, r.rev, r.size FROM codeforge_tenants t LEFT JOIN LATERAL (' +
  'SELECT key, rev, size FROM codeforge_records ' +
  'WHERE tenant = $1 AND key > $2 AND key >= $3 AND ($4::bytea IS NULL OR key < $4) AND deleted_at_ms IS NULL ' +
  'ORDER BY key LIMIT $5) r ON true WHERE t.tenant = $1 ORDER BY r.key';

const READ_STATS =
  'SELECT t.seq, count(r.key) AS keys, COALESCE(sum(r.size), 0) AS bytes FROM codeforge_tenants t ' +
  'LEFT JOIN codeforge_records r ON r.tenant = t.tenant AND r.deleted_at_ms IS NULL WHERE t.tenant = $1 GROUP BY t.seq';

/** `n` and `total` are a row's number and the bytes of values up to it. One row more than the page, without its value. */
const READ_CHANGES =
  'SELECT t.seq, t.cleared, t.forgotten, r.key, r.rev, r.deleted_at_ms IS NOT NULL AS deleted, ' +
  'r.n = 1 OR (r.n < $3 AND r.total <= $4) AS fits, CASE WHEN r.n = 1 OR (r.n < $3 AND r.total <= $4) THEN r.value END AS value ' +
  'FROM codeforge_tenants t LEFT JOIN LATERAL (' +
  'SELECT key, rev, deleted_at_ms, value, row_number() OVER w AS n, sum(size::bigint) OVER w AS total FROM (' +
  'SELECT * FROM codeforge_records WHERE tenant = $1 AND rev > $2 ORDER BY rev LIMIT $3) page ' +
  'WINDOW w AS (ORDER BY rev)) r ON true WHERE t.tenant = $1 ORDER BY r.rev';

export async function readTenants(on: Queryable): Promise<string[]> {
  const { rows } = await on.query<{ tenant: Buffer }>({
    text: 'SELECT tenant FROM codeforge_tenants WHERE seq > 0 ORDER BY tenant',
  });
  return rows.map(({ tenant }) => textOf(tenant));
}

export async function readSeqs(
  on: Queryable,
  tenants: readonly string[],
): Promise<ReadonlyMap<string, number>> {
  const { rows } = await on.query<{ tenant: Buffer; seq: string }>({
    name: 'read-seqs',
    text: READ_SEQS,
    values: [tenants.map(bytesOf)],
  });
  return new Map(rows.map(({ tenant, seq }) => [textOf(tenant), Number(seq)]));
}

export async function readEntries(
  on: Queryable,
  addresses: readonly Address[],
): Promise<ReadonlyArray<Entry | undefined>> {
  const { rows } = await on.query<{ n: string; rev: string; value: string }>({
    name: 'read-entries',
    text: READ_ENTRIES,
    values: [addresses.map(({ tenant }) => bytesOf(tenant)), addresses.map(({ key }) => bytesOf(key))],
  });
  const entries = new Array<Entry | undefined>(addresses.length).fill(undefined);
  for (const { n, rev, value } of rows) entries[Number(n) - 1] = { value, rev: Number(rev) };
  return entries;
}

export async function readKeys(
  on: Queryable,
  tenant: string,
  { prefix, after, limit }: Range,
): Promise<KeyPage> {
  const start = bytesOf(prefix);
  const { rows } = await on.query<{ seq: string; key: Buffer | null; rev: string; size: number }>({
    name: 'read-keys',
    text: READ_KEYS,
    values: [bytesOf(tenant), bytesOf(after), start, endOf(start) ?? null, limit + 1],
  });
  const keys = rows.flatMap(({ key, rev, size }) =>
    key === null ? [] : [{ key: textOf(key), rev: Number(rev), size }],
  );
  return { seq: Number(rows[0]?.seq ?? 0), keys: keys.slice(0, limit), more: keys.length > limit };
}

export async function readStats(on: Queryable, tenant: string): Promise<Stats> {
  const { rows } = await on.query<{ seq: string; keys: string; bytes: string }>({
    name: 'read-stats',
    text: READ_STATS,
    values: [bytesOf(tenant)],
  });
  const { seq = 0, keys = 0, bytes = 0 } = rows[0] ?? {};
  return { seq: Number(seq), keys: Number(keys), sizeBytes: Number(bytes) };
}

interface ChangeRow {
  readonly seq: string;
  readonly cleared: string;
  readonly forgotten: string;
  /** `null`: the tenant has no changes after the cursor. */
  readonly key: Buffer | null;
  readonly rev: string;
  readonly deleted: boolean;
  readonly fits: boolean;
  readonly value: string | null;
}

export async function readChanges(
  on: Queryable,
  tenant: string,
  after: number,
  { limit, bytes }: PageRoom,
): Promise<TenantLog> {
  const { rows } = await on.query<ChangeRow>({
    name: 'read-changes',
    text: READ_CHANGES,
    values: [bytesOf(tenant), after, limit + 1, bytes],
  });
  const { seq = 0, cleared = 0, forgotten = 0 } = rows[0] ?? {};
  const changes: Change[] = [];
  let more = false;
  for (const { key, rev, deleted, fits, value } of rows) {
    if (key === null) break;
    more = !fits;
    if (more) break;
    const at = { key: textOf(key), rev: Number(rev) };
    changes.push(deleted ? { type: 'delete', ...at } : { type: 'put', ...at, value: value ?? '' });
  }
  return { seq: Number(seq), cleared: Number(cleared), forgotten: Number(forgotten), changes, more };
}
