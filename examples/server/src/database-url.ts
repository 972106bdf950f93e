/** Parses `DATABASE_URL`: which database the server uses, and where it is. */
import { resolve } from 'node:path';

/** An address of a database server. */
export interface DatabaseHost {
  readonly host: string;
  readonly port: number;
}

/**
 * How a connection is encrypted. `off`: not at all. `unverified`: the certificate is not checked. `verified`: the
 * certificate is checked against the authorities that Node.js trusts (`NODE_EXTRA_CA_CERTS` adds one), and the host name.
 */
export type Encryption = 'off' | 'unverified' | 'verified';

/** Where the data is stored. */
export type DatabaseLocation =
  | {
      readonly kind: 'sqlite';
      /** Absolute path. */
      readonly path: string;
    }
  | NetworkedDatabase;

/** A database server, or several that replicate one database. */
export interface NetworkedDatabase {
  readonly kind: 'postgres' | 'mysql';
  /** Tried in this order. */
  readonly hosts: readonly DatabaseHost[];
  readonly user: string;
  readonly password: string;
  readonly database: string;
  readonly encryption: Encryption;
}

const DEFAULT_PORTS = { postgres: 5432, mysql: 3306 };

const KINDS: Readonly<Record<string, 'postgres' | 'mysql'>> = {
  postgres: 'postgres',
  postgresql: 'postgres',
  mysql: 'mysql',
  mariadb: 'mysql',
};

const SSL_MODES: Readonly<Record<string, Encryption>> = {
  disable: 'off',
  require: 'unverified',
  'verify-full': 'verified',
};

/**
 * Parses a database URL. `new URL` cannot: a URL for failover names several hosts, and `sqlite:` a path.
 *
 * @throws {Error} The message says what is wrong and does not contain the password.
 */
export function parseDatabaseUrl(text: string): DatabaseLocation {
  const [, scheme = '', rest = ''] = /^([a-z]+):(.*)$/s.exec(text) ?? [];
  if (scheme === 'sqlite') return parseSqlite(rest);
  const kind = Object.hasOwn(KINDS, scheme) ? KINDS[scheme] : undefined;
  if (kind === undefined) throw new Error('must begin with sqlite:, postgres:// or mysql://');
  return parseNetworked(kind, rest);
}

function parseSqlite(rest: string): DatabaseLocation {
  const path = decode(rest.replace(/^\/\/(?=\/)/, ''), 'the path');
  if (path === '' || path.startsWith('//'))
    throw new Error('must name a file, such as sqlite:data.db or sqlite:/var/lib/data.db');
  return { kind: 'sqlite', path: resolve(path) };
}

function parseNetworked(kind: 'postgres' | 'mysql', rest: string): NetworkedDatabase {
  const parts = /^\/\/(?:([^/?@]*)@)?([^/?@]+)\/([^/?]+)(?:\?(.*))?$/s.exec(rest);
  if (!parts) throw new Error(`must have the form ${kind}://user:password@host:port/database`);
  const [, credentials = '', hosts = '', database = '', query = ''] = parts;
  const [, user = '', password = ''] = /^([^:]*):?(.*)$/s.exec(credentials) ?? [];
  if (user === '') throw new Error(`must name a user: ${kind}://user:password@host/database`);
  return {
    kind,
    hosts: hosts.split(',').map((host) => parseHost(host, DEFAULT_PORTS[kind])),
    user: decode(user, 'the user'),
    password: decode(password, 'the password'),
    database: decode(database, 'the database'),
    encryption: parseQuery(kind, query),
  };
}

function parseHost(text: string, defaultPort: number): DatabaseHost {
  const [, host, address, port] = /^(?:([\w.-]+)|\[([\da-f:.]+)\])(?::(\d{1,5}))?$/i.exec(text) ?? [];
  const name = host ?? address;
  const number = Number(port ?? defaultPort);
  if (name === undefined || number < 1 || number > 65_535)
    throw new Error(`names "${text}", which is not a host or host:port`);
  return { host: name, port: number };
}

function parseQuery(kind: 'postgres' | 'mysql', query: string): Encryption {
  let encryption: Encryption = 'off';
  for (const [name, value] of new URLSearchParams(query)) {
    const mode = Object.hasOwn(SSL_MODES, value) ? SSL_MODES[value] : undefined;
    if (name === 'sslmode' && mode !== undefined) encryption = mode;
    else if (name === 'sslmode')
      throw new Error(`sslmode must be disable, require or verify-full, not "${value}"`);
    // The only way in which this server connects. Accepted because URLs for other programs contain it.
    else if (kind === 'postgres' && name === 'target_session_attrs' && value === 'read-write') continue;
    else throw new Error(`has the parameter ${name}=${value}, which this server does not know`);
  }
  return encryption;
}

function decode(text: string, part: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new Error(`${part} must be percent-encoded`);
  }
}
