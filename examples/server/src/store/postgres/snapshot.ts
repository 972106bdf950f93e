/** One state of a tenant's data: a connection with a transaction that sees it. */
import type pg from 'pg';
import { bytesOf, textOf } from '../bytes.ts';
import type { Entry, Snapshot } from '../store.ts';
import { readSeqs } from './reads.ts';

/** The size of a page. The first row always fits. */
const PAGE = { rows: 1000, bytes: 256 * 1024 };

const READ_PAGE = {
  name: 'read-page',
  text:
    'SELECT key, rev, value FROM (' +
    'SELECT key, rev, value, row_number() OVER w AS n, sum(size::bigint) OVER w AS total FROM (' +
    'SELECT * FROM codeforge_records WHERE tenant = $1 AND key > $2 AND deleted_at_ms IS NULL ORDER BY key LIMIT $3) page ' +
    'WINDOW w AS (ORDER BY key)) r WHERE n = 1 OR total <= $4 ORDER BY key',
};

const READ_KEYS = {
  name: 'read-keys',
  text: 'SELECT key FROM codeforge_records WHERE tenant = $1 AND key > $2 AND deleted_at_ms IS NULL ORDER BY key LIMIT $3',
};

/** @param client A connection of its own. `close` ends it. */
export async function openSnapshot(client: pg.Client, tenant: string): Promise<Snapshot> {
  let end: Promise<void> | undefined;
  const close = (): Promise<void> => {
    end ??= client.end().catch(() => {});
    return end;
  };

  async function* pages(): AsyncGenerator<ReadonlyArray<Entry & { readonly key: string }>, void> {
    for (let after = Buffer.alloc(0); ; ) {
      const { rows } = await client.query<{ key: Buffer; rev: string; value: string }>({
        ...READ_PAGE,
        values: [bytesOf(tenant), after, PAGE.rows, PAGE.bytes],
      });
      const last = rows.at(-1);
      if (last === undefined) return;
      yield rows.map(({ key, rev, value }) => ({ key: textOf(key), rev: Number(rev), value }));
      after = Buffer.from(last.key);
    }
  }

  async function* keys(): AsyncGenerator<readonly string[], void> {
    for (let after = Buffer.alloc(0); ; ) {
      const { rows } = await client.query<{ key: Buffer }>({
        ...READ_KEYS,
        values: [bytesOf(tenant), after, PAGE.rows],
      });
      const last = rows.at(-1);
      if (last === undefined) return;
      yield rows.map(({ key }) => textOf(key));
      after = Buffer.from(last.key);
    }
  }

  try {
    // The first query fixes the state that all later ones see.
    await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
    const seqs = await readSeqs(client, [tenant]);
    return { seq: seqs.get(tenant) ?? 0, pages, keys, close };
  } catch (error) {
    await close();
    throw error;
  }
}
