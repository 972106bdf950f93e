/**
 * Connections to PostgreSQL: a pool over one host, or over several that replicate one database.
 *
 * Of several hosts, connections go to the one that takes writes. When it fails, the next ones are tried, so the server
 * follows a failover without a restart.
 */
import pg from 'pg';
import type { NetworkedDatabase } from '../../database-url.ts';
import { TIME_LIMITS } from '../driver.ts';
import { failureOf, ReadOnlyServer } from './errors.ts';

/** What every connection is checked for and set to, in one statement. */
const PREPARE = `SELECT
  pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean AS "isReadOnly",
  current_setting('server_encoding') AS encoding,
  set_config('lock_timeout', '${TIME_LIMITS.lock}', false),
  set_config('statement_timeout', '${TIME_LIMITS.statement}', false),
  set_config('idle_in_transaction_session_timeout', '${2 * TIME_LIMITS.statement}', false),
  -- A write is answered after the disk has it, however the database is configured.
  set_config('synchronous_commit',
    CASE WHEN current_setting('synchronous_commit') = 'off' THEN 'on' ELSE current_setting('synchronous_commit') END,
    false)`;

export interface Connections {
  /** Runs `work` with a connection of the pool. After an error that breaks it, the connection is closed. */
  use<T>(work: (client: pg.ClientBase) => Promise<T>): Promise<T>;
  /** A connection of its own, outside of the pool. The caller ends it. */
  connect(): Promise<pg.Client>;
  close(): Promise<void>;
}

export function createConnections(database: NetworkedDatabase, max: number): Connections {
  const { hosts, user, password, encryption } = database;
  /** Counts changes of host. `hosts[turn % hosts.length]` is the one that new connections use. */
  let turn = 0;

  const config: pg.ClientConfig = {
    user,
    password,
    database: database.database,
    ssl: encryption === 'off' ? false : { rejectUnauthorized: encryption === 'verified' },
    application_name: 'codeforge-storage',
    connectionTimeoutMillis: TIME_LIMITS.connect,
    // For a server that is gone without a word. The database itself ends a statement earlier.
    query_timeout: TIME_LIMITS.statement + TIME_LIMITS.lock,
    keepAlive: true,
    // BEGIN travels together with the first statement.
    pipeline: true,
  };

  class HostClient extends pg.Client {
    readonly #turn = turn;

    constructor() {
      super({ ...config, ...hosts[turn % hosts.length] });
      // Without a listener, a connection that is lost while nothing uses it would end the process.
      this.on('error', () => {});
    }

    /** New connections use the next host. */
    distrust(): void {
      if (turn === this.#turn) turn += 1;
    }

    override connect(): Promise<pg.Client>;
    override connect(callback: (error: Error) => void): void;
    override connect(callback?: (error: Error) => void): Promise<pg.Client> | undefined {
      const connected = super.connect().catch((error: unknown) => {
        this.distrust();
        throw error;
      });
      if (callback === undefined) return connected;
      connected.then(() => (callback as () => void)(), callback);
      return undefined;
    }

    /** @throws {Error} if the server takes no writes, or if its database cannot be used. */
    async prepare(): Promise<void> {
      const { rows } = await this.query<{ isReadOnly: boolean; encoding: string }>(PREPARE);
      if (rows[0]?.encoding !== 'UTF8') throw new Error('the encoding of the database must be UTF8');
      if (!rows[0].isReadOnly) return;
      this.distrust();
      throw new ReadOnlyServer();
    }
  }

  const options = {
    max,
    idleTimeoutMillis: TIME_LIMITS.idle,
    connectionTimeoutMillis: TIME_LIMITS.connect,
    Client: HostClient,
    onConnect: (client: HostClient) => client.prepare(),
  };
  const pool = new pg.Pool(options as unknown as pg.PoolConfig);
  pool.on('error', () => {});

  async function connectOnce(): Promise<pg.Client> {
    const client = new HostClient();
    try {
      await client.connect();
      await client.prepare();
      return client;
    } catch (error) {
      await client.end().catch(() => {});
      throw error;
    }
  }

  return {
    async use(work) {
      const client = await pool.connect();
      let isBroken = false;
      try {
        return await work(client);
      } catch (error) {
        isBroken = failureOf(error) === 'disconnected';
        if (isBroken) (client as unknown as HostClient).distrust();
        throw error;
      } finally {
        client.release(isBroken);
      }
    },
    async connect() {
      for (let tries = 1; ; tries += 1) {
        try {
          return await connectOnce();
        } catch (error) {
          if (tries === hosts.length) throw error;
        }
      }
    },
    close: () => pool.end(),
  };
}
