/**
 * Options of a storage: where they come from, and what they may be.
 */
import type { ConflictPolicy } from './core/conflict.ts';
import {
  checkOptions,
  invalidOption,
  isToken,
  type Logger,
  oneOf,
  type ResolvedOptions,
  RULES,
  type Token,
} from './core/options.ts';
import { checkServerUrl } from './core/server-url.ts';

/** Options of {@link createStorage}. An unknown option is an error. */
export interface StorageOptions {
  /** Use the server at `flaskUrl`. Default `false`: IndexedDB. */
  readonly useFlask?: boolean | undefined;
  /** The server's base URL, http or https, with or without a path and a trailing slash. Required with `useFlask`. */
  readonly flaskUrl?: string | undefined;
  /**
   * The bearer token for a server that requires one, or a function that returns it and is called before each request. The token is
   * sent to the server at `flaskUrl` and to the server of `migrateToFlask`. While the function throws, the state is `auth-required`.
   * Visible ASCII without spaces.
   *
   * A token may be renewed at any time. If it becomes the token of another account, the call that notices it rejects with `forbidden`,
   * and nothing of it is applied. If this device still holds writes or conflicts of the account before, every call for data
   * rejects until the token is for that account again: see `status().reason`, and docs/guarantees.md, 9.3.
   */
  readonly token?: Token | undefined;
  /** Name of the IndexedDB database. Default `codeforge-db`; another name is another store. */
  readonly database?: string | undefined;
  /**
   * Milliseconds that a request to the server with all its resends may take, that opening the database may take, and that a
   * transaction may go without progress. Default 10,000.
   */
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
  /**
   * When a write to IndexedDB resolves: when the browser has handed it to the operating system (`'relaxed'`, the default), or
   * when it is flushed to the disk (`'strict'`). A relaxed write survives a crash of the tab and of the browser, but not always a
   * power cut. Strict writes that are awaited one by one are about ten times as slow. Migration, import, adoption and the outbox
   * are always strict.
   *
   * @see W3C Indexed Database API 3.0, §2.7.1 Durability hint.
   */
  readonly durability?: 'relaxed' | 'strict' | undefined;
  /**
   * Why these options are not what was asked for: logged once as a warning, and part of `status().reason`. {@link readConfig} sets it
   * where an environment asks for a server without naming one.
   */
  readonly warning?: string | undefined;
}

/**
 * Reads options from an environment and from the page.
 *
 * Reads `USE_FLASK_BACKEND` and `FLASK_BACKEND_URL`, with or without the prefix `VITE_`, and `FLASK_API_URL`, which older deployments
 * set, where there is no `FLASK_BACKEND_URL`. A global variable of the page with one of these names, as a container's start script
 * writes it, wins over `env`, which was baked in at build time; the shorter name wins over the one with `VITE_`.
 *
 * `true`, `1`, `yes` and `on` stand for true, `false`, `0`, `no` and `off` for false, in any case. Where the server is wanted but no
 * URL is set, the options are those of IndexedDB, with a `warning`.
 *
 * @param env `import.meta.env`, `process.env`, or nothing for the page's globals alone.
 * @throws {StorageError} `invalid-option` for a value of `USE_FLASK_BACKEND` that is none of these.
 */
export function readConfig(env: Readonly<Record<string, unknown>> = {}): StorageOptions {
  const globals = globalThis as unknown as Readonly<Record<string, unknown>>;
  const read = (name: string): unknown =>
    [globals[name], globals[`VITE_${name}`], env[name], env[`VITE_${name}`]].find(
      // An element with such an id is a page global too.
      (value) =>
        /^(boolean|number)$/.test(typeof value) || (typeof value === 'string' && value.trim() !== ''),
    );
  const useFlask = isTrue('USE_FLASK_BACKEND', read('USE_FLASK_BACKEND') ?? false);
  const url = read('FLASK_BACKEND_URL') ?? read('FLASK_API_URL');
  if (url !== undefined) return { useFlask, flaskUrl: String(url).trim() };
  if (!useFlask) return { useFlask };
  return {
    useFlask: false,
    warning: 'USE_FLASK_BACKEND is set, but FLASK_BACKEND_URL is not: set it to the address of the server',
  };
}

function isTrue(name: string, value: unknown): boolean {
  const text = String(value).trim().toLowerCase();
  if (['true', '1', 'yes', 'on'].includes(text)) return true;
  if (['false', '0', 'no', 'off'].includes(text)) return false;
  throw invalidOption(`${name} must be true or false, not ${JSON.stringify(value)}.`);
}

/**
 * Checks options and fills in the defaults.
 *
 * @throws {StorageError} `invalid-option`
 */
export function resolveOptions(options: StorageOptions): ResolvedOptions {
  const {
    useFlask = false,
    flaskUrl,
    token,
    database = 'codeforge-db',
    timeout = 10_000,
    logger = console,
    conflict = 'keep-server',
    ack = 'server',
    durability = 'relaxed',
    warning,
  } = checkOptions<StorageOptions>('createStorage()', options, {
    useFlask: RULES.boolean,
    flaskUrl: RULES.text,
    token: [
      (value) => typeof value === 'function' || isToken(value),
      'visible ASCII without spaces, or a function that returns that',
    ],
    database: [(value) => typeof value === 'string' && value !== '', 'a name'],
    // setTimeout takes no more than 31 bits.
    timeout: [
      (value) => Number(value) > 0 && Number(value) < 2 ** 31 && typeof value === 'number',
      'milliseconds above 0',
    ],
    logger: [
      (value) =>
        value === false ||
        (typeof (value as Logger)?.info === 'function' && typeof (value as Logger).warn === 'function'),
      'an object with info and warn, or false',
    ],
    conflict: [
      (value) => typeof value === 'function' || value === 'keep-server' || value === 'keep-local',
      "'keep-server', 'keep-local' or a function",
    ],
    ack: oneOf('server', 'local'),
    durability: oneOf('relaxed', 'strict'),
    warning: RULES.text,
  });
  if (useFlask && flaskUrl === undefined)
    throw invalidOption("createStorage(): useFlask needs flaskUrl, the server's address.");
  const serverUrl = flaskUrl === undefined ? undefined : checkServerUrl(flaskUrl);
  return {
    serverUrl: useFlask ? serverUrl : undefined,
    givenUrl: flaskUrl !== undefined && /^https?:/i.test(flaskUrl) ? flaskUrl : serverUrl?.replace(/\/$/, ''),
    token,
    database,
    timeout,
    logger: logger || undefined,
    conflict,
    ack,
    durability,
    warning:
      warning ??
      (flaskUrl !== undefined && options.useFlask === undefined
        ? 'flaskUrl is set, but useFlask is not: set useFlask to true to use the server'
        : undefined),
  };
}
