/**
 * Queries: one entry, keys in byte order, counts, changes, and snapshots.
 *
 * SQLite compares texts by their UTF-8 bytes, which is the order of the contract.
 */
import type { DatabaseSync, SQLOutputValue, StatementSync } from 'node:sqlite';
import type { Change, Changes, Entry, KeyPage, Range, Snapshot, Stats } from '../store.ts';
import { IS_ENTRY, openReader } from './database.ts';

/** Characters of keys and values after which a page of a snapshot ends. */
const PAGE_CHARACTERS = 64 * 1024;

/** Rows that are read before the event loop serves others. */
const SLICE = 1000;

/** Queries. The connection must be inside a transaction. */
export interface Reads {
  tenants(): string[];
  seq(tenant: string): number;
  entry(tenant: string, key: string): Entry | undefined;
  list(tenant: string, range: Range): KeyPage;
  /** `undefined` if the tenant has so many keys that they must be counted in slices: see `countInSlices`. */
  stats(tenant: string): Stats | undefined;
  changes(tenant: string, after: number, limit: number): Changes;
}

/** @param answerBytes Bytes of values on one page of changes. */
export function createReads(database: DatabaseSync, answerBytes: number): Reads {
  const readTenants = database.prepare('SELECT tenant FROM tenants WHERE seq > 0 ORDER BY tenant');
  const readTenant = database.prepare('SELECT seq, cleared, forgotten FROM tenants WHERE tenant = ?');
  const readEntry = database.prepare(
    `SELECT value, rev FROM records WHERE tenant = ?1 AND key = ?2 AND ${IS_ENTRY}`,
  );
  // The first bound uses the index, the second only filters.
  const readKeys = database.prepare(
    'SELECT key, rev, octet_length(value) AS size FROM records ' +
      `WHERE tenant = ?1 AND key >= max(?2, ?3) AND key > ?3 AND ${IS_ENTRY} ORDER BY key LIMIT ?4`,
  );
  const measure = database.prepare(MEASURE);
  const readChanges = database.prepare(
    'SELECT key, value, rev FROM records WHERE tenant = ? AND rev > ? ORDER BY rev LIMIT ?',
  );

  const tenantRow = (tenant: string) => {
    const row = readTenant.get(tenant);
    return {
      seq: Number(row?.seq ?? 0),
      cleared: Number(row?.cleared ?? 0),
      forgotten: Number(row?.forgotten ?? 0),
    };
  };
  const seq = (tenant: string): number => tenantRow(tenant).seq;

  return {
    tenants: () => readTenants.all().map(({ tenant }) => String(tenant)),
    seq,
    entry(tenant, key) {
      const row = readEntry.get(tenant, key);
      return row && { value: String(row.value), rev: Number(row.rev) };
    },
    list(tenant, { prefix, after, limit }) {
      const keys: Array<{ key: string; rev: number; size: number }> = [];
      for (const row of readKeys.iterate(tenant, prefix, after, limit + 1)) {
        const key = String(row.key);
        if (!key.startsWith(prefix)) break;
        if (keys.length === limit) return { seq: seq(tenant), keys, more: true };
        keys.push({ key, rev: Number(row.rev), size: Number(row.size) });
      }
      return { seq: seq(tenant), keys, more: false };
    },
    stats(tenant) {
      const slice = measureSlice(measure, tenant, '');
      return slice.last === undefined ? { seq: seq(tenant), ...slice } : undefined;
    },
    changes(tenant, after, limit) {
      const { seq, cleared, forgotten } = tenantRow(tenant);
      if (after > seq) return { seq, lost: 'epoch-changed' };
      // A client that knows nothing yet cannot miss a deletion.
      if (after > 0 && after < forgotten) return { seq, lost: 'cursor-gone' };
      const changes: Change[] = [];
      if (after < cleared) changes.push({ type: 'clear', rev: cleared });
      let left = answerBytes;
      for (const row of readChanges.iterate(tenant, Math.max(after, cleared), limit + 1)) {
        const value = row.value === null ? undefined : String(row.value);
        left -= value === undefined ? 0 : Buffer.byteLength(value);
        if (changes.length >= limit || (left < 0 && changes.length > 0)) return { seq, changes, more: true };
        const at = { key: String(row.key), rev: Number(row.rev) };
        changes.push(value === undefined ? { type: 'delete', ...at } : { type: 'put', ...at, value });
      }
      return { seq, changes, more: false };
    },
  };
}

/** Counts the next rows after key `?2`. Tombstones are among them: what a slice costs must not depend on their number. */
const MEASURE =
  'SELECT COUNT(*) AS scanned, COUNT(size) AS keys, COALESCE(SUM(size), 0) AS sizeBytes, MAX(key) AS last FROM ' +
  `(SELECT key, CASE WHEN ${IS_ENTRY} THEN octet_length(value) END AS size FROM records ` +
  `WHERE tenant = ?1 AND key > ?2 ORDER BY key LIMIT ${SLICE})`;

/** `last` is the key after which the next slice begins; `undefined` at the end. */
function measureSlice(measure: StatementSync, tenant: string, after: string) {
  const { scanned, keys, sizeBytes, last } = measure.get(tenant, after) ?? {};
  return {
    keys: Number(keys),
    sizeBytes: Number(sizeBytes),
    last: Number(scanned) < SLICE ? undefined : String(last),
  };
}

/** Lets the event loop serve others. */
const pause = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Counts over one state of the data, and lets the event loop serve others meanwhile. */
export async function countInSlices(database: DatabaseSync, tenant: string): Promise<Stats> {
  const { reader, seq, close } = openState(database, tenant);
  try {
    const measure = reader.prepare(MEASURE);
    const stats = { seq, keys: 0, sizeBytes: 0 };
    for (let after: string | undefined = ''; after !== undefined; await pause()) {
      const { keys, sizeBytes, last } = measureSlice(measure, tenant, after);
      stats.keys += keys;
      stats.sizeBytes += sizeBytes;
      after = last;
    }
    return stats;
  } finally {
    close();
  }
}

/** Opens one state of a tenant's data through its own connection. @param onClose Called once, after it was closed. */
export function openSnapshot(database: DatabaseSync, tenant: string, onClose: () => void): Snapshot {
  const { reader, seq, cleared, close } = openState(database, tenant);
  const select = (columns: string): StatementSync =>
    reader.prepare(`SELECT ${columns} FROM records WHERE tenant = ?1 AND key > '' ORDER BY key`);
  try {
    const entries = select('key, rev, value');
    const keys = select('key, rev, value IS NULL AS isDeleted');
    return {
      seq,
      pages: () =>
        pagesOf(entries.iterate(tenant), cleared, ({ key, value, rev }) =>
          value === null ? undefined : { key: String(key), value: String(value), rev: Number(rev) },
        ),
      keys: () =>
        pagesOf(keys.iterate(tenant), cleared, ({ key, isDeleted }) =>
          isDeleted === 0 ? String(key) : undefined,
        ),
      async close() {
        if (close()) onClose();
      },
    };
  } catch (error) {
    close();
    throw error;
  }
}

/** A read transaction on its own connection. `close` returns whether it was open. */
function openState(database: DatabaseSync, tenant: string) {
  const reader = openReader(database);
  let open = true;
  const close = (): boolean => {
    const wasOpen = open;
    if (open) reader.close();
    open = false;
    return wasOpen;
  };
  try {
    reader.exec('BEGIN');
    // The first query fixes the state that all later ones see.
    const row = reader.prepare('SELECT seq, cleared FROM tenants WHERE tenant = ?').get(tenant);
    return { reader, seq: Number(row?.seq ?? 0), cleared: Number(row?.cleared ?? 0), close };
  } catch (error) {
    close();
    throw error;
  }
}

type Row = Record<string, SQLOutputValue>;

/**
 * Makes items of the rows after the last clear, and yields them in pages. Other requests are served between two pages.
 *
 * @param itemOf Returns `undefined` to leave a row out.
 */
async function* pagesOf<Item>(
  rows: Iterable<Row>,
  cleared: number,
  itemOf: (row: Row) => Item | undefined,
): AsyncGenerator<Item[], void> {
  let page: Item[] = [];
  let scanned = 0;
  let size = 0;
  for (const row of rows) {
    const item = Number(row.rev) > cleared ? itemOf(row) : undefined;
    scanned += 1;
    if (item !== undefined) {
      page.push(item);
      size += String(row.key).length + (typeof row.value === 'string' ? row.value.length : 0);
    }
    if (scanned < SLICE && size < PAGE_CHARACTERS) continue;
    if (page.length > 0) yield page;
    await pause();
    page = [];
    scanned = 0;
    size = 0;
  }
  yield page;
}
