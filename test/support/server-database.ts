/** A database for a server process: the test's own, which stays, or one in a folder that goes with the server. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { RunningServer } from './running-server.ts';

/** Start a server over the database at `databasePath`, or over a new one that is removed when the server ends. */
export const startOverDatabase = (
  databasePath: string | undefined,
  start: (databasePath: string) => Promise<RunningServer>,
): Promise<RunningServer> =>
  databasePath === undefined
    ? startInFolder((folder) => start(join(folder, 'codeforge.db')))
    : start(databasePath);

/** Start a server with a folder that is removed when it ends. */
export async function startInFolder(
  start: (folder: string) => Promise<RunningServer>,
): Promise<RunningServer> {
  const folder = await mkdtemp(join(tmpdir(), 'codeforge-'));
  const remove = (): Promise<void> => rm(folder, { recursive: true, force: true });
  try {
    const server = await start(folder);
    return {
      ...server,
      async stop() {
        const code = await server.stop();
        await remove();
        return code;
      },
      async kill() {
        await server.kill();
        await remove();
      },
    };
  } catch (error) {
    await remove();
    throw error;
  }
}
