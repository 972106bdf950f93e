/** The database servers that tests run: where their programs are, and which packages bring them. */
import { existsSync, globSync } from 'node:fs';

/** The servers, by the scheme of their URLs. */
export type DatabaseName = 'postgres' | 'mysql';

interface DatabasePrograms {
  /** For messages. */
  readonly title: string;
  /** Debian's packages that bring it. They start nothing. */
  readonly packages: readonly string[];
  /** The folder with its programs. A pattern of `glob`. */
  readonly folder: string;
  /** The server. */
  readonly program: string;
  /** The user that its package makes. The server refuses to run as root. */
  readonly user: string;
}

export const DATABASES: Readonly<Record<DatabaseName, DatabasePrograms>> = {
  postgres: {
    title: 'PostgreSQL',
    packages: ['postgresql'],
    folder: '/usr/lib/postgresql/*/bin',
    program: 'postgres',
    user: 'postgres',
  },
  mysql: {
    title: 'MariaDB',
    packages: ['mariadb-server'],
    folder: '/usr/sbin',
    program: 'mariadbd',
    user: 'mysql',
  },
};

/** The folder with a server's programs; `undefined` if it is not installed. */
export function programsOf(name: DatabaseName): string | undefined {
  const { folder, program } = DATABASES[name];
  return globSync(folder)
    .filter((path) => existsSync(`${path}/${program}`))
    .toSorted((a, b) => a.localeCompare(b, undefined, { numeric: true }))
    .at(-1);
}

/** Why a database server cannot run here, for a skip that names its reason; `undefined` if it can. */
export function databaseSkipReason(name: DatabaseName): string | undefined {
  if (programsOf(name) !== undefined) return undefined;
  const { title, folder, program, packages } = DATABASES[name];
  return `${title} was not found (${folder}/${program}); the package ${packages.join(', ')} brings it`;
}
