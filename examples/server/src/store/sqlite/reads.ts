/**
 * Queries: one entry, keys in byte order, counts, changes, and snapshots.
 *
 * SQLite compares texts by their UTF-8 bytes, which is the order of the contract.
 */
import type { DatabaseSync, SQLOutputValue } from 'node:sqlite';
import type { Change, Changes, Entry, KeyPage, Range, Snapshot, Stats } from '../store.ts';
import { openReader } from './database.ts';

/** Characters of keys and values after which a page of a snapshot ends. */
const PAGE_CHARACTERS = 64 * 1024;

/** Queries. The connection must be inside a transaction. */
export interface Reads {
  seq(tenant: string): number;
  entry(tenant: string, key: string): Entry | undefined;
  list(tenant: string, range: Range): KeyPage;
  stats(tenant: string): Stats;
  changes(tenant: string, after: number, limit: number): Changes;
}

/** @param answerBytes Bytes of values on one page of changes. */
export function createReads(database: DatabaseSync, answerBytes: number): Reads {
  const readTenant = database.prepare('SELECT seq, cleared, forgotten FROM tenants WHERE tenant = ?');
  const readEntry = database.prepare(
    'SELECT value, rev FROM records WHERE tenant = ? AND key = ? AND value IS NOT NULL',
  );
  // The first bound uses the index, the second only filters.
  const readKeys = database.prepare(
    'SELECT key, rev, octet_length(value) AS size FROM records ' +
      'WHERE tenant = ?1 AND key >= max(?2, ?3) AND key > ?3 AND value IS NOT NULL ORDER BY key LIMIT ?4',
  );
  const measure = database.prepare(
    'SELECT COUNT(*) AS keys, COALESCE(SUM(octet_length(value)), 0) AS sizeBytes FROM records ' +
      'WHERE tenant = ? AND value IS NOT NULL',
  );
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
      const { keys, sizeBytes } = measure.get(tenant) ?? {};
      return { seq: seq(tenant), keys: Number(keys), sizeBytes: Number(sizeBytes) };
    },
    changes(tenant, after, limit) {
      const { seq, cleared, forgotten } = tenantRow(tenant);
      if (after > seq) return { seq, lost: 'epoch-changed' };
      // A client that knows nothing yet cannot miss a deletion.
      if (after > 0 && after < forgotten) return { seq, lost: 'cursor-gone' };
      const changes: Change[] = [];
      if (after < cleared) changes.push({ type: 'clear', rev: cleared });
      let left = answerBytes;
      for (const row of readChanges.iterate(tenant, after, limit + 1)) {
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

/** Opens one state of a tenant's data through its own connection. */
export function openSnapshot(database: DatabaseSync, tenant: string): Snapshot {
  const reader = openReader(database);
  let open = true;
  const closeNow = (): void => {
    if (open) reader.close();
    open = false;
  };
  try {
    // The first query fixes the state that all later ones see.
    reader.exec('BEGIN');
    const row = reader.prepare('SELECT seq FROM tenants WHERE tenant = ?').get(tenant);
    const rows = reader.prepare(
      'SELECT key, value, rev FROM records WHERE tenant = ? AND value IS NOT NULL ORDER BY key',
    );
    return {
      seq: Number(row?.seq ?? 0),
      pages: () => pagesOf(rows.iterate(tenant)),
      close: async () => closeNow(),
    };
  } catch (error) {
    closeNow();
    throw error;
  }
}

type Row = Record<string, SQLOutputValue>;

async function* pagesOf(rows: Iterable<Row>): AsyncGenerator<Array<Entry & { key: string }>, void> {
  let page: Array<Entry & { key: string }> = [];
  let size = 0;
  for (const { key, value, rev } of rows) {
    page.push({ key: String(key), value: String(value), rev: Number(rev) });
    size += String(key).length + String(value).length;
    if (size < PAGE_CHARACTERS) continue;
    yield page;
    page = [];
    size = 0;
  }
  yield page;
}
