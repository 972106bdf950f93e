/**
 * The reference server over database servers, each beside that database itself: a client with as many connections, whose every
 * call is one statement that reads or overwrites one row, without HTTP and without the contract.
 */
import pg from 'pg';
import { connect, startMariadb } from '../../test/support/databases/mariadb.ts';
import { startPostgres } from '../../test/support/databases/postgres.ts';
import type { DatabaseServer } from '../../test/support/databases/process.ts';
import { DATABASES, type DatabaseName, databaseSkipReason } from '../../test/support/databases/programs.ts';
import { startTypescriptServer } from '../../test/support/typescript-server.ts';
import type { Measured } from '../harness/report.ts';
import { inTurns } from '../harness/rounds.ts';
import { CONNECTIONS, type Generator } from './load.ts';
import { load, type Peer, seed } from './measure.ts';
import { OURS } from './servers.ts';
import { valueFor } from './values.ts';

export const ITSELF = 'the database itself';

const KEYS = 1000;

/** A connection to the database. */
interface Client {
  get(key: string): Promise<unknown>;
  put(key: string, value: string): Promise<unknown>;
  end(): Promise<unknown>;
}

const STARTS: Readonly<Record<DatabaseName, () => Promise<DatabaseServer>>> = {
  postgres: () => startPostgres([`max_connections=${2 * CONNECTIONS}`]),
  mysql: () => startMariadb([`--max-connections=${2 * CONNECTIONS}`]),
};

const CONNECTS: Readonly<Record<DatabaseName, (url: string) => Promise<Client>>> = {
  async postgres(url) {
    const client = new pg.Client(url);
    await client.connect();
    await client.query('CREATE TABLE IF NOT EXISTS limits (k bytea PRIMARY KEY, v text)').catch(() => {});
    const run = (name: string, text: string, values: unknown[]) => client.query({ name, text, values });
    return {
      get: (key) => run('get', 'SELECT v FROM limits WHERE k = $1', [Buffer.from(key)]),
      put: (key, value) =>
        run('put', 'INSERT INTO limits VALUES ($1, $2) ON CONFLICT (k) DO UPDATE SET v = excluded.v', [
          Buffer.from(key),
          value,
        ]),
      end: () => client.end(),
    };
  },
  async mysql(url) {
    const connection = await connect(url);
    await connection.query('CREATE TABLE IF NOT EXISTS limits (k VARBINARY(1024) PRIMARY KEY, v LONGTEXT)');
    return {
      get: (key) => connection.execute('SELECT v FROM limits WHERE k = ?', [Buffer.from(key)]),
      put: (key, value) =>
        connection.execute('INSERT INTO limits VALUES (?, ?) ON DUPLICATE KEY UPDATE v = VALUES(v)', [
          Buffer.from(key),
          value,
        ]),
      end: () => connection.end(),
    };
  },
};

/** One row for each database and workload, and why databases were left out. */
export async function measureDatabases(
  generator: Generator,
  time: number,
  rounds: number,
): Promise<{ readonly measured: readonly Measured[]; readonly leftOut: readonly string[] }> {
  const measured: Measured[] = [];
  const leftOut: string[] = [];
  for (const name of ['postgres', 'mysql'] as const) {
    const { title } = DATABASES[name];
    const skipped = databaseSkipReason(name);
    if (skipped === undefined)
      measured.push(...(await measureDatabase(name, title, generator, time, rounds)));
    else leftOut.push(`${title}: ${skipped}`);
  }
  return { measured, leftOut };
}

async function measureDatabase(
  name: DatabaseName,
  title: string,
  generator: Generator,
  time: number,
  rounds: number,
): Promise<Measured[]> {
  const database = await STARTS[name]();
  const server = await startTypescriptServer({ databaseUrl: database.url });
  const clients: Client[] = [];
  try {
    const peer: Peer = { kind: OURS, url: server.url, pids: [server.pid] };
    await seed(peer);
    for (let i = 0; i < CONNECTIONS; i += 1) clients.push(await CONNECTS[name](database.url));
    for (let i = 0; i < KEYS; i += 1)
      await clients[i % CONNECTIONS]?.put(`key-${i}`, valueFor(`key-${i}`, 'seed'));
    const measured: Measured[] = [];
    for (const [workload, text] of [
      ['get', 'GET'],
      ['put', 'PUT'],
    ] as const) {
      let round = 0;
      const ours = async () => {
        const run = await load(generator, peer, workload, `run-${round++}`, time);
        return run.requests / run.seconds;
      };
      const itself = () => loadDirectly(clients, workload, time);
      await ours();
      await itself();
      const contestants = [
        { name: OURS.name, round: ours },
        { name: ITSELF, round: itself },
      ];
      measured.push({ workload: `${title}, ${text}`, figures: await inTurns(contestants, rounds) });
    }
    return measured;
  } finally {
    await Promise.all(clients.map((client) => client.end()));
    await server.stop();
    await database.stop();
  }
}

/** Statements per second of all connections together. */
async function loadDirectly(
  clients: readonly Client[],
  workload: 'get' | 'put',
  time: number,
): Promise<number> {
  const began = performance.now();
  let count = 0;
  await Promise.all(
    clients.map(async (client, i) => {
      for (let n = i; performance.now() - began < time; n += CONNECTIONS) {
        const key = `key-${n % KEYS}`;
        await (workload === 'get' ? client.get(key) : client.put(key, valueFor(key, 'direct')));
        count += 1;
      }
    }),
  );
  return count / ((performance.now() - began) / 1000);
}
