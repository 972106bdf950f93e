/** One state of a tenant's data: a connection with a transaction that sees it. */
import type { Connection } from 'mariadb';
import { bytesOf, textOf } from '../bytes.ts';
import type { Entry, Snapshot } from '../store.ts';
import { firstOf } from './reads.ts';

/** The size of a page. The first row always fits. */
const PAGE = { limit: 1000, bytes: 256 * 1024 };

/**
 * @param connection A connection of its own, in a transaction that sees one state. `close` ends it.
 * @param seq The number of that state.
 */
export function createSnapshot(connection: Connection, tenant: string, seq: number): Snapshot {
  const id = bytesOf(tenant);
  let end: Promise<void> | undefined;

  async function* pages(): AsyncGenerator<ReadonlyArray<Entry & { readonly key: string }>, void> {
    for (let after = Buffer.alloc(0); ; ) {
      const found = await connection.execute<Array<{ entry_key: Buffer; size: number }>>(
        'SELECT entry_key, size FROM codeforge_records ' +
          'WHERE tenant = ? AND entry_key > ? AND deleted_at_ms IS NULL ORDER BY entry_key LIMIT ?',
        [id, after, PAGE.limit],
      );
      const last = firstOf(found, PAGE).at(-1);
      if (last === undefined) return;
      const rows = await connection.execute<Array<{ entry_key: Buffer; rev: number; value: string }>>(
        'SELECT entry_key, rev, value FROM codeforge_records WHERE tenant = ? AND entry_key > ? AND entry_key <= ? ' +
          'AND deleted_at_ms IS NULL ORDER BY entry_key',
        [id, after, last.entry_key],
      );
      yield rows.map(({ entry_key, rev, value }) => ({ key: textOf(entry_key), rev, value }));
      after = Buffer.from(last.entry_key);
    }
  }

  async function* keys(): AsyncGenerator<readonly string[], void> {
    for (let after = Buffer.alloc(0); ; ) {
      const rows = await connection.execute<Array<{ entry_key: Buffer }>>(
        'SELECT entry_key FROM codeforge_records ' +
          'WHERE tenant = ? AND entry_key > ? AND deleted_at_ms IS NULL ORDER BY entry_key LIMIT ?',
        [id, after, PAGE.limit],
      );
      const last = rows.at(-1);
      if (last === undefined) return;
      yield rows.map(({ entry_key }) => textOf(entry_key));
      after = Buffer.from(last.entry_key);
    }
  }

  return {
    seq,
    pages,
    keys,
    close() {
      end ??= connection.end().catch(() => connection.destroy());
      return end;
    },
  };
}
