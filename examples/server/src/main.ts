/** The process: configuration → store → app → listening, until a signal; then everything in flight is finished. */
import type { DatabaseSync } from 'node:sqlite';
import { type Config, ConfigError, readConfig } from './config.ts';
import { createDoor } from './http/access/checks.ts';
import { isLoopbackAddress } from './http/access/loopback.ts';
import { createApp } from './http/routes.ts';
import { limitsOf } from './http/transport/limits.ts';
import { createLoad } from './http/transport/load.ts';
import { createHttpServer } from './http/transport/server.ts';
import { createLog, type Logger } from './log.ts';
import { adoptOldTables } from './store/sqlite/adoption.ts';
import { mintEpoch, openDatabase } from './store/sqlite/database.ts';
import { createSqliteStore } from './store/sqlite/store.ts';

/** Milliseconds. */
const DAY = 24 * 60 * 60 * 1000;

const EXIT_FAILED = 1;
const EXIT_MISCONFIGURED = 2;

await main();

async function main(): Promise<void> {
  // First, so that a signal during the start ends it in order too.
  const asked = stopSignal();
  const config = configOrExit();
  const log = createLog(config.logLevel);
  const { answerBytes } = limitsOf(config.maxBodyBytes);
  const store = createSqliteStore(databaseOrExit(config, log), answerBytes);
  const stopping = new AbortController();
  const app = createApp({ store, config, log, stopping: stopping.signal });
  const server = createHttpServer(app, {
    door: createDoor(config),
    load: createLoad(config.maxRequests),
    log,
  });
  const forget = (): void => {
    store.forget().catch((error) => log.error({ err: error }, 'old tombstones were not dropped'));
  };
  forget();
  setInterval(forget, DAY).unref();

  const url = await server.listen(config.port, config.host).catch((error) => {
    exit(log, error, listenAdvice(error, config));
  });
  log.info({ url, database: config.databasePath }, 'listening');
  if (!isLoopbackAddress(config.host) && config.tokens.length === 0)
    log.warn('there are no tokens: whoever reaches this server may read, change and wipe everything');

  await asked;
  log.info('stopping');
  stopping.abort();
  await server.drain();
  await store.close();
  log.info('stopped');
}

function configOrExit(): Config {
  try {
    return readConfig(process.env);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    process.stderr.write(`${error.message}\n`);
    process.exit(EXIT_MISCONFIGURED);
  }
}

function databaseOrExit({ databasePath, restored }: Config, log: Logger): DatabaseSync {
  try {
    const database = openDatabase(databasePath);
    const adoption = adoptOldTables(database);
    if (restored) {
      mintEpoch(database);
      log.info('a new epoch: clients list everything again');
    }
    if (adoption) log.info(`adopted ${adoption.adopted} keys of an old server`);
    if (adoption?.left)
      log.warn(`left ${adoption.left} rows without a key or without JSON in the old server's table`);
    return database;
  } catch (error) {
    exit(
      log,
      error,
      `DATABASE_PATH ${databasePath} cannot be used: is it a SQLite file in an existing folder?`,
    );
  }
}

function listenAdvice(error: NodeJS.ErrnoException, { host, port }: Config): string {
  if (error.code === 'EADDRINUSE')
    return `port ${port} is taken: choose another with PORT, or PORT=0 for any free one`;
  return `cannot listen on HOST ${host}, PORT ${port} (${error.code})`;
}

function exit(log: Logger, err: unknown, message: string): never {
  log.fatal({ err }, message);
  process.exit(EXIT_FAILED);
}

/** Resolves on the first signal; more of them change nothing. */
function stopSignal(): Promise<void> {
  return new Promise((resolve) => {
    process.on('SIGTERM', () => resolve());
    process.on('SIGINT', () => resolve());
  });
}
