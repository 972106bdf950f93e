/**
 * Connections to MariaDB or MySQL: a pool for each host. Of several hosts, one is used until it fails; then the next one is.
 */
import { type Connection, createConnection, createPool, type Pool, type PoolConfig } from 'mariadb';
import type { NetworkedDatabase } from '../../database-url.ts';
import { TIME_LIMITS } from '../driver.ts';
import { failureOf, PoolExhausted } from './errors.ts';

const SECOND = 1000;

/** Milliseconds after which an unused connection is closed. Less than the time limit of a silent socket. */
const IDLE = TIME_LIMITS.statement / 2;

/**
 * What every connection is set to. The comments with `M!` are for MariaDB alone; `wsrep_sync_wait` makes a node of a Galera
 * cluster read what any other one has committed.
 */
const SETTINGS = [
  'SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED',
  "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', " +
    `innodb_lock_wait_timeout = ${TIME_LIMITS.lock / SECOND} ` +
    `/*M!100500 , max_statement_time = ${TIME_LIMITS.statement / SECOND}, wsrep_sync_wait = 1 */`,
];

export interface Connections {
  /** Runs `work` with a connection of the pool. After an error that breaks it, the connection is closed. */
  use<T>(work: (connection: Connection) => Promise<T>): Promise<T>;
  /** A connection of its own, outside of the pool. The caller ends it. */
  connect(): Promise<Connection>;
  close(): Promise<void>;
}

export function createConnections(database: NetworkedDatabase, max: number): Connections {
  const { hosts, user, password, encryption } = database;
  const pools = new Map<number, Pool>();
  /** Counts changes of host. `hosts[turn % hosts.length]` is the one in use. */
  let turn = 0;

  const configOf = (index: number): PoolConfig => ({
    ...hosts[index],
    user,
    password,
    database: database.database,
    ssl: encryption === 'off' ? false : { rejectUnauthorized: encryption === 'verified' },
    charset: 'utf8mb4',
    collation: 'UTF8MB4_BIN',
    initSql: SETTINGS,
    connectTimeout: TIME_LIMITS.connect,
    // For a server that is gone without a word. The database itself ends a statement earlier.
    socketTimeout: TIME_LIMITS.statement + TIME_LIMITS.lock,
    keepAliveDelay: 10 * SECOND,
    bigIntAsNumber: true,
    decimalAsNumber: true,
    checkNumberRange: true,
    insertIdAsNumber: true,
    multipleStatements: false,
  });

  function poolAt(index: number): Pool {
    let pool = pools.get(index);
    if (pool === undefined) {
      pool = createPool({
        ...configOf(index),
        connectionLimit: max,
        minimumIdle: 1,
        idleTimeout: IDLE / SECOND,
        acquireTimeout: TIME_LIMITS.connect,
        initializationTimeout: TIME_LIMITS.connect,
      });
      pools.set(index, pool);
    }
    return pool;
  }

  /** New calls use the next host, unless they do already. */
  function distrust(failed: number): void {
    if (turn === failed) turn += 1;
  }

  return {
    async use(work) {
      const own = turn;
      const pool = poolAt(own % hosts.length);
      const connection = await pool.getConnection().catch((error) => {
        if (pool.activeConnections() >= max) throw new PoolExhausted(error);
        distrust(own);
        throw error;
      });
      try {
        const result = await work(connection);
        await connection.release();
        return result;
      } catch (error) {
        if (failureOf(error) === 'disconnected') {
          distrust(own);
          connection.destroy();
        } else await connection.release().catch(() => {});
        throw error;
      }
    },
    async connect() {
      for (let tries = 1; ; tries += 1) {
        const own = turn;
        try {
          const connection = await createConnection(configOf(own % hosts.length));
          // Without a listener, a connection that is lost while nothing uses it would end the process.
          connection.on('error', () => {});
          return connection;
        } catch (error) {
          distrust(own);
          if (tries >= hosts.length) throw error;
        }
      }
    },
    async close() {
      await Promise.all(Array.from(pools.values(), (pool) => pool.end()));
    },
  };
}
