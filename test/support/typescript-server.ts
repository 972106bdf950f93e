/** The reference server, as a process: the Node.js that runs the tests, and a database of its own unless one is named. */
import { fileURLToPath } from 'node:url';
import { type RunningServer, startServer } from './running-server.ts';
import { startOverDatabase } from './server-database.ts';

/** The file that `node` runs. */
export const SERVER_MAIN = fileURLToPath(new URL('../../examples/server/src/main.ts', import.meta.url));

interface StartOptions {
  /** Left in place on stop. Where it is absent, the database lives in a folder that goes with the server. */
  readonly databasePath?: string;
  /** Of a database server that the test runs. */
  readonly databaseUrl?: string;
  readonly port?: number;
  readonly env?: Record<string, string>;
}

/** Start a reference server. */
export function startTypescriptServer({
  databasePath,
  databaseUrl,
  port,
  env,
}: StartOptions = {}): Promise<RunningServer> {
  const start = (database: Record<string, string>): Promise<RunningServer> =>
    startServer(process.execPath, [SERVER_MAIN], {
      env: { ...database, ...env },
      ...(port !== undefined && { port }),
    });
  if (databaseUrl !== undefined) return start({ DATABASE_URL: databaseUrl });
  return startOverDatabase(databasePath, (path) => start({ DATABASE_PATH: path }));
}
