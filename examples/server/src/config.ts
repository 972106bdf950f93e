/** Reads the configuration from the environment. A wrong value ends the start. A default never replaces it. */
import { resolve } from 'node:path';
import type { BackupSettings } from './backup/schedule.ts';
import { type DatabaseLocation, parseDatabaseUrl } from './database-url.ts';
import { isLoopbackAddress, isLoopbackOrigin } from './http/access/loopback.ts';
import { parseTokenEntry, type TokenEntry } from './http/access/tokens.ts';
import type { Quota, QuotaOf } from './store/quota.ts';

/** What the operator configures. */
export interface Config {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  readonly database: DatabaseLocation;
  /** Connections to a database server. */
  readonly poolSize: number;
  /** Whether the database was restored from a copy. Its revisions may then be assigned a second time. */
  readonly restored: boolean;
  /** Whether pages of an origin may read and write. `'*'`: all pages may. */
  readonly allowedOrigins: '*' | ((origin: string) => boolean);
  /** Who may call. Without tokens every caller may do everything. */
  readonly tokens: readonly TokenEntry[];
  /** A file with more tokens, which is read again when it changes. It need not exist yet. */
  readonly tokensFile: string | undefined;
  readonly maxBodyBytes: number;
  /** Requests that are worked on at once. Further requests are answered with 503. */
  readonly maxRequests: number;
  /** Requests that wait for changes at once. Further ones are answered with 503. */
  readonly maxWaiting: number;
  /** What a tenant may store. */
  readonly quotaOf: QuotaOf;
  /** Requests of one caller in a second; `undefined`: any number. */
  readonly rateLimit: number | undefined;
  /** Whether a PUT or DELETE of one key needs `If-Match` or `If-None-Match`. */
  readonly requiresCondition: boolean;
  /** Milliseconds that a client may lag behind the minimum rate while it sends a body or takes an answer. */
  readonly stallTime: number;
  /** Milliseconds after the request to stop in which requests are still accepted, and `/ready` answers 503. */
  readonly drainTime: number;
  /** Where the metrics are served; `undefined`: nowhere. A port of 0: any free one. */
  readonly metrics: { readonly host: string; readonly port: number } | undefined;
  /** Where and when backups are made; `undefined`: nowhere. */
  readonly backups: BackupSettings | undefined;
  readonly logLevel: string;
  /** The file of the audit log; `undefined`: there is none. */
  readonly auditLog: string | undefined;
}

/** The settings, as `--help` names them: the name, the default and the meaning. */
export const SETTINGS: ReadonlyArray<readonly [name: string, fallback: string, meaning: string]> = [
  ['HOST', '127.0.0.1', 'the address to listen on'],
  ['PORT', '5001', 'the port; 0: any free port'],
  ['DATABASE_URL', '', 'sqlite:data.db, postgres://user:password@host/database or mysql://…'],
  ['DATABASE_PATH', './codeforge.db', 'the SQLite file, if there is no DATABASE_URL'],
  ['DATABASE_POOL', '10', 'connections to a database server'],
  ['RESTORED', 'false', 'true for one start after the database was restored from a copy'],
  ['ALLOWED_ORIGINS', 'loopback, any port', 'origins whose pages may call, with commas; *: all'],
  ['TOKENS_FILE', '', 'the file of tokens: see codeforge-storage token'],
  ['TOKENS', '', 'more tokens: <tenant>:<scope>:<SHA-256>, with commas'],
  ['ALLOW_ANONYMOUS', 'false', 'true: other machines may call without tokens'],
  ['MAX_BODY_BYTES', '8388608', 'bytes of a body, or of a line of an import'],
  ['MAX_REQUESTS', '512', 'requests that are worked on at once'],
  ['MAX_WAITING', '4000', 'event streams and long polls at once'],
  ['QUOTA_BYTES', '', 'bytes of values of a tenant; team-a=1000000 after a comma: of that tenant'],
  ['QUOTA_KEYS', '', 'keys of a tenant, in the same form'],
  ['RATE_LIMIT', '', 'requests of a tenant in a second; without tokens: of an address'],
  [
    'REQUIRE_CONDITION',
    'false',
    'true: PUT and DELETE of a key need If-Match or If-None-Match; the SDK needs no setting',
  ],
  ['STALL_SECONDS', '20', 'how long a client may lag behind 32 KiB/s'],
  ['DRAIN_SECONDS', '0', 'how long after SIGTERM requests are accepted, while /ready answers 503'],
  ['BACKUP_EVERY', '', 'back up all tenants, such as 15m, 1h or 1d after the last backup'],
  ['BACKUP_DIR', './backups', 'the folder of these backups: see codeforge-storage restore'],
  ['BACKUP_KEEP', '7', 'how many of them are kept'],
  ['METRICS_PORT', '', 'serve metrics for Prometheus on this port; 0: any free port'],
  ['METRICS_HOST', '127.0.0.1', 'the address of that port'],
  ['LOG_LEVEL', 'info', 'trace, debug, info, warn, error, fatal, silent'],
  ['AUDIT_LOG', '', 'a file for clears, imports, and tokens that were changed or refused'],
];

/** The settings as lines for a terminal. */
export function settingsHelp(): string {
  const lines = SETTINGS.map(([name, fallback, meaning]) => {
    const end = fallback === '' ? '' : ` (default: ${fallback})`;
    return `  ${name.padEnd(17)} ${meaning}${end}\n`;
  });
  return lines.join('');
}

/** A variable is wrong. The message names it and says which values it may have. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
}

const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'];

/** A body is kept in memory as one string. V8 cannot create a string much longer than this. */
const MAX_BODY_BYTES = 256 * 1024 * 1024;

/**
 * Reads the configuration. An empty variable counts as not set.
 *
 * @throws {ConfigError}
 */
export function readConfig(env: NodeJS.ProcessEnv): Config {
  const tokens = readTokens(env.TOKENS);
  const tokensFile = env.TOKENS_FILE ? resolve(env.TOKENS_FILE) : undefined;
  return {
    host: readHost(env, tokens.length > 0 || tokensFile !== undefined),
    tokens,
    tokensFile,
    port: readInteger('PORT', env.PORT || '5001', 0, 65_535),
    database: readDatabase(env),
    poolSize: readInteger('DATABASE_POOL', env.DATABASE_POOL || '10', 1, 1000),
    restored: readFlag('RESTORED', env.RESTORED),
    allowedOrigins: readOrigins(env.ALLOWED_ORIGINS),
    maxBodyBytes: readInteger('MAX_BODY_BYTES', env.MAX_BODY_BYTES || '8388608', 1, MAX_BODY_BYTES),
    maxRequests: readInteger('MAX_REQUESTS', env.MAX_REQUESTS || '512', 1, 100_000),
    maxWaiting: readInteger('MAX_WAITING', env.MAX_WAITING || '4000', 1, 1_000_000),
    quotaOf: readQuotas(env),
    rateLimit: env.RATE_LIMIT ? readInteger('RATE_LIMIT', env.RATE_LIMIT, 1, 1_000_000) : undefined,
    requiresCondition: readFlag('REQUIRE_CONDITION', env.REQUIRE_CONDITION),
    stallTime: 1000 * readInteger('STALL_SECONDS', env.STALL_SECONDS || '20', 1, 3600),
    drainTime: 1000 * readInteger('DRAIN_SECONDS', env.DRAIN_SECONDS || '0', 0, 60),
    metrics: readMetrics(env),
    backups: readBackups(env),
    logLevel: readLogLevel(env.LOG_LEVEL || 'info'),
    auditLog: env.AUDIT_LOG ? resolve(env.AUDIT_LOG) : undefined,
  };
}

function readHost(env: NodeJS.ProcessEnv, hasTokens: boolean): string {
  const host = readAddress('HOST', env.HOST || '127.0.0.1');
  if (!isLoopbackAddress(host) && !hasTokens && env.ALLOW_ANONYMOUS !== 'true') {
    throw new ConfigError(
      `HOST=${host} is reachable from other machines, and no tokens are set: anyone who can reach this server may ` +
        'read, change and delete everything. Set TOKENS_FILE or TOKENS (codeforge-storage token add), leave HOST unset, ' +
        'or set ALLOW_ANONYMOUS=true if you want this.',
    );
  }
  return host;
}

function readMetrics({ METRICS_HOST: host, METRICS_PORT: port }: NodeJS.ProcessEnv): Config['metrics'] {
  if (!port) return undefined;
  return {
    host: readAddress('METRICS_HOST', host || '127.0.0.1'),
    port: readInteger('METRICS_PORT', port, 0, 65_535),
  };
}

const UNITS: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

function readBackups({
  BACKUP_EVERY: text,
  BACKUP_DIR: folder,
  BACKUP_KEEP: keep,
}: NodeJS.ProcessEnv): BackupSettings | undefined {
  if (!text) return undefined;
  const [, count, unit = ''] = /^([1-9]\d{0,4})([smhd])$/.exec(text) ?? [];
  if (count === undefined)
    throw new ConfigError(`BACKUP_EVERY must be a time such as 15m, 1h or 1d, not "${text}".`);
  return {
    every: Number(count) * (UNITS[unit] as number),
    folder: resolve(folder || 'backups'),
    keep: readInteger('BACKUP_KEEP', keep || '7', 1, 100_000),
  };
}

function readAddress(name: string, text: string): string {
  const host = text.replace(/^\[(.*)\]$/, '$1');
  if (/^[\w.:%-]+$/.test(host)) return host;
  throw new ConfigError(`${name} must be a host name or an address, not "${host}".`);
}

function readDatabase({ DATABASE_URL: url, DATABASE_PATH: path }: NodeJS.ProcessEnv): DatabaseLocation {
  if (!url) return { kind: 'sqlite', path: resolve(path || 'codeforge.db') };
  if (path) throw new ConfigError('Set either DATABASE_URL or DATABASE_PATH, not both.');
  try {
    return parseDatabaseUrl(url);
  } catch (error) {
    // The message does not show the URL: it may contain a password.
    throw new ConfigError(`DATABASE_URL ${(error as Error).message}.`);
  }
}

function readTokens(text = ''): TokenEntry[] {
  return text
    .split(/[\s,]+/)
    .filter((entry) => entry !== '')
    .map((entry, i) => {
      const parsed = parseTokenEntry(entry);
      if (parsed) return parsed;
      // The message does not show the entry: it may be a token.
      throw new ConfigError(
        `TOKENS: entry ${i + 1} is not <tenant>:<read|write|admin>:<SHA-256 of the token, 64 hex digits>. ` +
          'codeforge-storage token add <tenant> <scope> creates one.',
      );
    });
}

function readQuotas({ QUOTA_BYTES: bytes, QUOTA_KEYS: keys }: NodeJS.ProcessEnv): QuotaOf {
  const bytesOf = readAmounts('QUOTA_BYTES', bytes);
  const keysOf = readAmounts('QUOTA_KEYS', keys);
  return (tenant) => {
    const quota: Quota = { keys: keysOf(tenant), bytes: bytesOf(tenant) };
    return quota.keys === undefined && quota.bytes === undefined ? undefined : quota;
  };
}

/** Reads `1000,team-a=5000`: an amount for each tenant, and other amounts for some of them. */
function readAmounts(name: string, text = ''): (tenant: string) => number | undefined {
  const amounts = new Map<string, number>();
  for (const entry of text.split(/[\s,]+/).filter((entry) => entry !== '')) {
    const [, tenant = '', amount = ''] = /^(?:([\w-]{1,64})=)?(\d{1,15})$/.exec(entry) ?? [];
    if (amount === '' || amounts.has(tenant))
      throw new ConfigError(
        `${name} must be a whole number, or a list such as 1000000,team-a=5000000 that names each tenant once, not "${text}".`,
      );
    amounts.set(tenant, Number(amount));
  }
  const others = amounts.get('');
  return (tenant) => amounts.get(tenant) ?? others;
}

function readFlag(name: string, text = ''): boolean {
  if (text === '' || text === 'false') return false;
  if (text === 'true') return true;
  throw new ConfigError(`${name} must be true or false, not "${text}".`);
}

function readInteger(name: string, text: string, least: number, most: number): number {
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (value >= least && value <= most) return value;
  throw new ConfigError(`${name} must be a whole number from ${least} to ${most}, not "${text}".`);
}

function readOrigins(text = ''): Config['allowedOrigins'] {
  const listed = text
    .split(',')
    .map((origin) => origin.trim().replace(/\/$/, '').toLowerCase())
    .filter((origin) => origin !== '');
  if (listed.includes('*')) return '*';
  for (const origin of listed) checkOrigin(origin);
  const allowed = new Set(listed);
  return allowed.size === 0 ? isLoopbackOrigin : (origin) => allowed.has(origin);
}

function checkOrigin(origin: string): void {
  if (origin === 'null' || /^[a-z][a-z\d+.-]*:\/\/[^/?#\s]+$/.test(origin)) return;
  throw new ConfigError(
    `ALLOWED_ORIGINS must be * or a comma-separated list of origins such as https://app.example, not "${origin}".`,
  );
}

function readLogLevel(level: string): string {
  if (LOG_LEVELS.includes(level)) return level;
  throw new ConfigError(`LOG_LEVEL must be one of ${LOG_LEVELS.join(', ')}, not "${level}".`);
}
