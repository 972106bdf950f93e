/** A database for a server process: the test's own, which stays, or one in a folder that goes with the server. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { RunningServer } from './running-server.ts';

/** Start a server over the database at `databasePath`, or over a new one that is removed when the server ends. */
export async function startOverDatabase(
  databasePath: string | undefined,
  start: (databasePath: string) => Promise<RunningServer>,
): Promise<RunningServer> {
  if (databasePath !== undefined) return start(databasePath);
  const folder = await mkdtemp(join(tmpdir(), 'codeforge-'));
  const remove = (): Promise<void> => rm(folder, { recursive: true, force: true });
  try {
    const server = await start(join(folder, 'codeforge.db'));
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
