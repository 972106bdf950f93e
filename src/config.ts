/**
 * Options: where they come from, and what they may be.
 */

import type { ConflictPolicy } from './core/conflict.ts';
import { StorageError } from './core/errors.ts';
import type { Logger, ResolvedOptions } from './core/options.ts';
import { checkServerUrl } from './core/server-url.ts';
import { isToken, type Token } from './core/token.ts';

/** Options of {@link createStorage}. An unknown option is an error. */
export interface StorageOptions {
  /** Use the server at `flaskUrl`. Default `false`: IndexedDB. */
  readonly useFlask?: boolean | undefined;
  /** The server's base URL, http or https, with or without a path and a trailing slash. Required with `useFlask`. */
  readonly flaskUrl?: string | undefined;
  /**
   * The bearer token of a server that wants one, or a function that is asked for it before each request. It goes to the
   * server at `flaskUrl`, and to the one that `migrateToFlask` is given. While a function throws, the server counts
   * as one that lets nobody in: state `auth-required`. Visible ASCII without spaces.
   */
  readonly token?: Token | undefined;
  /** Name of the IndexedDB database. Default `codeforge-db`; another name is another store. */
  readonly database?: string | undefined;
  /** Milliseconds a request with all its resends, or opening the database, may take. Default 10,000. */
  readonly timeout?: number | undefined;
  /** Where log lines go. Default `console`; `false` for nowhere. */
  readonly logger?: Logger | false | undefined;
  /**
   * What becomes of a write made while the server was away, where the server has something by then that its writer had not seen.
   * Default `'keep-server'`; the local value is kept, see `conflicts()`.
   */
  readonly conflict?: ConflictPolicy | undefined;
  /**
   * When a write resolves while the server is there: when the server has it (`'server'`, the default), or when it is in the outbox
   * on this device's disk (`'local'`), to be sent at once. While the server is away it is always the outbox.
   */
  readonly ack?: 'server' | 'local' | undefined;
}

/**
 * Options from an environment and from the page.
 *
 * Reads `VITE_USE_FLASK_BACKEND` and `VITE_FLASK_BACKEND_URL`, `USE_FLASK_BACKEND` and `FLASK_BACKEND_URL`. A global
 * variable of the page with one of these names, as a container's start script writes it, wins over `env`, which was
 * baked in at build time; the shorter name wins over the one with `VITE_`. `true` and `'true'` both count as true.
 *
 * @param env `import.meta.env`, `process.env`, or nothing for the page's globals alone.
 */
export function readConfig(env: Readonly<Record<string, unknown>> = {}): StorageOptions {
  const globals = globalThis as unknown as Readonly<Record<string, unknown>>;
  const read = (name: string): unknown =>
    [globals[name], globals[`VITE_${name}`], env[name], env[`VITE_${name}`]].find(
      // An element with such an id is a page global too.
      (value) => typeof value === 'boolean' || (typeof value === 'string' && value !== ''),
    );
  const use = read('USE_FLASK_BACKEND');
  const url = read('FLASK_BACKEND_URL');
  return {
    useFlask: use === true || use === 'true',
    ...(url !== undefined && { flaskUrl: String(url) }),
  };
}

/**
 * Check options and fill in the defaults.
 *
 * @throws {StorageError} `invalid-option`
 */
export function resolveOptions(options: StorageOptions): ResolvedOptions {
  check(typeof options === 'object' && options !== null, 'options', 'an object');
  const {
    useFlask = false,
    flaskUrl,
    token,
    database = 'codeforge-db',
    timeout = 10_000,
    logger = console,
    conflict = 'keep-server',
    ack = 'server',
    ...unknown
  } = options;
  for (const name of Object.keys(unknown))
    check(
      false,
      name,
      'left out: the options are useFlask, flaskUrl, token, database, timeout, logger, conflict and ack',
    );
  check(typeof useFlask === 'boolean', 'useFlask', 'true or false');
  check(typeof database === 'string' && database !== '', 'database', 'a name');
  // setTimeout takes no more than 31 bits.
  check(typeof timeout === 'number' && timeout > 0 && timeout < 2 ** 31, 'timeout', 'milliseconds above 0');
  check(
    logger === false || (typeof logger?.info === 'function' && typeof logger.warn === 'function'),
    'logger',
    'an object with info and warn, or false',
  );
  check(
    token === undefined || typeof token === 'function' || isToken(token),
    'token',
    'visible ASCII without spaces, or a function',
  );
  check(
    typeof conflict === 'function' || ['keep-server', 'keep-local'].includes(conflict),
    'conflict',
    "'keep-server', 'keep-local' or a function",
  );
  check(['server', 'local'].includes(ack), 'ack', "'server' or 'local'");
  const serverUrl = useFlask || flaskUrl !== undefined ? checkServerUrl(flaskUrl) : undefined;
  return {
    serverUrl: useFlask ? serverUrl : undefined,
    token,
    database,
    timeout,
    logger: logger || undefined,
    conflict,
    ack,
  };
}

function check(holds: unknown, name: string, wanted: string): void {
  if (!holds) throw new StorageError('invalid-option', `createStorage: ${name} must be ${wanted}.`);
}
