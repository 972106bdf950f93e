/** A temporary PostgreSQL, alone or with a synchronous standby. `fsync` is on. */
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { freePort } from '../ports.ts';
import { type DatabaseServer, newFolder, runProgram, startDatabase } from './process.ts';
import { programsOf } from './programs.ts';

const USER = 'postgres';

/** Starts one with an empty database. */
export async function startPostgres(settings: readonly string[] = []): Promise<DatabaseServer> {
  const folder = await newFolder('postgres');
  await runProgram('postgres', program('initdb'), [
    ...['-D', folder, '-U', USER, '-A', 'trust', '-E', 'UTF8', '--locale=C.UTF-8'],
    // The server syncs what it writes. What initdb writes is removed with the folder.
    ...['--no-sync', '--no-instructions'],
  ]);
  return startIn(folder, settings);
}

/** A primary, and a standby that every commit waits for. */
export interface PostgresPair {
  /** Names both. */
  readonly url: string;
  readonly primary: DatabaseServer;
  readonly standby: DatabaseServer;
  /** Makes the standby the primary. It waits for no other standby then. */
  promote(): Promise<void>;
  stop(): Promise<void>;
}

export async function startPostgresPair(): Promise<PostgresPair> {
  const primary = await startPostgres(['wal_level=replica', 'hot_standby=on']);
  const folder = await newFolder('postgres');
  const { hostname, port, host } = new URL(primary.url);
  await runProgram('postgres', program('pg_basebackup'), [
    ...['-d', `host=${hostname} port=${port} user=${USER} application_name=standby`],
    ...['-D', folder, '-X', 'stream', '-c', 'fast', '-R', '--no-sync'],
  ]);
  const standby = await startIn(folder, ['hot_standby=on']);
  await query(primary.url, "ALTER SYSTEM SET synchronous_standby_names = 'standby'");
  await query(primary.url, 'SELECT pg_reload_conf()');
  const state = "SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync' AND state = 'streaming'";
  while ((await query(primary.url, state)).length === 0) await delay(50);
  return {
    url: primary.url.replace(host, `${host},${new URL(standby.url).host}`),
    primary,
    standby,
    async promote() {
      // Before the promotion: no commit may wait for the old primary.
      await query(standby.url, "ALTER SYSTEM SET synchronous_standby_names = ''");
      await query(standby.url, 'SELECT pg_reload_conf()');
      await query(standby.url, 'SELECT pg_promote(true, 30)');
    },
    async stop() {
      await standby.stop();
      await primary.stop();
    },
  };
}

/** Runs one statement. */
export async function query(url: string, text: string, values: readonly unknown[] = []): Promise<unknown[]> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 5000 });
  client.on('error', () => {});
  await client.connect();
  try {
    return (await client.query(text, [...values])).rows;
  } finally {
    await client.end();
  }
}

async function startIn(folder: string, settings: readonly string[]): Promise<DatabaseServer> {
  const port = await freePort();
  const url = `postgres://${USER}@127.0.0.1:${port}/postgres`;
  const all = [
    `port=${port}`,
    'listen_addresses=127.0.0.1',
    'unix_socket_directories=',
    'fsync=on',
    ...settings,
  ];
  return startDatabase({
    name: 'postgres',
    url,
    folder,
    program: program('postgres'),
    args: ['-D', folder, ...all.flatMap((setting) => ['-c', setting])],
    // "Fast shutdown": open sessions are ended.
    signal: 'SIGINT',
    answers: async () => {
      await query(url, 'SELECT 1');
    },
  });
}

function program(name: string): string {
  return join(programsOf('postgres') ?? '', name);
}
