/** The statements of batches in PostgreSQL. */
import type pg from 'pg';
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

/** Bytes of values in one statement, so that no statement becomes too large for memory. */
const STATEMENT_BYTES = 16 * 1024 * 1024;

const READ_SEQ = { name: 'read-seq', text: 'SELECT seq FROM codeforge_tenants WHERE tenant = $1' };

const LOCK_TENANT = {
  name: 'lock-tenant',
  text: 'SELECT seq FROM codeforge_tenants WHERE tenant = $1 FOR UPDATE',
};

const CREATE_TENANT = {
  name: 'create-tenant',
  text: 'INSERT INTO codeforge_tenants (tenant) VALUES ($1) ON CONFLICT DO NOTHING',
};

const READ_HEADS = {
  name: 'read-heads',
  text:
    'SELECT key, rev, size, CASE WHEN size <= $3 THEN value END AS value FROM codeforge_records ' +
    'WHERE tenant = $1 AND key = ANY ($2::bytea[]) AND deleted_at_ms IS NULL',
};

const READ_VALUES = {
  name: 'read-values',
  text:
    'SELECT key, value FROM codeforge_records ' +
    'WHERE tenant = $1 AND key = ANY ($2::bytea[]) AND deleted_at_ms IS NULL',
};

/** One row for each wanted mutation of a client that is known. */
const READ_CLIENTS = {
  name: 'read-clients',
  text:
    'SELECT c.client, c.settled, c.top, m.m, m.results FROM unnest($2::bytea[], $3::bigint[]) AS wanted (client, m) ' +
    'JOIN codeforge_clients c ON c.tenant = $1 AND c.client = wanted.client ' +
    'LEFT JOIN codeforge_mutations m ON m.tenant = $1 AND m.client = wanted.client AND m.m = wanted.m',
};

/**
 * Changes of one tenant: the counter and the entries in one statement. The values are the parts of one binary parameter,
 * because the text form of an array would escape each of them.
 */
const WRITE_ENTRIES = {
  name: 'write-entries',
  text:
    'WITH counter AS (UPDATE codeforge_tenants SET seq = $2 WHERE tenant = $1) ' +
    'INSERT INTO codeforge_records (tenant, key, rev, deleted_at_ms, size, value) ' +
    'SELECT $1, key, rev, CASE WHEN size IS NULL THEN $3::bigint END, COALESCE(size, 0), ' +
    "convert_from(substring($7::bytea FROM start FOR size), 'UTF8') " +
    'FROM unnest($4::bytea[], $5::bigint[], $6::integer[], $8::integer[]) AS entry (key, rev, start, size) ' +
    'ON CONFLICT (tenant, key) DO UPDATE SET rev = excluded.rev, deleted_at_ms = excluded.deleted_at_ms, ' +
    'size = excluded.size, value = excluded.value',
};

const CLEAR = { name: 'clear', text: 'DELETE FROM codeforge_records WHERE tenant = $1' };

const WRITE_CLEARED = {
  name: 'write-cleared',
  text: 'UPDATE codeforge_tenants SET cleared = $2, forgotten = 0 WHERE tenant = $1',
};

const READ_USAGE = {
  name: 'read-usage',
  text: 'SELECT keys, bytes FROM codeforge_usage WHERE tenant = $1 AND seq = $2',
};

const COUNT_USAGE = {
  name: 'count-usage',
  text:
    'SELECT count(*) AS keys, COALESCE(sum(size), 0) AS bytes FROM codeforge_records ' +
    'WHERE tenant = $1 AND deleted_at_ms IS NULL',
};

const WRITE_USAGE = {
  name: 'write-usage',
  text:
    'INSERT INTO codeforge_usage (tenant, seq, keys, bytes) VALUES ($1, $2, $3, $4) ' +
    'ON CONFLICT (tenant) DO UPDATE SET seq = excluded.seq, keys = excluded.keys, bytes = excluded.bytes',
};

/** The new state of clients, and their mutations. What is deleted has lower numbers than what is added. */
const WRITE_CLIENTS = {
  name: 'write-clients',
  text:
    'WITH clients AS (' +
    'INSERT INTO codeforge_clients (tenant, client, settled, top, used_at_ms) ' +
    'SELECT $1, client, settled, top, $2 FROM unnest($3::bytea[], $4::bigint[], $5::bigint[]) AS c (client, settled, top) ' +
    'ON CONFLICT (tenant, client) DO UPDATE ' +
    'SET settled = excluded.settled, top = excluded.top, used_at_ms = excluded.used_at_ms), ' +
    'deleted AS (' +
    'DELETE FROM codeforge_mutations m USING unnest($6::bytea[], $7::bigint[]) AS d (client, up_to) ' +
    'WHERE m.tenant = $1 AND m.client = d.client AND m.m <= d.up_to) ' +
    'INSERT INTO codeforge_mutations (tenant, client, m, results) ' +
    'SELECT $1, client, m, results FROM unnest($8::bytea[], $9::bigint[], $10::text[]) AS a (client, m, results) ' +
    'ON CONFLICT (tenant, client, m) DO UPDATE SET results = excluded.results',
};

/** The parameters of `WRITE_ENTRIES`. */
class EntryPage {
  readonly keys: Buffer[] = [];
  readonly #revs: number[] = [];
  /** Where each value begins in the binary parameter, counted from 1. */
  readonly #starts: number[] = [];
  /** `null`: a tombstone. */
  readonly #sizes: Array<number | null> = [];
  readonly #values: Buffer[] = [];
  bytes = 0;

  add(key: string, rev: number, value: string | undefined): void {
    const bytes = value === undefined ? undefined : bytesOf(value);
    this.keys.push(bytesOf(key));
    this.#revs.push(rev);
    this.#starts.push(this.bytes + 1);
    this.#sizes.push(bytes?.length ?? null);
    if (bytes === undefined) return;
    this.#values.push(bytes);
    this.bytes += bytes.length;
  }

  parametersFor(tenant: Buffer, seq: number): unknown[] {
    const values = Buffer.concat(this.#values);
    return [tenant, seq, Date.now(), this.keys, this.#revs, this.#starts, values, this.#sizes];
  }
}

/** A `Transaction` over the transaction that the connection has open. */
export function createPostgresTransaction(client: pg.ClientBase, isWriting: boolean): Transaction {
  async function rowsOf<Row extends pg.QueryResultRow>(
    query: { readonly name: string; readonly text: string },
    values: readonly unknown[],
  ): Promise<Row[]> {
    return (await client.query<Row>({ ...query, values: [...values] })).rows;
  }

  async function writeEntries(tenant: Buffer, seq: number, entries: TenantChanges['entries']): Promise<void> {
    let page = new EntryPage();
    for (const [key, { rev, value }] of entries) {
      page.add(key, rev, value);
      if (page.bytes < STATEMENT_BYTES) continue;
      await rowsOf(WRITE_ENTRIES, page.parametersFor(tenant, seq));
      page = new EntryPage();
    }
    // After a clear there may be no entries, but there is a number.
    if (page.keys.length > 0 || entries.size === 0)
      await rowsOf(WRITE_ENTRIES, page.parametersFor(tenant, seq));
  }

  async function writeClients(tenant: Buffer, clients: ReadonlyMap<string, ClientChanges>): Promise<void> {
    const all = Array.from(clients, ([id, changes]) => ({ id: bytesOf(id), ...changes }));
    const deleted = all.filter(({ deleteUpTo }) => deleteUpTo !== undefined);
    const added = all.flatMap(({ id, added }) => Array.from(added, ([m, mutation]) => ({ id, m, mutation })));
    await rowsOf(WRITE_CLIENTS, [
      tenant,
      Date.now(),
      all.map(({ id }) => id),
      all.map(({ settled }) => settled),
      all.map(({ top }) => top),
      deleted.map(({ id }) => id),
      deleted.map(({ deleteUpTo }) => deleteUpTo),
      added.map(({ id }) => id),
      added.map(({ m }) => m),
      added.map(({ mutation }) => (mutation === 'void' ? null : stringifyResults(mutation))),
    ]);
  }

  return {
    async lock(tenant) {
      const id = bytesOf(tenant);
      const [row] = await rowsOf<{ seq: string }>(isWriting ? LOCK_TENANT : READ_SEQ, [id]);
      if (row !== undefined || !isWriting) return Number(row?.seq ?? 0);
      await rowsOf(CREATE_TENANT, [id]);
      const [created] = await rowsOf<{ seq: string }>(LOCK_TENANT, [id]);
      return Number(created?.seq);
    },

    async clients(tenant, wanted) {
      const pairs = [...wanted].flatMap(([id, numbers]) =>
        // A client without a number is wanted for its state.
        Array.from(numbers.size === 0 ? [0] : numbers, (m) => ({ id: bytesOf(id), m })),
      );
      const rows = await rowsOf<{
        client: Buffer;
        settled: string;
        top: string;
        m: string | null;
        results: string | null;
      }>(READ_CLIENTS, [bytesOf(tenant), pairs.map(({ id }) => id), pairs.map(({ m }) => m)]);
      const found = new Map<string, StoredClient & { readonly mutations: Map<number, StoredMutation> }>();
      for (const { client, settled, top, m, results } of rows) {
        const id = textOf(client);
        const known = found.get(id) ?? { settled: Number(settled), top: Number(top), mutations: new Map() };
        found.set(id, known);
        if (m !== null) known.mutations.set(Number(m), results === null ? 'void' : parseResults(results));
      }
      return found;
    },

    async heads(tenant, keys, maxValueBytes) {
      const rows = await rowsOf<{ key: Buffer; rev: string; size: number; value: string | null }>(
        READ_HEADS,
        [bytesOf(tenant), Array.from(keys, bytesOf), maxValueBytes],
      );
      return new Map(
        rows.map(({ key, rev, size, value }): [string, Head] => [
          textOf(key),
          { rev: Number(rev), size, value: value ?? undefined },
        ]),
      );
    },

    async values(tenant, keys) {
      const rows = await rowsOf<{ key: Buffer; value: string }>(READ_VALUES, [
        bytesOf(tenant),
        Array.from(keys, bytesOf),
      ]);
      return new Map(rows.map(({ key, value }) => [textOf(key), value]));
    },

    async usage(tenant, seq) {
      const id = bytesOf(tenant);
      type Row = { keys: string; bytes: string };
      const [row] = await rowsOf<Row>(READ_USAGE, [id, seq]);
      const [{ keys, bytes } = { keys: 0, bytes: 0 }] = row ? [row] : await rowsOf<Row>(COUNT_USAGE, [id]);
      return { keys: Number(keys), bytes: Number(bytes) };
    },

    async write(tenant, { seq, cleared, entries, clients, usage }) {
      const id = bytesOf(tenant);
      if (cleared !== undefined) {
        await rowsOf(CLEAR, [id]);
        await rowsOf(WRITE_CLEARED, [id, cleared]);
      }
      await writeEntries(id, seq, entries);
      if (usage) await rowsOf(WRITE_USAGE, [id, seq, usage.keys, usage.bytes]);
      if (clients.size > 0) await writeClients(id, clients);
    },
  };
}
