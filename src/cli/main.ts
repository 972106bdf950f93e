#!/usr/bin/env node
/**
 * The `codeforge-storage` command: backups of a storage server, and what goes with them.
 *
 * The process ends with an exit code of `exit-codes.ts`, and whatever ends it leaves no temporary file.
 */
import { createRequire } from 'node:module';
import { constants } from 'node:os';
import { Command, CommanderError } from 'commander';
import { backupCommand } from './commands/backup.ts';
import { exportCommand } from './commands/export.ts';
import { importCommand } from './commands/import.ts';
import { migrateCommand } from './commands/migrate.ts';
import { statusCommand } from './commands/status.ts';
import { verifyCommand } from './commands/verify.ts';
import { removeTemporary } from './files/files.ts';
import { CommandError, EXIT, EXIT_HELP, exitCodeOf, withAdvice } from './ui/exit-codes.ts';
import { type Life, TOKEN_VARIABLE } from './ui/options.ts';
import { createTerminal, heedStreams, takeStdout } from './ui/terminal.ts';

/** Asked for also where the command line as a whole is not understood. */
const JSON_WANTED = process.argv.includes('--json');

/** Milliseconds after a signal in which what is under way may end by itself. */
const GRACE = 5000;

/** What to do about a token that is missing, unknown, or may do too little. */
const TOKENS = `A token is given with --token or ${TOKEN_VARIABLE}, and to migrate with --from-token and --to-token.`;

const { version } = createRequire(import.meta.url)('@codeforge/storage/package.json') as { version: string };

function createProgram(life: Life): Command {
  const program = new Command('codeforge-storage')
    .description('Back up, restore, move and inspect storage servers of @codeforge/storage.')
    .version(version)
    .addHelpText(
      'after',
      `
Environment:
  ${TOKEN_VARIABLE}       the token, instead of --token
  CODEFORGE_STORAGE_FROM_TOKEN  the tokens of migrate, instead of --from-token
  CODEFORGE_STORAGE_TO_TOKEN    and --to-token
${EXIT_HELP}
Examples:
  codeforge-storage status http://localhost:5001
  codeforge-storage export http://localhost:5001 today.ndjson
  codeforge-storage import http://localhost:5001 today.ndjson --mode skip --dry-run
  codeforge-storage backup http://localhost:5001 --every 1h --keep 24 --dir backups`,
    );
  const commands = [
    statusCommand,
    exportCommand,
    importCommand,
    migrateCommand,
    verifyCommand,
    backupCommand,
  ];
  // With --json its words are a member of the line.
  program.configureOutput({ outputError: (text, write) => JSON_WANTED || write(text) });
  for (const create of commands) program.addCommand(create(life).copyInheritedSettings(program));
  for (const command of [program, ...program.commands]) command.exitOverride();
  return program;
}

async function main(): Promise<void> {
  const life = new AbortController();
  let ended: NodeJS.Signals | undefined;
  const end = (signal: NodeJS.Signals): void => {
    const code = 128 + constants.signals[signal];
    // The second time, at once.
    if (ended !== undefined) process.exit(code);
    ended = signal;
    life.abort(new CommandError(EXIT.failed, `Ended by ${signal}.`));
    setTimeout(() => process.exit(code), GRACE).unref();
  };
  process.on('SIGINT', end).on('SIGTERM', end).on('SIGHUP', end).on('exit', removeTemporary);
  heedStreams(EXIT.failed);
  const program = createProgram(life);
  try {
    await program.parseAsync();
  } catch (error) {
    if (!(error instanceof CommanderError)) fail(error, ended);
    // Help and version are errors to commander, with the code 0.
    else if (error.exitCode !== 0) misused(error, program.args[0]);
  }
}

function misused({ message, code }: CommanderError, command: string | undefined): void {
  process.exitCode = EXIT.usage;
  if (!JSON_WANTED) return;
  // Whoever reads an export from a pipe must not take this for one.
  if (command === 'export') takeStdout();
  const told = code === 'commander.help' ? 'Name a command.' : message.replace(/^error: /, '');
  const terminal = createTerminal({ json: true });
  terminal.complain(told);
  terminal.failure({ ok: false, error: told, exitCode: EXIT.usage });
}

function fail(error: unknown, ended: NodeJS.Signals | undefined): void {
  const code = ended === undefined ? exitCodeOf(error) : 128 + constants.signals[ended];
  const told = code === EXIT.refused ? withAdvice(error, TOKENS) : (error as Error);
  const { message } = told;
  const details = told instanceof CommandError ? told.details : {};
  const terminal = createTerminal({ json: JSON_WANTED });
  terminal.complain(message);
  terminal.failure({ ok: false, error: message, exitCode: code, ...details });
  process.exitCode = code;
}

await main();
