/** The suite as a caller runs it: a process, its output and its exit code. */
import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { text as textOf } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import type { Result } from './runner.ts';

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
export function newTokens(): { env: { TOKENS: string }; args: string[] } {
  const tokens = [
    ['--token', 'one', 'admin'],
    ['--read-token', 'one', 'read'],
    ['--write-token', 'one', 'write'],
    ['--other-token', 'two', 'admin'],
  ].map(([option = '', tenant, scope]) => {
    const token = randomBytes(32).toString('base64url');
    const hash = createHash('sha256').update(token).digest('hex');
    return { option, token, entry: `${tenant}:${scope}:${hash}` };
  });
  return {
    env: { TOKENS: tokens.map(({ entry }) => entry).join() },
    args: tokens.flatMap(({ option, token }) => [option, token]),
  };
}
