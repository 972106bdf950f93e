/**
 * The statements of batches in MariaDB or MySQL.
 *
 * Every statement is awaited before the next one is sent: a deadlock rolls the whole transaction back, and statements that are
 * already on their way would then run outside of it.
 */
import type { Connection } from 'mariadb';
import { bytesOf, textOf } from '../bytes.ts';
import { parseResults, stringifyResults } from '../results-column.ts';
import type {
  ClientChanges,
  Head,
  StoredClient,
  StoredMutation,
  TenantChanges,
  Transaction,
} from '../transaction.ts';

/** Bytes of values in one statement. Its text is at most twice as long, and the smallest usual packet has 16 MiB. */
const STATEMENT_BYTES = 1024 * 1024;

/** Rows in one statement. */
const STATEMENT_ROWS = 500;

const UPSERT_ENTRY =
  ' ON DUPLICATE KEY UPDATE rev = VALUES(rev), deleted_at_ms = VALUES(deleted_at_ms), size = VALUES(size), ' +
  'value = VALUES(value)';

/** `(?, ?), (?, ?)` for two rows of two columns. */
export function placeholders(rows: number, columns: number): string {
  const row = `(${Array(columns).fill('?').join()})`;
  return Array(rows).fill(row).join();
}

/** A `Transaction` over the transaction that the connection has open. */
export function createMysqlTransaction(connection: Connection, isWriting: boolean): Transaction {
  async function readSeq(tenant: Buffer): Promise<number | undefined> {
    const lock = isWriting ? 'FOR UPDATE' : 'LOCK IN SHARE MODE';
    const [row] = await connection.execute<Array<{ seq: number }>>(
      `SELECT seq FROM codeforge_tenants WHERE tenant = ? ${lock}`,
      [tenant],
    );
    return row?.seq;
  }

  async function writeEntries(tenant: Buffer, entries: TenantChanges['entries']): Promise<void> {
    const now = Date.now();
    let page: unknown[][] = [];
    let bytes = 0;
    const flush = async (): Promise<void> => {
      if (page.length === 0) return;
      const sql =
        'INSERT INTO codeforge_records (tenant, entry_key, rev, deleted_at_ms, size, value) VALUES ' +
        placeholders(page.length, 6) +
        UPSERT_ENTRY;
      // A prepared statement sends values as they are. A text would escape them, and may exceed the largest packet.
      if (page.length === 1) await connection.execute(sql, page.flat());
      else await connection.query(sql, page.flat());
      page = [];
      bytes = 0;
    };
    for (const [key, { rev, value }] of entries) {
      const size = value === undefined ? 0 : Buffer.byteLength(value);
      if (bytes + size > STATEMENT_BYTES || page.length === STATEMENT_ROWS) await flush();
      page.push([tenant, bytesOf(key), rev, value === undefined ? now : null, size, value ?? null]);
      bytes += size;
    }
    await flush();
  }

  async function writeClients(tenant: Buffer, clients: ReadonlyMap<string, ClientChanges>): Promise<void> {
    const now = Date.now();
    const all = Array.from(clients, ([id, changes]) => ({ id: bytesOf(id), ...changes }));
    for (const { id, deleteUpTo } of all)
      if (deleteUpTo !== undefined)
        await connection.execute(
          'DELETE FROM codeforge_mutations WHERE tenant = ? AND client = ? AND m <= ?',
          [tenant, id, deleteUpTo],
        );
    const added = all.flatMap(({ id, added }) =>
      Array.from(added, ([m, mutation]) => [
        tenant,
        id,
        m,
        mutation === 'void' ? null : stringifyResults(mutation),
      ]),
    );
    await write(
      'INSERT INTO codeforge_mutations (tenant, client, m, results) VALUES ',
      added,
      ' ON DUPLICATE KEY UPDATE results = VALUES(results)',
    );
    await write(
      'INSERT INTO codeforge_clients (tenant, client, settled, top, used_at_ms) VALUES ',
      all.map(({ id, settled, top }) => [tenant, id, settled, top, now]),
      ' ON DUPLICATE KEY UPDATE settled = VALUES(settled), top = VALUES(top), used_at_ms = VALUES(used_at_ms)',
    );
  }

  async function write(start: string, rows: readonly unknown[][], end: string): Promise<void> {
    const [first] = rows;
    if (first === undefined) return;
    const sql = start + placeholders(rows.length, first.length) + end;
    if (rows.length === 1) await connection.execute(sql, first);
    else await connection.query(sql, rows.flat());
  }

  return {
    async lock(tenant) {
      const id = bytesOf(tenant);
      const seq = await readSeq(id);
      if (seq !== undefined || !isWriting) return seq ?? 0;
      await connection.execute('INSERT IGNORE INTO codeforge_tenants (tenant) VALUES (?)', [id]);
      return (await readSeq(id)) as number;
    },

    async clients(tenant, wanted) {
      const id = bytesOf(tenant);
      const ids = Array.from(wanted.keys(), bytesOf);
      const rows = await connection.query<Array<{ client: Buffer; settled: number; top: number }>>(
        `SELECT client, settled, top FROM codeforge_clients WHERE tenant = ? AND client IN ${placeholders(1, ids.length)}`,
        [id, ...ids],
      );
      const found = new Map<string, StoredClient & { readonly mutations: Map<number, StoredMutation> }>();
      const stored: Array<readonly [Buffer, number]> = [];
      for (const { client, settled, top } of rows) {
        const name = textOf(client);
        found.set(name, { settled, top, mutations: new Map() });
        for (const m of wanted.get(name) ?? []) if (m > settled && m <= top) stored.push([client, m]);
      }
      // A new mutation, as nearly all are, needs no statement.
      if (stored.length === 0) return found;
      const mutations = await connection.query<Array<{ client: Buffer; m: number; results: string | null }>>(
        `SELECT client, m, results FROM codeforge_mutations WHERE tenant = ? AND (client, m) IN (${placeholders(stored.length, 2)})`,
        [id, ...stored.flat()],
      );
      for (const { client, m, results } of mutations)
        found.get(textOf(client))?.mutations.set(m, results === null ? 'void' : parseResults(results));
      return found;
    },

    async heads(tenant, keys, maxValueBytes) {
      const rows = await connection.query<
        Array<{ entry_key: Buffer; rev: number; size: number; value: string | null }>
      >(
        'SELECT entry_key, rev, size, CASE WHEN size <= ? THEN value END AS value FROM codeforge_records ' +
          `WHERE tenant = ? AND entry_key IN ${placeholders(1, keys.size)} AND deleted_at_ms IS NULL`,
        [maxValueBytes, bytesOf(tenant), ...Array.from(keys, bytesOf)],
      );
      return new Map(
        rows.map(({ entry_key, rev, size, value }): [string, Head] => [
          textOf(entry_key),
          { rev, size, value: value ?? undefined },
        ]),
      );
    },

    async values(tenant, keys) {
      const rows = await connection.query<Array<{ entry_key: Buffer; value: string }>>(
        'SELECT entry_key, value FROM codeforge_records ' +
          `WHERE tenant = ? AND entry_key IN ${placeholders(1, keys.size)} AND deleted_at_ms IS NULL`,
        [bytesOf(tenant), ...Array.from(keys, bytesOf)],
      );
      return new Map(rows.map(({ entry_key, value }) => [textOf(entry_key), value]));
    },

    async usage(tenant, seq) {
      const id = bytesOf(tenant);
      type Row = { entries: number; bytes: number | string };
      const [stored] = await connection.execute<Row[]>(
        'SELECT entries, bytes FROM codeforge_usage WHERE tenant = ? AND seq = ?',
        [id, seq],
      );
      const [row] = stored
        ? [stored]
        : await connection.execute<Row[]>(
            'SELECT COUNT(*) AS entries, COALESCE(SUM(size), 0) AS bytes FROM codeforge_records ' +
              'WHERE tenant = ? AND deleted_at_ms IS NULL',
            [id],
          );
      return { keys: Number(row?.entries), bytes: Number(row?.bytes) };
    },

    async write(tenant, { seq, cleared, entries, clients, usage }) {
      const id = bytesOf(tenant);
      if (cleared !== undefined) {
        await connection.execute('DELETE FROM codeforge_records WHERE tenant = ?', [id]);
        await connection.execute(
          'UPDATE codeforge_tenants SET seq = ?, cleared = ?, forgotten = 0 WHERE tenant = ?',
          [seq, cleared, id],
        );
      } else await connection.execute('UPDATE codeforge_tenants SET seq = ? WHERE tenant = ?', [seq, id]);
      await writeEntries(id, entries);
      if (usage)
        await connection.execute(
          'INSERT INTO codeforge_usage (tenant, seq, entries, bytes) VALUES (?, ?, ?, ?) ' +
            'ON DUPLICATE KEY UPDATE seq = VALUES(seq), entries = VALUES(entries), bytes = VALUES(bytes)',
          [id, seq, usage.keys, usage.bytes],
        );
      if (clients.size > 0) await writeClients(id, clients);
    },
  };
}
