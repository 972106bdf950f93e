#!/usr/bin/env node
/**
 * The `codeforge-storage` command: runs, backs up, restores, moves and inspects storage servers.
 *
 * The process ends with one of the exit codes of ui/errors.ts. It leaves no temporary file, except when it is killed.
 */
import { createRequire } from 'node:module';
import { constants } from 'node:os';
import { Command, CommanderError } from 'commander';
import { StorageError } from '../core/errors.ts';
import { backupCommand } from './commands/backup.ts';
import { exportCommand } from './commands/export.ts';
import { importCommand } from './commands/import.ts';
import { migrateCommand } from './commands/migrate.ts';
import { type Life, TOKEN_VARIABLE } from './commands/options.ts';
import { restoreCommand } from './commands/restore.ts';
import { serveCommand } from './commands/serve.ts';
import { statusCommand } from './commands/status.ts';
import { tokenCommand } from './commands/token.ts';
import { verifyCommand } from './commands/verify.ts';
import { removeTemporary } from './files/files.ts';
import { CommandError, EXIT, EXIT_HELP, exitCodeOf, withAdvice } from './ui/errors.ts';
import { createTerminal, handleStreamErrors, reserveStdout } from './ui/terminal.ts';

/** Read before the command line is parsed, because parsing may fail. */
const IS_JSON = process.argv.includes('--json');

/** How long a command may take to end after a signal, in milliseconds, unless it asks for more. */
const GRACE_MS = 5000;

/** What to do when the server refuses access. */
const TOKEN_ADVICE = `Give a token with --token or ${TOKEN_VARIABLE}; for "migrate", with --from-token and --to-token.`;

const { version } = createRequire(import.meta.url)('@codeforge/storage/package.json') as { version: string };

function createProgram(life: Life): Command {
  const program = new Command('codeforge-storage')
    .description('Run, back up, restore, move and inspect storage servers of @codeforge/storage.')
    .version(version)
    .addHelpText(
      'after',
      `
Environment:
  ${TOKEN_VARIABLE}       instead of --token
  CODEFORGE_STORAGE_FROM_TOKEN  instead of --from-token of migrate
  CODEFORGE_STORAGE_TO_TOKEN    instead of --to-token of migrate
  TOKENS_FILE                   instead of --file of token
${EXIT_HELP}
Examples:
  codeforge-storage status http://localhost:5001
  codeforge-storage export http://localhost:5001 today.ndjson
  codeforge-storage import http://localhost:5001 today.ndjson --mode skip --dry-run
  codeforge-storage backup http://localhost:5001 --every 1h --keep 24 --dir backups
  codeforge-storage serve --port 5001 --database data.db
  codeforge-storage token add app-one write --file tokens.json`,
    );
  const commands = [
    statusCommand,
    exportCommand,
    importCommand,
    migrateCommand,
    verifyCommand,
    backupCommand,
    serveCommand,
    restoreCommand,
    tokenCommand,
  ];
  // With --json, the message is a member of the JSON line.
  program.configureOutput({ outputError: (text, write) => IS_JSON || write(text) });
  for (const create of commands) program.addCommand(create(life).copyInheritedSettings(program));
  for (const command of [
    program,
    ...program.commands,
    ...program.commands.flatMap(({ commands: own }) => own),
  ])
    command.exitOverride();
  return program;
}

async function main(): Promise<void> {
  const controller = new AbortController();
  const life: Life = { signal: controller.signal, graceMs: GRACE_MS };
  let ended: NodeJS.Signals | undefined;
  const end = (signal: NodeJS.Signals): void => {
    const code = 128 + constants.signals[signal];
    // A second signal ends the process at once.
    if (ended !== undefined) process.exit(code);
    ended = signal;
    controller.abort(new CommandError(EXIT.failed, `The command was ended by ${signal}.`));
    setTimeout(() => process.exit(code), life.graceMs).unref();
  };
  process.on('SIGINT', end).on('SIGTERM', end).on('SIGHUP', end).on('exit', removeTemporary);
  handleStreamErrors();
  const program = createProgram(life);
  try {
    await program.parseAsync();
  } catch (error) {
    if (!(error instanceof CommanderError)) fail(error, ended);
    // For commander, --help and --version are errors with the code 0.
    else if (error.exitCode !== 0) reportUsage(error, program.args[0]);
  }
}

function reportUsage({ message, code }: CommanderError, command: string | undefined): void {
  process.exitCode = EXIT.usage;
  if (!IS_JSON) return;
  // The reader of a pipe must not take this for a backup.
  if (command === 'export') reserveStdout();
  const text =
    code === 'commander.help' ? 'No command was given. See --help.' : message.replace(/^error: /, '');
  const terminal = createTerminal({ json: true });
  terminal.complain(text);
  terminal.failure({ ok: false, error: text, exitCode: EXIT.usage });
}

/** Says what helps against a server that was too slow, wherever the request was made. */
const withTimeoutAdvice = (error: unknown): Error =>
  error instanceof StorageError && error.code === 'timeout' && !error.message.includes('--timeout')
    ? withAdvice(error, 'Try again, or set a longer --timeout.')
    : (error as Error);

function fail(error: unknown, ended: NodeJS.Signals | undefined): void {
  const code = ended === undefined ? exitCodeOf(error) : 128 + constants.signals[ended];
  const reported = code === EXIT.refused ? withAdvice(error, TOKEN_ADVICE) : withTimeoutAdvice(error);
  const { message } = reported;
  const details = reported instanceof CommandError ? reported.details : {};
  const terminal = createTerminal({ json: IS_JSON });
  terminal.complain(message);
  terminal.failure({ ok: false, error: message, exitCode: code, ...details });
  process.exitCode = code;
}

await main();
