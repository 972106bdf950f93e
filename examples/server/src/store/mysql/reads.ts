/**
 * Queries in MariaDB or MySQL.
 *
 * InnoDB does not take the list of open transactions at one instant. So a plain read may see a transaction, and not see the one
 * that committed before it. A reader of the feed would then skip changes. But a transaction releases its locks after it became
 * visible. So a reader that holds a share lock on the tenant's counter sees all changes up to the number that it reads.
 */
import type { Connection } from 'mariadb';
import { bytesOf, endOf, textOf } from '../bytes.ts';
import type { Address, PageRoom, TenantLog } from '../driver.ts';
import type { Change, Entry, KeyPage, Range, Stats } from '../store.ts';
import { placeholders } from './transaction.ts';

/** Outside of a transaction, the lock ends with the statement. */
const READ_TENANT =
  'SELECT seq, cleared, forgotten FROM codeforge_tenants WHERE tenant = ? LOCK IN SHARE MODE';

interface TenantRow {
  readonly seq: number;
  readonly cleared: number;
  readonly forgotten: number;
}

async function readTenant(connection: Connection, tenant: Buffer): Promise<TenantRow> {
  const [row] = await connection.execute<TenantRow[]>(READ_TENANT, [tenant]);
  return row ?? { seq: 0, cleared: 0, forgotten: 0 };
}

/** The number of a tenant. A read that begins afterwards sees all changes up to it. */
export async function readSeq(connection: Connection, tenant: string): Promise<number> {
  return (await readTenant(connection, bytesOf(tenant))).seq;
}

export async function readTenants(connection: Connection): Promise<string[]> {
  const rows = await connection.query<Array<{ tenant: Buffer }>>(
    'SELECT tenant FROM codeforge_tenants WHERE seq > 0 ORDER BY tenant',
  );
  return rows.map(({ tenant }) => textOf(tenant));
}

/** Plain: for readers that wait for numbers to grow, which must not wait for writers. */
export async function readSeqs(
  connection: Connection,
  tenants: readonly string[],
): Promise<ReadonlyMap<string, number>> {
  const rows = await connection.query<Array<{ tenant: Buffer; seq: number }>>(
    `SELECT tenant, seq FROM codeforge_tenants WHERE tenant IN ${placeholders(1, tenants.length)}`,
    tenants.map(bytesOf),
  );
  return new Map(rows.map(({ tenant, seq }) => [textOf(tenant), seq]));
}

export async function readEntries(
  connection: Connection,
  addresses: readonly Address[],
): Promise<ReadonlyArray<Entry | undefined>> {
  const [first] = addresses;
  const isOne = addresses.length === 1 && first !== undefined;
  const columns =
    'SELECT tenant, entry_key, rev, value FROM codeforge_records WHERE deleted_at_ms IS NULL AND';
  type Row = {
    readonly tenant: Buffer;
    readonly entry_key: Buffer;
    readonly rev: number;
    readonly value: string;
  };
  const values = addresses.flatMap(({ tenant, key }) => [bytesOf(tenant), bytesOf(key)]);
  const rows = isOne
    ? await connection.execute<Row[]>(`${columns} tenant = ? AND entry_key = ?`, values)
    : await connection.query<Row[]>(
        `${columns} (tenant, entry_key) IN (${placeholders(addresses.length, 2)})`,
        values,
      );
  const found = new Map(
    rows.map(({ tenant, entry_key, rev, value }) => [
      addressText({ tenant: textOf(tenant), key: textOf(entry_key) }),
      { value, rev },
    ]),
  );
  return addresses.map((address) => found.get(addressText(address)));
}

/** A tenant has no slash in its name. */
function addressText({ tenant, key }: Address): string {
  return `${tenant}/${key}`;
}

export async function readKeys(
  connection: Connection,
  tenant: string,
  { prefix, after, limit }: Range,
): Promise<KeyPage> {
  const id = bytesOf(tenant);
  const start = bytesOf(prefix);
  const end = endOf(start);
  const { seq } = await readTenant(connection, id);
  const rows = await connection.query<Array<{ entry_key: Buffer; rev: number; size: number }>>(
    'SELECT entry_key, rev, size FROM codeforge_records WHERE tenant = ? AND entry_key > ? AND entry_key >= ? ' +
      `${end === undefined ? '' : 'AND entry_key < ? '}AND deleted_at_ms IS NULL ORDER BY entry_key LIMIT ?`,
    [id, bytesOf(after), start, ...(end === undefined ? [] : [end]), limit + 1],
  );
  const keys = rows.map(({ entry_key, rev, size }) => ({ key: textOf(entry_key), rev, size }));
  return { seq, keys: keys.slice(0, limit), more: keys.length > limit };
}

export async function readStats(connection: Connection, tenant: string): Promise<Stats> {
  const id = bytesOf(tenant);
  const { seq } = await readTenant(connection, id);
  const [row] = await connection.execute<Array<{ count: number; bytes: number }>>(
    'SELECT COUNT(*) AS count, COALESCE(SUM(size), 0) AS bytes FROM codeforge_records ' +
      'WHERE tenant = ? AND deleted_at_ms IS NULL',
    [id],
  );
  return { seq, keys: row?.count ?? 0, sizeBytes: row?.bytes ?? 0 };
}

interface LogRow {
  readonly entry_key: Buffer;
  readonly rev: number;
  readonly deleted_at_ms: number | null;
  readonly size: number;
}

/** The connection must be inside a transaction that sees one state: it holds the lock of the tenant until its end. */
export async function readChanges(
  connection: Connection,
  tenant: string,
  after: number,
  room: PageRoom,
): Promise<TenantLog> {
  const id = bytesOf(tenant);
  const row = await readTenant(connection, id);
  if (after >= row.seq) return { ...row, changes: [], more: false };
  const found = await connection.execute<LogRow[]>(
    'SELECT entry_key, rev, deleted_at_ms, size FROM codeforge_records WHERE tenant = ? AND rev > ? ORDER BY rev LIMIT ?',
    [id, after, room.limit + 1],
  );
  const page = firstOf(found, room);
  const last = page.at(-1);
  if (last === undefined) return { ...row, changes: [], more: false };
  const values = await connection.execute<Array<{ value: string | null }>>(
    'SELECT value FROM codeforge_records WHERE tenant = ? AND rev > ? AND rev <= ? ORDER BY rev',
    [id, after, last.rev],
  );
  const changes = page.map(({ entry_key, rev, deleted_at_ms }, i): Change => {
    const at = { key: textOf(entry_key), rev };
    return deleted_at_ms === null
      ? { type: 'put', ...at, value: values[i]?.value ?? '' }
      : { type: 'delete', ...at };
  });
  return { ...row, changes, more: page.length < found.length };
}

/** The first rows that fit. The first one always does. */
export function firstOf<Row extends { readonly size: number }>(
  rows: readonly Row[],
  { limit, bytes }: PageRoom,
): Row[] {
  let left = bytes;
  const end = rows.findIndex(({ size }, i) => {
    left -= size;
    return i === limit || (i > 0 && left < 0);
  });
  return rows.slice(0, end === -1 ? rows.length : end);
}
