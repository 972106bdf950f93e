/** The reference server, as a process: the Node.js that runs the tests, and a database of its own unless one is named. */
import { fileURLToPath } from 'node:url';
import { type RunningServer, startServer } from './running-server.ts';
import { startOverDatabase } from './server-database.ts';

/** The file that `node` runs. */
export const SERVER_MAIN = fileURLToPath(new URL('../../examples/server/src/main.ts', import.meta.url));

interface StartOptions {
  /** Left in place on stop. Where it is absent, the database lives in a folder that goes with the server. */
  readonly databasePath?: string;
  readonly port?: number;
  readonly env?: Record<string, string>;
}

/** Start a reference server. */
export function startTypescriptServer({
  databasePath,
  port,
  env,
}: StartOptions = {}): Promise<RunningServer> {
  return startOverDatabase(databasePath, (path) =>
    startServer(process.execPath, [SERVER_MAIN], {
      env: { DATABASE_PATH: path, ...env },
      ...(port !== undefined && { port }),
    }),
  );
}
