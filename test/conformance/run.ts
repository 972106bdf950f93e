/** The suite as a caller runs it: a process, its output and its exit code. */
import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { text as textOf } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import type { Result } from './runner.ts';
import type { Tokens } from './subject.ts';

const MAIN = fileURLToPath(new URL('./main.ts', import.meta.url));

/** What a run printed, and its exit code. */
export interface Run {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** What `--json` prints. */
export interface Document {
  readonly url: string;
  readonly level: 0 | 1;
  readonly counts: Record<Result['outcome'], number>;
  readonly checks: Result[];
}

/** `npm run conformance -- <args>` */
export async function conform(...args: readonly string[]): Promise<Run> {
  const child = spawn(process.execPath, [MAIN, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  const [stdout, stderr, [code]] = await Promise.all([
    textOf(child.stdout),
    textOf(child.stderr),
    once(child, 'close'),
  ]);
  return { code, stdout, stderr };
}

/** The clauses with this outcome, each once, in their order. */
export function clausesOf(checks: readonly Result[], outcome: Result['outcome']): string[] {
  return [...new Set(checks.filter((check) => check.outcome === outcome).map(({ clause }) => clause))];
}

/** Tokens of two tenants: `TOKENS` for a server, and the options that tell the suite of them. */
export function newTokens(): { env: { TOKENS: string }; args: string[]; tokens: Required<Tokens> } {
  const entries: string[] = [];
  const make = (tenant: string, scope: string): string => {
    // As `npm run token` makes them: none looks like an option of a command.
    const token = `cf_${randomBytes(32).toString('base64url')}`;
    entries.push(`${tenant}:${scope}:${createHash('sha256').update(token).digest('hex')}`);
    return token;
  };
  const tokens = {
    admin: make('one', 'admin'),
    read: make('one', 'read'),
    write: make('one', 'write'),
    other: make('two', 'admin'),
  };
  const { admin, read, write, other } = tokens;
  const options = { '--token': admin, '--read-token': read, '--write-token': write, '--other-token': other };
  return { env: { TOKENS: entries.join() }, args: Object.entries(options).flat(), tokens };
}
