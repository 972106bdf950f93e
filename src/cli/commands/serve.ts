/** `codeforge-storage serve`: the reference server. */
import { settingsHelp } from '@codeforge/storage-server/settings';
import { Command, InvalidArgumentError } from 'commander';
import { CommandError, EXIT, EXIT_HELP } from '../ui/errors.ts';
import type { Life } from './options.ts';

interface ServeOptions {
  readonly host?: string;
  readonly port?: string;
  readonly database?: string;
  readonly tokensFile?: string;
}

/** How long the server may take to finish its requests, in milliseconds: longer than it needs, also with the longest DRAIN_SECONDS. */
const DRAIN_MS = 75_000;

/** Runs the server until a signal. */
export const serveCommand = (life: Life): Command =>
  new Command('serve')
    .summary('run a storage server')
    .description(
      `Run a storage server over a SQLite file, or over PostgreSQL, MariaDB or MySQL, until Ctrl-C or SIGTERM.
It then finishes the requests that are under way, and ends with 0.

It needs Node.js 22.13 or later. For a database server, install its driver beside this package: pg or mariadb.
Options take precedence over variables. The server logs lines of JSON on stdout.`,
    )
    .option('--host <address>', 'the address to listen on (HOST)')
    .option('--port <number>', 'the port; 0: any free port (PORT)', port)
    .option(
      '--database <path or URL>',
      'a SQLite file, or the URL of a database (DATABASE_PATH, DATABASE_URL)',
    )
    .option('--tokens-file <file>', 'the file of tokens: see "token" (TOKENS_FILE)')
    .addHelpText('after', `\nSettings, as environment variables:\n${settingsHelp()}${EXIT_HELP}`)
    .action(async ({ host, port: number, database, tokensFile }: ServeOptions) => {
      checkNode('serve', process.versions.node);
      life.graceMs = DRAIN_MS;
      // Before anything is waited for, so that a signal meanwhile is not missed.
      const stopRequested = new Promise((resolve) => {
        life.signal.addEventListener('abort', resolve);
      });
      const { runServer } = await import('@codeforge/storage-server/run');
      const env = {
        ...process.env,
        ...(host !== undefined && { HOST: host }),
        ...(number !== undefined && { PORT: number }),
        ...(database !== undefined && databaseSettings(database)),
        ...(tokensFile !== undefined && { TOKENS_FILE: tokensFile }),
      };
      await runServer(env, stopRequested);
    });

function port(text: string): string {
  if (/^\d{1,5}$/.test(text) && Number(text) <= 65_535) return text;
  throw new InvalidArgumentError('It must be a whole number from 0 to 65535.');
}

/** The variables for what --database names. */
export const databaseSettings = (text: string): Record<string, string> =>
  /^[a-z]+:/i.test(text) && !/^[a-z]:[\\/]/i.test(text)
    ? { DATABASE_URL: text, DATABASE_PATH: '' }
    : { DATABASE_PATH: text, DATABASE_URL: '' };

/** @throws {CommandError} If this Node.js cannot run the server. */
export function checkNode(command: string, version: string): void {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  if (major > 22 || (major === 22 && minor >= 13)) return;
  throw new CommandError(
    EXIT.failed,
    `${command} needs Node.js 22.13 or later, and this is ${version}: install a newer one.`,
  );
}
