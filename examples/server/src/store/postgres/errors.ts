/** What errors of PostgreSQL and of its connections mean. Codes: PostgreSQL documentation, Appendix A. */
import type { Failure } from '../driver.ts';

const FAILURES: Readonly<Record<string, Failure>> = {
  // serialization_failure, deadlock_detected
  '40001': 'conflict',
  '40P01': 'conflict',
  // read_only_sql_transaction: after a failover this server is a standby.
  '25006': 'disconnected',
  // idle_in_transaction_session_timeout
  '25P03': 'disconnected',
  // admin_shutdown, crash_shutdown, cannot_connect_now, idle_session_timeout
  '57P01': 'disconnected',
  '57P02': 'disconnected',
  '57P03': 'disconnected',
  '57P05': 'disconnected',
  // too_many_connections
  '53300': 'busy',
  // lock_not_available, query_canceled (statement_timeout)
  '55P03': 'busy',
  '57014': 'busy',
  // disk_full
  '53100': 'full',
};

/** An error that the database itself has sent has a severity. */
interface PostgresError extends Error {
  readonly code?: string;
  readonly severity?: string;
}

/** A standby, or a server that is configured to be read-only. */
export class ReadOnlyServer extends Error {
  override readonly name = 'ReadOnlyServer';
  readonly code = '25006';

  constructor() {
    super('The database server takes no writes');
  }
}

export function failureOf(error: unknown): Failure {
  const { code = '', severity, message } = error as PostgresError;
  if (message === 'timeout exceeded when trying to connect') return 'busy';
  // connection_exception
  if (code.startsWith('08')) return 'disconnected';
  if (Object.hasOwn(FAILURES, code)) return FAILURES[code] as Failure;
  return severity === undefined ? 'disconnected' : 'failed';
}

/** Whether the database has refused a COMMIT, so that it has certainly rolled back (class 40, transaction_rollback). */
export function isRolledBack(error: unknown): boolean {
  const { code = '', severity } = error as PostgresError;
  // 40003 is statement_completion_unknown.
  return severity !== undefined && code.startsWith('40') && code !== '40003';
}
