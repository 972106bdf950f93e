/** A temporary MariaDB. Each commit is on the disk before it is answered. */
import { createHash } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Connection, createConnection } from 'mariadb';
import { freePort } from '../ports.ts';
import { type DatabaseServer, newFolder, runProgram, startDatabase } from './process.ts';
import { programsOf } from './programs.ts';

/** Starts one with an empty database. */
export async function startMariadb(settings: readonly string[] = []): Promise<DatabaseServer> {
  const folder = await newFolder('mysql');
  await runProgram('mysql', 'mariadb-install-db', [
    '--no-defaults',
    `--datadir=${folder}/data`,
    // root has no password. The default would be to ask the system who connects.
    '--auth-root-authentication-method=normal',
    '--skip-test-db',
    '--skip-name-resolve',
  ]);
  const port = await freePort();
  const url = `mysql://root@127.0.0.1:${port}/codeforge`;
  // Not in the folder: the path of a socket has at most 107 characters.
  const socket = join(tmpdir(), `m${createHash('sha1').update(folder).digest('hex').slice(0, 12)}.sock`);
  return startDatabase({
    name: 'mysql',
    url,
    folder,
    program: join(programsOf('mysql') ?? '', 'mariadbd'),
    args: [
      '--no-defaults',
      `--datadir=${folder}/data`,
      `--port=${port}`,
      `--socket=${socket}`,
      '--bind-address=127.0.0.1',
      '--skip-name-resolve',
      '--innodb-flush-log-at-trx-commit=1',
      '--innodb-buffer-pool-size=64M',
      ...settings,
    ],
    signal: 'SIGTERM',
    answers: () => createDatabase(port),
  });
}

/** A connection to the database. */
export function connect(url: string): Promise<Connection> {
  const { port } = new URL(url);
  return createConnection({
    host: '127.0.0.1',
    port: Number(port),
    user: 'root',
    database: 'codeforge',
    bigIntAsNumber: true,
  });
}

/** Runs one statement. */
export async function query(url: string, text: string, values: readonly unknown[] = []): Promise<unknown[]> {
  const connection = await connect(url);
  try {
    return await connection.query(text, [...values]);
  } finally {
    await connection.end();
  }
}

async function createDatabase(port: number): Promise<void> {
  const connection = await createConnection({ host: '127.0.0.1', port, user: 'root', connectTimeout: 5000 });
  await connection.query('CREATE DATABASE IF NOT EXISTS codeforge');
  await connection.end();
}
