/**
 * A database server as a process of its own: in a temporary folder, on a free loopback port, as the user of its package, and
 * never left behind when the test run ends.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { chmod, chown, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { DATABASES, type DatabaseName } from './programs.ts';

const run = promisify(execFile);

/** Milliseconds until a server must answer, or must have ended. */
const START_TIMEOUT = 60_000;
const STOP_TIMEOUT = 30_000;

/** A database server. */
export interface DatabaseServer {
  /** For `DATABASE_URL`: its one database, of a user who may do everything. */
  readonly url: string;
  /** Stops it in order, and removes its folder. */
  stop(): Promise<void>;
  /** SIGKILL, of all its processes. Resolves when they are gone. */
  kill(): Promise<void>;
  /** Starts it again after `kill`, over the same data and at the same address. */
  restart(): Promise<void>;
}

/** What still runs: a function each that kills it. */
const alive = new Set<() => void>();
process.once('exit', () => {
  for (const killNow of alive) killNow();
});

/** The ids to run as; none where the tests do not run as root. */
function identityOf(name: DatabaseName): { uid?: number; gid?: number } {
  if (process.getuid?.() !== 0) return {};
  const { user } = DATABASES[name];
  const [, , uid, gid] =
    readFileSync('/etc/passwd', 'utf8')
      .split('\n')
      .map((line) => line.split(':'))
      .find(([entry]) => entry === user) ?? [];
  if (uid === undefined || gid === undefined) throw new Error(`There is no user ${user}.`);
  return { uid: Number(uid), gid: Number(gid) };
}

/** A new folder that the server owns. */
export async function newFolder(name: DatabaseName): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'codeforge-database-'));
  const { uid, gid } = identityOf(name);
  if (uid !== undefined && gid !== undefined) await chown(folder, uid, gid);
  await chmod(folder, 0o700);
  return folder;
}

/** Runs a program of the server to its end, as its user. */
export async function runProgram(
  name: DatabaseName,
  program: string,
  args: readonly string[],
): Promise<void> {
  await run(program, [...args], { ...identityOf(name), cwd: '/', env: environment() });
}

interface ProcessOptions {
  readonly name: DatabaseName;
  readonly url: string;
  /** Removed on `stop`. */
  readonly folder: string;
  readonly program: string;
  readonly args: readonly string[];
  /** The signal that ends it in order. */
  readonly signal: NodeJS.Signals;
  /** Resolves when the server answers; rejects while it does not. */
  readonly answers: () => Promise<void>;
}

/** Starts a server. Resolves when it answers. */
export async function startDatabase(options: ProcessOptions): Promise<DatabaseServer> {
  const { name, url, folder, program, args, signal, answers } = options;
  let child: ChildProcess;
  let ended: Promise<unknown>;
  let output = '';

  const killNow = (): void => {
    for (const id of [child.pid, ...childrenOf(child.pid)]) killProcess(id);
  };

  async function start(): Promise<void> {
    const deadline = Date.now() + START_TIMEOUT;
    output = '';
    launch();
    for (;;) {
      const isUp = await answers().then(
        () => true,
        () => false,
      );
      if (isUp) return;
      if (Date.now() > deadline) throw new Error(`${program} did not start:\n${output}`);
      // After a kill, the memory that its processes shared may be in use for a moment.
      if (child.exitCode !== null) launch();
      await delay(50);
    }
  }

  function launch(): void {
    const launched = spawn(program, [...args], {
      ...identityOf(name),
      cwd: '/',
      env: environment(),
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    for (const stream of [launched.stdout, launched.stderr])
      stream.setEncoding('utf8').on('data', (text: string) => {
        output += text;
      });
    child = launched;
    alive.add(killNow);
    ended = new Promise((done) => {
      launched.once('close', done);
      launched.once('error', done);
    });
  }

  try {
    await start();
  } catch (error) {
    killNow();
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
  return {
    url,
    async stop() {
      child.kill(signal);
      const late = setTimeout(killNow, STOP_TIMEOUT);
      await ended;
      clearTimeout(late);
      alive.delete(killNow);
      await rm(folder, { recursive: true, force: true });
    },
    async kill() {
      killNow();
      await ended;
    },
    restart: start,
  };
}

/** The programs' messages in English, and nothing that changes where they look for their settings. */
function environment(): NodeJS.ProcessEnv {
  return { PATH: process.env.PATH, TMPDIR: tmpdir(), LC_ALL: 'C.UTF-8' };
}

function childrenOf(pid: number | undefined): number[] {
  if (pid === undefined) return [];
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
      .trim()
      .split(' ')
      .filter(Boolean)
      .map(Number);
  } catch {
    return [];
  }
}

function killProcess(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
