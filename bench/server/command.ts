/** Programs of this machine. */
import { spawn } from 'node:child_process';
import { access } from 'node:fs/promises';
import { delimiter, join } from 'node:path';

/** Whether all of these programs are on the PATH. */
export async function isInstalled(...names: readonly string[]): Promise<boolean> {
  const folders = (process.env.PATH ?? '').split(delimiter);
  const found = names.map((name) => Promise.any(folders.map((folder) => access(join(folder, name)))));
  return Promise.all(found).then(
    () => true,
    () => false,
  );
}

/**
 * What a program wrote to stdout, however it ended.
 *
 * @param time Milliseconds until it is asked to end, as by Ctrl-C.
 */
export function outputOf(command: string, args: readonly string[], time?: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    const timer = time === undefined ? undefined : setTimeout(() => child.kill('SIGINT'), time);
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
    child.once('error', reject);
    child.once('close', () => {
      clearTimeout(timer);
      resolve(output);
    });
  });
}

/** The version in what a program says of itself, or nothing where it is not there. */
export async function versionOf(command: string, args: readonly string[]): Promise<string> {
  const output = await outputOf(command, args).catch(() => '');
  return /\d+(?:\.\d+)+/.exec(output)?.[0] ?? '';
}
