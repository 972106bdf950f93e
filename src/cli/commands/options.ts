/**
 * The arguments and options that several commands share.
 *
 * An option takes precedence over its environment variable. An empty variable counts as not set.
 */
import { Command, InvalidArgumentError, Option } from 'commander';
import { isToken } from '../../core/options.ts';
import { checkServerUrl } from '../../core/server-url.ts';
import type { Connection } from '../server/http.ts';
import { MODES, type Mode } from '../server/import.ts';
import { CommandError, EXIT, EXIT_HELP, type ExitCode } from '../ui/errors.ts';
import { counted, createTerminal, KEYS_SHOWN, listed, type Terminal } from '../ui/terminal.ts';

/** The options of every command. */
export interface CommonOptions {
  readonly json?: boolean;
  readonly quiet?: boolean;
}

/** The options of the commands that use one server. */
export interface ServerOptions extends CommonOptions {
  readonly token?: string;
  readonly timeout: number;
}

/** The environment variable of `--token`. */
export const TOKEN_VARIABLE = 'CODEFORGE_STORAGE_TOKEN';

/** The default of `--timeout`. */
const TIMEOUT_MS = 30_000;

/** The process. `signal` aborts when a signal asks it to end. */
export interface Life {
  readonly signal: AbortSignal;
  /** How long the process may go on after that, in milliseconds. A command that needs longer says so. */
  graceMs: number;
}

/** A command with the options that all commands have. */
export const createCommand = (name: string, summary: string): Command =>
  new Command(name)
    .summary(summary)
    .option('--json', 'print each result as one line of JSON, and no progress')
    .option('-q, --quiet', 'print only errors')
    .addHelpText('after', EXIT_HELP);

/** `--timeout`. */
export const timeoutOption = (): Option =>
  new Option(
    '--timeout <ms>',
    'how long the server may send nothing, in milliseconds; a transfer as a whole may take longer',
  )
    .argParser(positive)
    .default(TIMEOUT_MS);

/** An option for a token. */
export const tokenOption = (flags: string, variable: string, description: string): Option =>
  new Option(
    flags,
    `${description}, if it requires one; other users of this machine can see options, but not variables`,
  ).env(variable);

/** A command that uses one server. */
export const createServerCommand = (name: string, summary: string): Command =>
  createCommand(name, summary)
    .addOption(tokenOption('--token <token>', TOKEN_VARIABLE, 'bearer token for the server'))
    .addOption(timeoutOption());

/** `--mode`. */
export const modeOption = (): Option =>
  new Option(
    '--mode <mode>',
    'what to do with a key that the target already has: replace it (overwrite), keep it (skip), or send nothing at all (fail)',
  )
    .choices(MODES)
    .default('overwrite' satisfies Mode);

/** `--leave-out`. */
export const leaveOutOption = (): Option =>
  new Option(
    '--leave-out',
    'skip keys that servers do not accept, such as keys over 1,024 bytes, name them, and exit with 6; without it such a key is an error',
  ).default(false);

/** Names the keys that were skipped. Returns the members of the JSON line about them. */
export function reportLeftOut(keys: readonly string[], from: string, terminal: Terminal): object {
  if (keys.length === 0) return { leftOut: 0 };
  terminal.complain(`Left out ${counted(keys.length, 'invalid key')} of ${from}: ${listed(keys)}.`);
  return { leftOut: keys.length, leftOutKeys: keys.slice(0, KEYS_SHOWN) };
}

/** The exit code of a success that may have skipped keys. */
export const leftOutCode = (keys: readonly string[]): ExitCode =>
  keys.length === 0 ? EXIT.done : EXIT.leftOut;

/** Checks the argument `<url>`. */
export function serverUrl(text: string): string {
  try {
    return checkServerUrl(text, '<url>');
  } catch (error) {
    throw new InvalidArgumentError((error as Error).message);
  }
}

/**
 * The connection to a server.
 *
 * @throws {CommandError} `usage` if the token is malformed. The message does not contain it.
 */
export function connectionOf(
  url: string,
  { timeout, token = '' }: { readonly timeout: number; readonly token?: string | undefined },
  { signal }: Life,
): Connection {
  if (token !== '' && !isToken(token))
    throw new CommandError(
      EXIT.usage,
      `The token for ${url} is malformed: it must be visible ASCII without spaces.`,
    );
  return { url, timeoutMs: timeout, token: token === '' ? undefined : token, signal };
}

/** The terminal that `--json` and `--quiet` ask for. */
export const terminalOf = ({ json, quiet }: CommonOptions): Terminal =>
  createTerminal({ json: json ?? false, quiet: quiet ?? false });

/** Parses a whole number from 1 that fits into the 31 bits of setTimeout. */
export function positive(text: string): number {
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new InvalidArgumentError('It must be a whole number from 1.');
  return Number(text);
}
