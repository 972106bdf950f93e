/**
 * The statements of batches. The connection must be inside a transaction.
 *
 * SQLite is synchronous, so every promise here is settled when it is returned: see `createTransactions`.
 */
import type { DatabaseSync } from 'node:sqlite';
import { parseResults, stringifyResults } from '../results-column.ts';
import type { Head, StoredClient, StoredMutation, Transaction } from '../transaction.ts';
import { deleteCleared, IS_ENTRY } from './database.ts';

/** A `Transaction` over the transaction that the connection has open. It can be reused for later ones. */
export function createSqliteTransaction(database: DatabaseSync): Transaction {
  const readSeq = database.prepare('SELECT seq FROM tenants WHERE tenant = ?');
  const writeSeq = database.prepare(
    'INSERT INTO tenants (tenant, seq) VALUES (?, ?) ON CONFLICT (tenant) DO UPDATE SET seq = excluded.seq',
  );
  const readHead = database.prepare(
    `SELECT rev, octet_length(value) AS size FROM records WHERE tenant = ?1 AND key = ?2 AND ${IS_ENTRY}`,
  );
  const readSmall = database.prepare(
    'SELECT rev, octet_length(value) AS size, CASE WHEN octet_length(value) <= ?3 THEN value END AS value ' +
      `FROM records WHERE tenant = ?1 AND key = ?2 AND ${IS_ENTRY}`,
  );
  const readValue = database.prepare('SELECT value FROM records WHERE tenant = ? AND key = ?');
  const writeEntry = database.prepare(
    'INSERT INTO records (tenant, key, rev, deleted_at_ms, value) VALUES (?, ?, ?, ?, ?) ON CONFLICT (tenant, key) ' +
      'DO UPDATE SET rev = excluded.rev, deleted_at_ms = excluded.deleted_at_ms, value = excluded.value',
  );
  const writeCleared = database.prepare(
    'INSERT INTO tenants (tenant, cleared) VALUES (?1, ?2) ' +
      'ON CONFLICT (tenant) DO UPDATE SET cleared = ?2, forgotten = 0',
  );
  const readClient = database.prepare(
    'SELECT settled, top FROM mutation_clients WHERE tenant = ? AND client = ?',
  );
  const readMutation = database.prepare(
    'SELECT results FROM mutations WHERE tenant = ? AND client = ? AND m = ?',
  );
  const writeClient = database.prepare(
    'INSERT INTO mutation_clients (tenant, client, settled, top, used_at_ms) VALUES (?, ?, ?, ?, ?) ' +
      'ON CONFLICT (tenant, client) DO UPDATE ' +
      'SET settled = excluded.settled, top = excluded.top, used_at_ms = excluded.used_at_ms',
  );
  const writeMutation = database.prepare(
    'INSERT OR REPLACE INTO mutations (tenant, client, m, results) VALUES (?, ?, ?, ?)',
  );
  const readUsage = database.prepare('SELECT keys, bytes FROM tenant_usage WHERE tenant = ? AND seq = ?');
  const countUsage = database.prepare(
    `SELECT COUNT(*) AS keys, COALESCE(SUM(octet_length(value)), 0) AS bytes FROM records WHERE tenant = ?1 AND ${IS_ENTRY}`,
  );
  const writeUsage = database.prepare(
    'INSERT OR REPLACE INTO tenant_usage (tenant, seq, keys, bytes) VALUES (?, ?, ?, ?)',
  );
  const deleteMutations = database.prepare(
    'DELETE FROM mutations WHERE tenant = ? AND client = ? AND m <= ?',
  );

  return {
    // BEGIN IMMEDIATE has locked all tenants.
    async lock(tenant) {
      return Number(readSeq.get(tenant)?.seq ?? 0);
    },

    async clients(tenant, wanted) {
      const found = new Map<string, StoredClient>();
      for (const [client, numbers] of wanted) {
        const row = readClient.get(tenant, client);
        if (row === undefined) continue;
        const [settled, top] = [Number(row.settled), Number(row.top)];
        const mutations = new Map<number, StoredMutation>();
        for (const m of numbers) {
          // A new mutation, as nearly all are, needs no statement.
          const stored = m > top || m <= settled ? undefined : readMutation.get(tenant, client, m);
          if (stored)
            mutations.set(m, stored.results === null ? 'void' : parseResults(String(stored.results)));
        }
        found.set(client, { settled, top, mutations });
      }
      return found;
    },

    async heads(tenant, keys, maxValueBytes) {
      const found = new Map<string, Head>();
      for (const key of keys) {
        const row =
          maxValueBytes === 0 ? readHead.get(tenant, key) : readSmall.get(tenant, key, maxValueBytes);
        if (row === undefined) continue;
        const value = typeof row.value === 'string' ? row.value : undefined;
        found.set(key, { rev: Number(row.rev), size: Number(row.size), value });
      }
      return found;
    },

    async values(tenant, keys) {
      const found = new Map<string, string>();
      for (const key of keys) found.set(key, String(readValue.get(tenant, key)?.value));
      return found;
    },

    async usage(tenant, seq) {
      const row = readUsage.get(tenant, seq) ?? countUsage.get(tenant);
      return { keys: Number(row?.keys), bytes: Number(row?.bytes) };
    },

    async write(tenant, { seq, cleared, entries, clients, usage }) {
      const now = Date.now();
      if (cleared !== undefined) {
        writeCleared.run(tenant, cleared);
        // The store deletes the rest afterwards, in slices.
        deleteCleared(database, tenant);
      }
      for (const [key, { rev, value }] of entries)
        writeEntry.run(tenant, key, rev, value === undefined ? now : null, value ?? null);
      for (const [client, { settled, top, added, deleteUpTo }] of clients) {
        if (deleteUpTo !== undefined) deleteMutations.run(tenant, client, deleteUpTo);
        for (const [m, mutation] of added)
          writeMutation.run(tenant, client, m, mutation === 'void' ? null : stringifyResults(mutation));
        writeClient.run(tenant, client, settled, top, now);
      }
      writeSeq.run(tenant, seq);
      if (usage) writeUsage.run(tenant, seq, usage.keys, usage.bytes);
    },
  };
}
