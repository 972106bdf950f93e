/** Reference servers over a database that each test of a file has for itself; what a test leaves running ends with it. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach } from 'vitest';
import type { RunningServer } from './running-server.ts';
import { startTypescriptServer } from './typescript-server.ts';

/** What a test has. */
export interface OwnDatabase {
  /** A folder for whatever the tests of the file need. */
  folder(): string;
  /** The database of the test that runs. */
  path(): string;
  /** A server over it, on a free port unless one is named. */
  start(env?: Record<string, string>, port?: number): Promise<RunningServer>;
  /** Stop one before the test ends. Resolves with its exit code. */
  stop(server: RunningServer): Promise<number | null>;
}

/** For the tests of the block where it is called. */
export function ownDatabase(): OwnDatabase {
  let folder = '';
  let tests = 0;
  const running = new Set<RunningServer>();
  const path = (): string => join(folder, `${tests}.db`);
  const stop = (server: RunningServer): Promise<number | null> => {
    running.delete(server);
    return server.stop();
  };

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'codeforge-test-'));
  });
  beforeEach(() => {
    tests += 1;
  });
  afterEach(async () => {
    await Promise.all([...running].map(stop));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  return {
    folder: () => folder,
    path,
    async start(env = {}, port) {
      const server = await startTypescriptServer({
        databasePath: path(),
        env,
        ...(port !== undefined && { port }),
      });
      running.add(server);
      return server;
    },
    stop,
  };
}
