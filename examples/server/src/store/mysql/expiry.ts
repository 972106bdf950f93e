/** Deletes what is expired, tenant by tenant, so that no transaction locks more than one of them. */
import type { Connection } from 'mariadb';

const FIND_TENANTS =
  'SELECT DISTINCT tenant FROM codeforge_records WHERE deleted_at_ms < ? ' +
  'UNION SELECT DISTINCT tenant FROM codeforge_clients WHERE used_at_ms < ?';

export async function findExpired(connection: Connection, time: number): Promise<readonly Buffer[]> {
  const rows = await connection.execute<Array<{ tenant: Buffer }>>(FIND_TENANTS, [time, time]);
  return rows.map(({ tenant }) => tenant);
}

/** The connection must be inside a transaction. */
export async function expireTenant(connection: Connection, tenant: Buffer, time: number): Promise<void> {
  await connection.execute('SELECT 1 FROM codeforge_tenants WHERE tenant = ? FOR UPDATE', [tenant]);
  const old = [tenant, time];
  const [row] = await connection.execute<Array<{ rev: number | null }>>(
    'SELECT MAX(rev) AS rev FROM codeforge_records WHERE tenant = ? AND deleted_at_ms < ?',
    old,
  );
  if (row?.rev != null) {
    await connection.execute(
      'UPDATE codeforge_tenants SET forgotten = GREATEST(forgotten, ?) WHERE tenant = ?',
      [row.rev, tenant],
    );
    await connection.execute('DELETE FROM codeforge_records WHERE tenant = ? AND deleted_at_ms < ?', old);
  }
  await connection.execute(
    'DELETE m FROM codeforge_mutations m JOIN codeforge_clients c ON c.tenant = m.tenant AND c.client = m.client ' +
      'WHERE m.tenant = ? AND c.used_at_ms < ?',
    old,
  );
  await connection.execute('DELETE FROM codeforge_clients WHERE tenant = ? AND used_at_ms < ?', old);
}
