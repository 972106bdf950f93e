/** MariaDB or MySQL as a store. */
import { randomBytes } from 'node:crypto';
import type { Connection } from 'mariadb';
import type { NetworkedDatabase } from '../../database-url.ts';
import { type Driver, UnknownOutcome } from '../driver.ts';
import type { Snapshot } from '../store.ts';
import { createConnections } from './connections.ts';
import { failureOf, isRolledBack } from './errors.ts';
import { expireTenant, findExpired } from './expiry.ts';
import { migrate } from './migrations.ts';
import { readChanges, readEntries, readKeys, readSeq, readSeqs, readStats, readTenants } from './reads.ts';
import { createSnapshot } from './snapshot.ts';
import { createMysqlTransaction } from './transaction.ts';

/** Applies to the next transaction only. Its plain reads see one state; others use READ COMMITTED. */
const ONE_STATE = 'SET TRANSACTION ISOLATION LEVEL REPEATABLE READ';
const BEGIN = 'START TRANSACTION';
const BEGIN_NOW = 'START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY';

/**
 * Connects, and creates or updates the tables.
 *
 * @param maxConnections Of the pool. Each export has one more.
 * @throws {Error} If the database cannot be reached or used.
 */
export async function openMysql(
  database: NetworkedDatabase,
  maxConnections: number,
  isRestored: boolean,
  maxBodyBytes: number,
): Promise<Driver> {
  const { use, connect, close } = createConnections(database, maxConnections);
  const connection = await connect();
  let epoch: string;
  try {
    await checkPacket(connection, maxBodyBytes);
    epoch = await migrate(connection, randomBytes(8).toString('hex'), isRestored);
  } finally {
    await connection.end();
  }

  function transaction<T>(
    begin: readonly string[],
    work: (connection: Connection) => Promise<T>,
  ): Promise<T> {
    return use(async (connection) => {
      for (const statement of begin) await connection.query(statement);
      try {
        const result = await work(connection);
        await commit(connection);
        return result;
      } catch (error) {
        if (failureOf(error) !== 'disconnected') await connection.query('ROLLBACK');
        throw error;
      }
    });
  }

  /** @throws {UnknownOutcome} */
  async function commit(connection: Connection): Promise<void> {
    try {
      await connection.query('COMMIT');
    } catch (error) {
      throw isRolledBack(error) ? error : new UnknownOutcome(error);
    }
  }

  /** The counter is locked while the state of the snapshot is fixed, so that it is the state at this number. */
  async function openSnapshot(tenant: string): Promise<Snapshot> {
    const own = await connect();
    try {
      await own.query(ONE_STATE);
      const seq = await transaction([BEGIN], async (connection) => {
        const seq = await readSeq(connection, tenant);
        await own.query(BEGIN_NOW);
        return seq;
      });
      return createSnapshot(own, tenant, seq);
    } catch (error) {
      own.destroy();
      throw error;
    }
  }

  return {
    epoch,
    databaseName: database.database,
    write: (work) => transaction([BEGIN], (connection) => work(createMysqlTransaction(connection, true))),
    read: (work) =>
      transaction([ONE_STATE, BEGIN], (connection) => work(createMysqlTransaction(connection, false))),
    tenants: () => use(readTenants),
    seqs: (tenants) => use((connection) => readSeqs(connection, tenants)),
    entries: (addresses) => use((connection) => readEntries(connection, addresses)),
    list: (tenant, range) => use((connection) => readKeys(connection, tenant, range)),
    stats: (tenant) => use((connection) => readStats(connection, tenant)),
    changes: (tenant, after, room) =>
      transaction([ONE_STATE, BEGIN], (connection) => readChanges(connection, tenant, after, room)),
    snapshot: openSnapshot,
    async expire(time) {
      for (const tenant of await use((connection) => findExpired(connection, time)))
        await transaction([BEGIN], (connection) => expireTenant(connection, tenant, time));
    },
    failureOf,
    close,
  };
}

/** A value travels in one packet, in both directions. */
async function checkPacket(connection: Connection, maxBodyBytes: number): Promise<void> {
  const [{ bytes }] = await connection.query('SELECT @@max_allowed_packet AS bytes');
  const needed = maxBodyBytes + 64 * 1024;
  if (bytes < needed)
    throw new Error(
      `max_allowed_packet of the database is ${bytes}: it must be at least ${needed} for MAX_BODY_BYTES=${maxBodyBytes}`,
    );
}
