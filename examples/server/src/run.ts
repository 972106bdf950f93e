/**
 * The server from its start to its end: reads the configuration, opens the store, and serves until it is asked to stop. It then
 * finishes all requests under way.
 */
import { existsSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { checkAuditLog, createAudit } from './audit.ts';
import { startBackups } from './backup/schedule.ts';
import { type Config, ConfigError, readConfig } from './config.ts';
import { type Callers, createCallers } from './http/access/callers.ts';
import { createAccessCheck } from './http/access/checks.ts';
import { isLoopbackAddress, isLoopbackOrigin } from './http/access/loopback.ts';
import { createApp } from './http/routes.ts';
import { limitsOf } from './http/transport/limits.ts';
import { createLoadLimits } from './http/transport/load.ts';
import { createRateLimit } from './http/transport/rate.ts';
import { createHttpServer } from './http/transport/server.ts';
import { createLog, type Logger } from './log.ts';
import { createMetrics } from './metrics.ts';
import { describeDatabase, openStore } from './open-store.ts';
import type { Store } from './store/store.ts';

/** Milliseconds. */
const DAY = 24 * 60 * 60 * 1000;

const EXIT_FAILED = 1;
const EXIT_MISCONFIGURED = 2;

/**
 * Runs the server. Ends the process with code 2 if the configuration is wrong, and with 1 if the server cannot start.
 *
 * @param env The settings: see `SETTINGS`.
 * @param stopRequested When it resolves, the server stops.
 * @returns When all requests are answered and the store is closed.
 */
export async function runServer(env: NodeJS.ProcessEnv, stopRequested: Promise<unknown>): Promise<void> {
  const config = configOrExit(env);
  const log = createLog(config.logLevel);
  const callers = callersOrExit(config, log);
  auditLogOrExit(config);
  const metrics = config.metrics && createMetrics(config.database);
  const opened = await storeOrExit(config, log);
  const store = metrics?.measured(opened) ?? opened;
  const draining = new AbortController();
  const stopping = new AbortController();
  const app = createApp({
    store,
    config,
    callers,
    log,
    draining: draining.signal,
    stopping: stopping.signal,
  });
  const server = createHttpServer(app, {
    checkAccess: createAccessCheck(config, callers),
    callers,
    metrics,
    limits: createLoadLimits(
      config.maxRequests,
      config.maxWaiting,
      config.maxBodyBytes,
      config.rateLimit === undefined ? undefined : createRateLimit(config.rateLimit),
    ),
    stallTime: config.stallTime,
    audit: createAudit(config.auditLog, log),
    log,
  });
  const expire = (): void => {
    store.expire().catch((error) => log.error({ err: error }, 'could not delete expired tombstones'));
  };
  expire();
  setInterval(expire, DAY).unref();

  const url = await server.listen(config.port, config.host).catch((error) => {
    exit(log, error, listenAdvice(error, config));
  });
  log.info({ url, database: describeDatabase(config.database) }, 'listening');
  if (metrics && config.metrics) {
    const { host, port } = config.metrics;
    const address = await metrics.listen(port, host).catch((error) => {
      exit(log, error, `cannot serve metrics on METRICS_HOST ${host}, METRICS_PORT ${port} (${error.code})`);
    });
    log.info({ url: address }, 'serving metrics');
  }
  const backups = config.backups && startBackups(config.backups, store, log, metrics);
  const advice = reachAdvice(config, callers.needTokens);
  if (advice !== '') log.info(advice);
  if (config.tokensFile !== undefined && !existsSync(config.tokensFile))
    log.warn(
      { file: config.tokensFile },
      'TOKENS_FILE does not exist yet: its tokens are let in when it does (codeforge-storage token add)',
    );
  if (!isLoopbackAddress(config.host) && !callers.needTokens)
    log.warn('no tokens are set: anyone who can reach this server may read, change and delete everything');

  await stopRequested;
  log.info('stopping');
  draining.abort();
  await delay(config.drainTime);
  stopping.abort();
  await server.drain();
  callers.stop();
  metrics?.close();
  await backups?.stop();
  await store.close();
  log.info('stopped');
}

function configOrExit(env: NodeJS.ProcessEnv): Config {
  try {
    return readConfig(env);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    process.stderr.write(`${error.message}\n`);
    process.exit(EXIT_MISCONFIGURED);
  }
}

function callersOrExit(config: Config, log: Logger): Callers {
  try {
    return createCallers(config, log);
  } catch (error) {
    process.stderr.write(`TOKENS_FILE ${config.tokensFile} cannot be read: ${(error as Error).message}.\n`);
    process.exit(EXIT_MISCONFIGURED);
  }
}

function auditLogOrExit({ auditLog }: Config): void {
  try {
    if (auditLog !== undefined) checkAuditLog(auditLog);
  } catch (error) {
    process.stderr.write(`AUDIT_LOG ${auditLog} cannot be written: ${(error as Error).message}.\n`);
    process.exit(EXIT_MISCONFIGURED);
  }
}

function storeOrExit(config: Config, log: Logger): Promise<Store> {
  const { answerBytes } = limitsOf(config.maxBodyBytes);
  return openStore(config, answerBytes, log).catch((error) => {
    const where = describeDatabase(config.database);
    const [, driver] = /Cannot find package '(\w+)'/.exec(error.message) ?? [];
    if (driver !== undefined)
      exit(log, error, `cannot open ${where}: its driver is missing; npm install ${driver}`);
    exit(
      log,
      error,
      config.database.kind === 'sqlite'
        ? `cannot open ${where}, the file of DATABASE_PATH or DATABASE_URL: it must be a SQLite file, or a new file in an existing folder`
        : `cannot open ${where}, the database of DATABASE_URL: it must be reachable, and the user must be allowed to create tables`,
    );
  });
}

/** Who cannot reach the server, and what to set for them: an old server without these settings served everyone. */
function reachAdvice({ host, allowedOrigins }: Config, hasTokens: boolean): string {
  const advice: string[] = [];
  if (isLoopbackAddress(host))
    advice.push(
      `other machines cannot reach this server: set HOST=0.0.0.0${hasTokens ? '' : ' and TOKENS_FILE or TOKENS (codeforge-storage token add)'} to serve them`,
    );
  if (allowedOrigins === isLoopbackOrigin)
    advice.push('pages of other origins than loopback cannot call it: set ALLOWED_ORIGINS to serve them');
  return advice.join('; ');
}

function listenAdvice(error: NodeJS.ErrnoException, { host, port }: Config): string {
  if (error.code === 'EADDRINUSE')
    return `port ${port} is taken: set PORT to another port, or to 0 for any free port`;
  return `cannot listen on HOST ${host}, PORT ${port} (${error.code})`;
}

function exit(log: Logger, err: unknown, message: string): never {
  log.fatal({ err }, message);
  process.exit(EXIT_FAILED);
}
