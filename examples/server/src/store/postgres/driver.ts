/** PostgreSQL as a store. */
import { randomBytes } from 'node:crypto';
import type pg from 'pg';
import type { NetworkedDatabase } from '../../database-url.ts';
import { type Driver, UnknownOutcome } from '../driver.ts';
import type { Transaction } from '../transaction.ts';
import { createConnections } from './connections.ts';
import { failureOf, isRolledBack } from './errors.ts';
import { expireTenant, findExpired } from './expiry.ts';
import { createHints } from './hints.ts';
import { migrate } from './migrations.ts';
import {
  type Queryable,
  readChanges,
  readEntries,
  readKeys,
  readSeqs,
  readStats,
  readTenants,
} from './reads.ts';
import { openSnapshot } from './snapshot.ts';
import { createPostgresTransaction } from './transaction.ts';

/** `warning`: a COMMIT was cancelled while it waited for a synchronous standby. It answers success all the same. */
const WARNING = '01000';

/** Each statement of a writing transaction sees what was committed before it, and so what the lock has waited for. */
const BEGIN_WRITE = 'BEGIN ISOLATION LEVEL READ COMMITTED';
/** Its reads see one committed state. */
const BEGIN_READ = 'BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY';

/**
 * Connects, and creates or updates the tables.
 *
 * @param maxConnections Of the pool. Each export has one more, and there is one for hints.
 * @throws {Error} If the database cannot be reached or used.
 */
export async function openPostgres(
  database: NetworkedDatabase,
  maxConnections: number,
  isRestored: boolean,
): Promise<Driver> {
  const { use, connect, close } = createConnections(database, maxConnections);
  const client = await connect();
  const epoch = await migrate(client, randomBytes(8).toString('hex'), isRestored).finally(() => client.end());
  const hints = createHints(connect);
  const queryable: Queryable = { query: (query) => use((client) => client.query(query)) };

  function transaction<T>(begin: string, work: (client: pg.ClientBase) => Promise<T>): Promise<T> {
    return use(async (client) => {
      // Sent together with the first statement of `work`, which fails too if this does.
      client.query(begin).catch(() => {});
      try {
        const result = await work(client);
        await commit(client);
        return result;
      } catch (error) {
        if (failureOf(error) !== 'disconnected') await client.query('ROLLBACK');
        throw error;
      }
    });
  }

  /** @throws {UnknownOutcome} */
  async function commit(client: pg.ClientBase): Promise<void> {
    let warning: unknown;
    const note = (notice: { readonly code?: string | undefined }): void => {
      if (notice.code === WARNING) warning = notice;
    };
    client.on('notice', note);
    try {
      const { command } = await client.query('COMMIT');
      if (command !== 'COMMIT') throw new Error('the transaction was aborted');
    } catch (error) {
      throw isRolledBack(error) ? error : new UnknownOutcome(error);
    } finally {
      client.off('notice', note);
    }
    if (warning !== undefined) throw new UnknownOutcome(warning);
  }

  const batches = <T>(begin: string, work: (transaction: Transaction) => Promise<T>): Promise<T> =>
    transaction(begin, (client) => work(createPostgresTransaction(client, begin === BEGIN_WRITE)));

  return {
    epoch,
    databaseName: database.database,
    write: (work) => batches(BEGIN_WRITE, work),
    read: (work) => batches(BEGIN_READ, work),
    tenants: () => readTenants(queryable),
    seqs: (tenants) => readSeqs(queryable, tenants),
    entries: (addresses) => readEntries(queryable, addresses),
    list: (tenant, range) => readKeys(queryable, tenant, range),
    stats: (tenant) => readStats(queryable, tenant),
    changes: (tenant, after, room) => readChanges(queryable, tenant, after, room),
    snapshot: async (tenant) => openSnapshot(await connect(), tenant),
    async expire(time) {
      for (const tenant of await findExpired(queryable, time))
        await transaction(BEGIN_WRITE, (client) => expireTenant(client, tenant, time));
    },
    hints,
    failureOf,
    async close() {
      await hints.close();
      await close();
    },
  };
}
