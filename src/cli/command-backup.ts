/** `codeforge-storage backup <url> --every 1h --keep 24 --dir backups` */
import { stat } from 'node:fs/promises';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { checkFile } from './archive.ts';
import { type BackupFolder, openBackupFolder } from './backup-folder.ts';
import type { Connection } from './exchange.ts';
import { CommandError, EXIT, exitCodeOf } from './exit-codes.ts';
import { exportTo } from './exporting.ts';
import { writeWhole } from './files.ts';
import {
  connectionOf,
  counted,
  createServerCommand,
  type Life,
  positive,
  type ServerOptions,
  serverUrl,
  terminalOf,
} from './options.ts';
import { parseSchedule, type Schedule, waitUntil } from './schedule.ts';
import { openServer } from './server.ts';
import type { Terminal } from './terminal.ts';

interface BackupOptions extends ServerOptions {
  readonly every?: Schedule;
  readonly once?: boolean;
  readonly keep: number;
  readonly dir: string;
  readonly name: string;
}

/** One run after the other. */
interface Runs {
  readonly connection: Connection;
  readonly folder: BackupFolder;
  readonly keep: number;
  readonly terminal: Terminal;
  /** What was found whole, with size and time: read once while it stays as it is. */
  readonly known: Map<string, string>;
}

/** Backups again and again, the newest of which are kept. */
export const backupCommand = (life: Life): Command =>
  createServerCommand('backup', 'back up a server again and again, and keep the newest backups')
    .description(
      `Back up a server: at once, and then at every turn of the schedule, until Ctrl-C or SIGTERM.

A backup is written under a temporary name, brought to the disk, read back and verified; then it gets its name, such as
codeforge-backup-2026-11-25T07-00-00-000Z.ndjson (in UTC), and only then older ones go. Those that are kept count only
where they are whole. Only files with such names are ever removed. A run that fails is reported, removes nothing, and is
tried again at the next turn. Runs never overlap. With --every the exit code is 0 unless it could not start; with --once
it is that of the run.`,
    )
    .argument('<url>', "the server's address", serverUrl)
    .addOption(
      new Option(
        '--every <schedule>',
        'an interval (30s, 15m, 1h, 1d), or a cron expression in this machine\'s time ("0 3 * * *")',
      ).argParser(schedule),
    )
    .addOption(new Option('--once', 'one backup, for cron or a systemd timer').conflicts('every'))
    .addOption(new Option('--keep <n>', 'how many whole backups stay').argParser(positive).default(24))
    .option('--dir <folder>', 'where they go; made if it is not there', 'backups')
    .addOption(
      new Option('--name <name>', 'what their names begin with: one for each server that shares a folder')
        .argParser(prefix)
        .default('codeforge-backup'),
    )
    .action(async (url: string, options: BackupOptions, command: Command) => {
      const { every, once, keep, dir, name } = options;
      if (every === undefined && !once) command.error('error: --every <schedule> or --once is needed');
      const terminal = terminalOf(options);
      const folder = await openBackupFolder(dir, name);
      for (const left of await folder.tidy())
        terminal.note(`Removed ${left}, which a run that was killed had left.`);
      const runs: Runs = {
        connection: connectionOf(url, options, life),
        folder,
        keep,
        terminal,
        known: new Map(),
      };
      if (every === undefined) await run(runs);
      else await runForEver(runs, every, life.signal);
    });

async function runForEver(runs: Runs, every: Schedule, signal: AbortSignal): Promise<void> {
  const { terminal, connection } = runs;
  let last = Date.now();
  try {
    for (;;) {
      let advice = '';
      let failure: unknown;
      await run(runs).catch((error) => {
        signal.throwIfAborted();
        failure = error;
      });
      const next = every.next(last, Date.now());
      const at = next === undefined ? 'never' : new Date(next).toISOString();
      if (failure !== undefined) {
        const { message } = failure as Error;
        advice = `No backup of ${connection.url} was made: ${message} Earlier ones stay; the next try is at ${at}.`;
        terminal.complain(advice);
        terminal.failure({
          ok: false,
          url: connection.url,
          error: message,
          exitCode: exitCodeOf(failure),
          next: at,
        });
      }
      if (next === undefined) return;
      await waitUntil(next, signal);
      last = next;
    }
  } catch (error) {
    // To be told to end is how this ends.
    if (!signal.aborted) throw error;
  }
}

async function run({ connection, folder, keep, terminal, known }: Runs): Promise<void> {
  const { url, signal } = connection;
  const server = await openServer(connection);
  const path = await folder.freshPath(new Date());
  const done = await writeWhole(
    path,
    (sink) => exportTo(server, 'ndjson', sink, terminal),
    (temporary) => checkFile(temporary, { signal, name: path }).catch(notAsWritten),
  );
  known.set(path, await stampOf(path));
  const isWhole = async (other: string): Promise<boolean> => {
    const stamp = await stampOf(other);
    if (known.get(other) === stamp) return true;
    try {
      await checkFile(other, { signal });
    } catch (error) {
      if (exitCodeOf(error) === EXIT.damaged) return false;
      throw error;
    }
    known.set(other, stamp);
    return true;
  };
  const { removed, damaged } = await folder.retain(keep, isWhole);
  for (const name of removed) known.delete(name);
  for (const name of damaged)
    terminal.complain(`${name} is damaged: it does not count among those that are kept.`);
  terminal.result(
    `${new Date().toISOString()} backed up ${counted(done.keys, 'key')} of ${url} to ${path} (${counted(done.bytes, 'byte')}), verified${removed.length > 0 ? `; removed ${counted(removed.length, 'older one')}` : ''}.`,
    { ok: true, url, file: path, ...done, verified: true, removed, damaged },
  );
}

/** A disk that gives back something else than it was given is no damaged backup of anybody's. */
function notAsWritten(error: unknown): never {
  if (exitCodeOf(error) !== EXIT.damaged) throw error;
  throw new CommandError(
    EXIT.failed,
    `What was read back from the disk is not what was written: ${(error as Error).message}`,
  );
}

async function stampOf(path: string): Promise<string> {
  const { size, mtimeMs } = await stat(path);
  return `${size} ${mtimeMs}`;
}

function schedule(text: string): Schedule {
  try {
    return parseSchedule(text);
  } catch (error) {
    throw new InvalidArgumentError((error as Error).message);
  }
}

function prefix(text: string): string {
  if (!/^[A-Za-z0-9][\w.-]{0,99}$/.test(text))
    throw new InvalidArgumentError(
      'A name has letters, digits, ".", "_" and "-", and begins with a letter or digit.',
    );
  return text;
}
