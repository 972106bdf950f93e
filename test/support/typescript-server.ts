/** The reference server, as a process: the Node.js that runs the tests, and a database of its own unless one is named. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type RunningServer, startServer } from './running-server.ts';

/** The file that `node` runs. */
export const SERVER_MAIN = fileURLToPath(new URL('../../examples/server/src/main.ts', import.meta.url));

interface StartOptions {
  /** Left in place on stop. Where it is absent, the database lives in a folder that goes with the server. */
  readonly databasePath?: string;
  readonly port?: number;
  readonly env?: Record<string, string>;
}

/** Start a reference server. */
export async function startTypescriptServer(options: StartOptions = {}): Promise<RunningServer> {
  const folder = options.databasePath === undefined ? await mkdtemp(join(tmpdir(), 'codeforge-')) : undefined;
  const databasePath = options.databasePath ?? join(folder ?? '', 'codeforge.db');
  const removeFolder = async (): Promise<void> => {
    if (folder !== undefined) await rm(folder, { recursive: true, force: true });
  };
  try {
    const server = await startServer(process.execPath, [SERVER_MAIN], {
      env: { DATABASE_PATH: databasePath, ...options.env },
      ...(options.port !== undefined && { port: options.port }),
    });
    return {
      ...server,
      async stop() {
        const code = await server.stop();
        await removeFolder();
        return code;
      },
      async kill() {
        await server.kill();
        await removeFolder();
      },
    };
  } catch (error) {
    await removeFolder();
    throw error;
  }
}
