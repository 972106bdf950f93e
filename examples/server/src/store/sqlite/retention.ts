/** What is forgotten after a time: tombstones, and what is kept for the retries of clients. */
import type { DatabaseSync } from 'node:sqlite';

/** Milliseconds that tombstones and results are kept. */
const KEPT = 30 * 24 * 60 * 60 * 1000;

/** Forget what is older, inside a transaction. */
export function forgetOld(database: DatabaseSync): void {
  const time = Date.now() - KEPT;
  database
    .prepare(
      'UPDATE tenants SET forgotten = old.rev FROM ' +
        '(SELECT tenant, MAX(rev) AS rev FROM records WHERE value IS NULL AND deleted_at_ms < ? GROUP BY tenant) AS old ' +
        'WHERE tenants.tenant = old.tenant AND forgotten < old.rev',
    )
    .run(time);
  database.prepare('DELETE FROM records WHERE value IS NULL AND deleted_at_ms < ?').run(time);
  database.prepare('DELETE FROM clients WHERE used_at_ms < ?').run(time);
}
