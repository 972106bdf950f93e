/**
 * The options that commands share, and how what is given for them is read.
 *
 * An option wins over the environment; an empty variable counts as none.
 */
import { Command, InvalidArgumentError, Option } from 'commander';
import { isToken } from '../../core/options.ts';
import { checkServerUrl } from '../../core/server-url.ts';
import type { Connection } from '../server/exchange.ts';
import { MODES, type Mode } from '../server/importing.ts';
import { CommandError, EXIT, EXIT_HELP } from './exit-codes.ts';
import { createTerminal, type Terminal } from './terminal.ts';

/** What every command is given. */
export interface CommonOptions {
  readonly json?: boolean;
  readonly quiet?: boolean;
}

/** What commands that ask one server are given. */
export interface ServerOptions extends CommonOptions {
  readonly token?: string;
  readonly timeout: number;
}

/** The variable that holds the token. */
export const TOKEN_VARIABLE = 'CODEFORGE_STORAGE_TOKEN';

/** Milliseconds of silence unless told. */
const TIMEOUT = 30_000;

/** Ends what is under way when the process is told to end. */
export interface Life {
  readonly signal: AbortSignal;
}

/** A command with what all have in common. */
export const createCommand = (name: string, summary: string): Command =>
  new Command(name)
    .summary(summary)
    .option('--json', 'print one line of JSON a result, and no progress')
    .option('-q, --quiet', 'print nothing but errors')
    .addHelpText('after', EXIT_HELP);

/** The option for how long a server may be silent. */
export const timeoutOption = (): Option =>
  new Option('--timeout <ms>', 'milliseconds that the server may be silent, not that all of it may take')
    .argParser(positive)
    .default(TIMEOUT);

/** An option for a token. */
export const tokenOption = (flags: string, variable: string, description: string): Option =>
  new Option(
    flags,
    `${description}, where it wants one; other users of this machine see options, but no variables`,
  ).env(variable);

/** A command that asks one server. */
export const createServerCommand = (name: string, summary: string): Command =>
  createCommand(name, summary)
    .addOption(tokenOption('--token <token>', TOKEN_VARIABLE, 'bearer token for the server'))
    .addOption(timeoutOption());

/** The option for what becomes of keys that are there. */
export const modeOption = (): Option =>
  new Option(
    '--mode <mode>',
    'a key that the target holds is replaced (overwrite), stays as it is (skip), or ends it all before anything is sent (fail)',
  )
    .choices(MODES)
    .default('overwrite' satisfies Mode);

/** The argument for a server. */
export function serverUrl(text: string): string {
  try {
    return checkServerUrl(text);
  } catch {
    throw new InvalidArgumentError("A server's address is http or https, such as http://localhost:5001");
  }
}

/**
 * A connection as the options of one server ask for it.
 *
 * @throws {CommandError} `usage`, without the token.
 */
export function connectionOf(
  url: string,
  { timeout, token = '' }: { readonly timeout: number; readonly token?: string | undefined },
  { signal }: Life,
): Connection {
  if (token !== '' && !isToken(token))
    throw new CommandError(EXIT.usage, `The token for ${url} must be visible ASCII without spaces.`);
  return { url, timeout, token: token === '' ? undefined : token, signal };
}

/** A terminal as the options ask for it. */
export const terminalOf = ({ json, quiet }: CommonOptions): Terminal =>
  createTerminal({ json: json ?? false, quiet: quiet ?? false });

/** A whole number of at least one, and below the 31 bits that setTimeout takes. */
export function positive(text: string): number {
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new InvalidArgumentError('It is a whole number from 1.');
  return Number(text);
}

/** `1,234 keys`, `1 key`. */
export const counted = (count: number, what: string): string =>
  `${count.toLocaleString('en')} ${what}${count === 1 ? '' : 's'}`;
