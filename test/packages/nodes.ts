/**
 * The versions of Node.js that the package is used with: the one that runs the tests, and Node.js 20.
 */
import { execFile } from 'node:child_process';
import { existsSync, globSync } from 'node:fs';
import { join } from 'node:path';
import { inject } from 'vitest';

export interface NodeVersion {
  /** Such as `Node.js 26`. */
  readonly name: string;
  readonly path: string;
}

/** What a program has written, and how it ended. */
export interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** @throws {Error} Where there is no Node.js 20 for this machine. */
export function nodeVersions(): readonly NodeVersion[] {
  const { tools } = inject('packages');
  const [node20] = globSync('node_modules/node-20-*/bin/node', { cwd: tools });
  if (node20 === undefined) throw new Error('No Node.js 20 was installed for this machine.');
  return [
    { name: `Node.js ${process.versions.node.split('.')[0]}`, path: process.execPath },
    { name: 'Node.js 20', path: join(tools, node20) },
  ].filter(({ path }) => existsSync(path));
}

/** Runs a program to its end. An exit code is no error. */
export function run(
  program: string,
  args: readonly string[],
  { cwd, env }: { readonly cwd: string; readonly env?: Readonly<Record<string, string>> },
): Promise<Ended> {
  return new Promise((resolve) => {
    // Vitest's own variables would make Jest and another Vitest behave as if they were it.
    const { VITEST: _, NODE_ENV: __, NODE_OPTIONS: ___, ...rest } = process.env;
    const options = { cwd, env: { ...rest, ...env }, maxBuffer: 256 * 1024 * 1024 };
    execFile(program, args, options, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code ?? 1), stdout, stderr });
    });
  });
}
