/** What errors of MariaDB, of MySQL, and of their connections mean. Numbers: MariaDB documentation, "Error Codes". */
import type { Failure } from '../driver.ts';

const FAILURES: Readonly<Record<number, Failure>> = {
  // ER_LOCK_DEADLOCK, ER_LOCK_WAIT_TIMEOUT, ER_CHECKREAD
  1213: 'conflict',
  1205: 'conflict',
  1020: 'conflict',
  // ER_UNKNOWN_COM_ERROR: a node of a cluster that is not ready.
  1047: 'disconnected',
  // ER_SERVER_SHUTDOWN
  1053: 'disconnected',
  // ER_OPTION_PREVENTS_STATEMENT, ER_READ_ONLY_MODE: after a failover this server takes no writes.
  1290: 'disconnected',
  1836: 'disconnected',
  // ER_CON_COUNT_ERROR
  1040: 'busy',
  // ER_STATEMENT_TIMEOUT, ER_QUERY_TIMEOUT
  1969: 'busy',
  3024: 'busy',
  // ER_DISK_FULL, ER_RECORD_FILE_FULL
  1021: 'full',
  1114: 'full',
};

/** The numbers of the client library's own errors begin here. The database has sent none of them. */
const CLIENT_ERRORS = 45_000;

interface DatabaseError extends Error {
  readonly errno?: number;
  readonly sqlState?: string | null;
  readonly fatal?: boolean;
}

export function failureOf(error: unknown): Failure {
  const { errno, fatal } = error as DatabaseError;
  if (error instanceof PoolExhausted) return 'busy';
  if (errno !== undefined && Object.hasOwn(FAILURES, errno)) return FAILURES[errno] as Failure;
  return errno === undefined || errno < 0 || errno >= CLIENT_ERRORS || fatal ? 'disconnected' : 'failed';
}

/** Whether the database has refused a COMMIT, so that it has certainly rolled back (class 40, transaction rollback). */
export function isRolledBack(error: unknown): boolean {
  const { errno = CLIENT_ERRORS, sqlState } = error as DatabaseError;
  return errno < CLIENT_ERRORS && sqlState?.startsWith('40') === true;
}

/** All connections were in use for too long. */
export class PoolExhausted extends Error {
  override readonly name = 'PoolExhausted';

  constructor(cause: unknown) {
    super('No connection of the pool became free in time', { cause });
  }
}
