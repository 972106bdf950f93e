/**
 * A server as a process of its own, the way it runs for real: started on a free loopback port, ready when `/health`
 * answers, and never left behind when the test run ends.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import { freePort } from './ports.ts';

/** A server process that runs. */
export interface RunningServer {
  /** Base URL, without a trailing slash. */
  readonly url: string;
  readonly pid: number;
  /** What it wrote to stdout and stderr so far. */
  output(): string;
  /** SIGTERM. Resolves with the exit code, or `null` where a signal ended it. */
  stop(): Promise<number | null>;
  /** SIGKILL, to its whole process group where it leads one. Resolves when it is gone. */
  kill(): Promise<void>;
}

interface StartOptions {
  readonly env?: Record<string, string>;
  readonly port?: number;
  /** Let it lead a process group, so that `kill` reaches its workers too. */
  readonly detached?: boolean;
  readonly cwd?: string;
}

/** Milliseconds that a server may take until it answers. */
const START_TIMEOUT = 30_000;

/** Milliseconds that a server may take to end after SIGTERM. */
const STOP_TIMEOUT = 30_000;

/** What still runs: a function each that kills it. */
const alive = new Set<() => void>();

process.once('exit', () => {
  for (const killNow of alive) killNow();
});

/**
 * Start a server and wait until `GET /health` answers 200.
 *
 * It is told its address by `HOST` and `PORT` in its environment.
 *
 * @throws {Error} With its output, when it ends first or does not answer in time.
 */
export async function startServer(
  command: string,
  args: readonly string[],
  options: StartOptions,
): Promise<RunningServer> {
  const port = options.port ?? (await freePort());
  const detached = options.detached ?? false;
  const child = spawn(command, args, {
    cwd: options.cwd,
    detached,
    env: { ...process.env, HOST: '127.0.0.1', PORT: String(port), ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
  }
  const killNow = (): void => killTree(child, detached);
  alive.add(killNow);
  const ended = new Promise<number | null>((done) => {
    child.once('close', done);
    child.once('error', (error) => {
      output += error.message;
      done(null);
    });
  }).finally(() => alive.delete(killNow));

  const server: RunningServer = {
    url: `http://127.0.0.1:${port}`,
    pid: child.pid ?? -1,
    output: () => output,
    async stop() {
      child.kill('SIGTERM');
      const late = setTimeout(killNow, STOP_TIMEOUT);
      const code = await ended;
      clearTimeout(late);
      return code;
    },
    async kill() {
      killNow();
      await ended;
    },
  };
  const ready = await Promise.race([answersHealth(server.url), ended.then(() => false)]);
  if (ready) return server;
  await server.kill();
  throw new Error(`${command} ${args.join(' ')} did not start:\n${output}`);
}

async function answersHealth(url: string): Promise<boolean> {
  const deadline = Date.now() + START_TIMEOUT;
  while (Date.now() < deadline) {
    const response = await fetch(`${url}/health`).catch(() => undefined);
    await response?.arrayBuffer();
    if (response?.status === 200) return true;
    await delay(25);
  }
  return false;
}

function killTree(child: ChildProcess, detached: boolean): void {
  if (child.pid === undefined) return;
  try {
    process.kill(detached ? -child.pid : child.pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
