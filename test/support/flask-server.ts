/**
 * The Flask server under gunicorn, as a test starts it: a process group of its own, so that `kill()` leaves no worker
 * behind, over a database that goes when the server is stopped, unless the test brings one.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type RunningServer, startServer } from './running-server.ts';

interface PythonFinder {
  readonly flaskFolder: string;
  readonly gunicornArguments: string[];
  ensurePython(): { python: string; how: string } | { skipped: string };
}

const finder: PythonFinder = await import(new URL('../../scripts/python.mjs', import.meta.url).href);
let found: ReturnType<PythonFinder['ensurePython']> | undefined;

function python(): ReturnType<PythonFinder['ensurePython']> {
  found ??= finder.ensurePython();
  return found;
}

/** Why no Flask server can run here, for a skip that names its reason; `undefined` where one can. */
export function flaskSkipReason(): string | undefined {
  const result = python();
  return 'skipped' in result ? result.skipped : undefined;
}

/** What a test may choose. */
export interface FlaskServerOptions {
  /** A database that the test keeps; otherwise a new one that goes with the server. */
  readonly databasePath?: string;
  readonly port?: number;
  /** More environment, such as `ALLOWED_ORIGINS` or `WORKERS` (4 unless told). */
  readonly env?: Record<string, string>;
}

/** Start one; resolves when it answers. */
export async function startFlaskServer(options: FlaskServerOptions = {}): Promise<RunningServer> {
  const result = python();
  if ('skipped' in result) throw new Error(`No Flask server can run here: ${result.skipped}`);
  const folder =
    options.databasePath === undefined ? await mkdtemp(join(tmpdir(), 'codeforge-flask-')) : undefined;
  const databasePath = options.databasePath ?? join(folder ?? '', 'codeforge.db');
  const removeFolder = async (): Promise<void> => {
    if (folder !== undefined) await rm(folder, { recursive: true, force: true });
  };
  try {
    const server = await startServer(result.python, finder.gunicornArguments, {
      cwd: finder.flaskFolder,
      detached: true,
      env: { WORKERS: '4', DATABASE_PATH: databasePath, ...options.env },
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
