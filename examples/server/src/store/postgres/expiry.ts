/** Deletes what is expired, tenant by tenant, so that no transaction locks more than one of them. */
import type pg from 'pg';
import type { Queryable } from './reads.ts';

const FIND_TENANTS =
  'SELECT DISTINCT tenant FROM codeforge_records WHERE deleted_at_ms < $1 ' +
  'UNION SELECT DISTINCT tenant FROM codeforge_clients WHERE used_at_ms < $1';

const LOCK_TENANT = 'SELECT 1 FROM codeforge_tenants WHERE tenant = $1 FOR UPDATE';

const EXPIRE_TENANT = [
  'WITH old AS (DELETE FROM codeforge_records WHERE tenant = $1 AND deleted_at_ms < $2 RETURNING rev) ' +
    'UPDATE codeforge_tenants SET forgotten = GREATEST(forgotten, (SELECT max(rev) FROM old)) WHERE tenant = $1',
  'WITH old AS (DELETE FROM codeforge_clients WHERE tenant = $1 AND used_at_ms < $2 RETURNING client) ' +
    'DELETE FROM codeforge_mutations m USING old WHERE m.tenant = $1 AND m.client = old.client',
];

export async function findExpired(on: Queryable, time: number): Promise<readonly Buffer[]> {
  const { rows } = await on.query<{ tenant: Buffer }>({ text: FIND_TENANTS, values: [time] });
  return rows.map(({ tenant }) => tenant);
}

/** The connection must be inside a transaction. */
export async function expireTenant(client: pg.ClientBase, tenant: Buffer, time: number): Promise<void> {
  await client.query(LOCK_TENANT, [tenant]);
  for (const statement of EXPIRE_TENANT) await client.query(statement, [tenant, time]);
}
