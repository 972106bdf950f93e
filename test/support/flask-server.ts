/**
 * The Flask server under gunicorn, as a test starts it: a process group of its own, so that `kill()` leaves no worker
 * behind, over a database that goes when the server is stopped, unless the test brings one.
 */
import { type RunningServer, startServer } from './running-server.ts';
import { startOverDatabase } from './server-database.ts';

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

/** How Python is called for the server. Only where `flaskSkipReason` gives none. */
export function flaskPython(): { readonly command: string; readonly cwd: string } {
  const result = python();
  if ('skipped' in result) throw new Error(`No Flask server can run here: ${result.skipped}`);
  return { command: result.python, cwd: finder.flaskFolder };
}

/** What a test may choose. */
export interface FlaskServerOptions {
  /** A database that the test keeps; otherwise a new one that goes with the server. */
  readonly databasePath?: string;
  readonly port?: number;
  /** More environment, such as `ALLOWED_ORIGINS` or `WORKERS` (4 unless told). */
  readonly env?: Record<string, string>;
  /** The arguments of Python, by default those that start gunicorn. */
  readonly args?: readonly string[];
}

/** Start one; resolves when it answers. */
export async function startFlaskServer({
  databasePath,
  port,
  env,
  args = finder.gunicornArguments,
}: FlaskServerOptions = {}): Promise<RunningServer> {
  const { command, cwd } = flaskPython();
  return startOverDatabase(databasePath, (path) =>
    startServer(command, args, {
      cwd,
      detached: true,
      env: { WORKERS: '4', DATABASE_PATH: path, ...env },
      ...(port !== undefined && { port }),
    }),
  );
}
