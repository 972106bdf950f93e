/** The command as its users run it: a process, with its exit code and what it printed. */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { onTestFinished } from 'vitest';

const MAIN = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));

/** Half of the time that a start takes is the compiler's. */
const CACHE = fileURLToPath(new URL('../../node_modules/.cache/command', import.meta.url));

interface RunOptions {
  readonly cwd?: string;
  readonly env?: Record<string, string>;
  /** What stdin holds; `open`: nothing, and it does not end. */
  readonly stdin?: string | { readonly open: true };
  /** A file that stdout goes to. */
  readonly stdout?: string;
  /** The largest file that can be written, in blocks of 512 bytes: a disk that is full behind them. */
  readonly fileBlocks?: number;
}

/** What a run came to. */
export interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A run that goes on. */
export interface Running {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
  /** What it has printed on stdout so far. */
  stdout(): string;
}

/** Start the command. It is killed when the test is over. */
export function start(
  args: readonly string[],
  { cwd, env, stdin, stdout, fileBlocks }: RunOptions = {},
): Running {
  const command = [process.execPath, MAIN, ...args];
  // Node.js ignores the signal that comes with it: the write fails.
  const limited = ['sh', '-c', `ulimit -f ${fileBlocks}; exec "$@"`, 'sh', ...command];
  const [file = '', ...rest] = fileBlocks === undefined ? command : limited;
  const out = stdout === undefined ? undefined : openSync(stdout, 'w');
  const child = spawn(file, rest, {
    cwd,
    env: { ...process.env, ...(fileBlocks === undefined && { NODE_COMPILE_CACHE: CACHE }), ...env },
    stdio: ['pipe', out ?? 'pipe', 'pipe'],
  });
  if (out !== undefined) closeSync(out);
  onTestFinished(() => {
    child.kill('SIGKILL');
  });
  const input = child.stdin as Writable;
  // It may end before it has read everything.
  input.on('error', () => {});
  if (typeof stdin !== 'object') input.end(stdin ?? '');
  const output = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const)
    child[name]?.setEncoding('utf8').on('data', (text: string) => {
      output[name] += text;
    });
  const ended = new Promise<Ended>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve({ code, ...output }));
  });
  return { child, ended, stdout: () => output.stdout };
}

/** Run the command to its end. */
export const run = (args: readonly string[], options?: RunOptions): Promise<Ended> =>
  start(args, options).ended;

/** Run a command that has to succeed, and return its line of JSON. */
export async function runJson(
  args: readonly string[],
  options?: RunOptions,
): Promise<Record<string, unknown>> {
  const { code, stdout, stderr } = await run([...args, '--json'], options);
  if (code !== 0) throw new Error(`codeforge-storage ${args.join(' ')} ended with ${code}: ${stderr}`);
  return JSON.parse(stdout);
}

/** A folder that goes with the test. */
export function freshFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'command-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}
