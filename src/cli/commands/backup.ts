/** `codeforge-storage backup <url> --every 1h --keep 24 --dir backups` */
import { stat } from 'node:fs/promises';
import { basename } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { checkFile } from '../files/archive.ts';
import { type BackupFolder, type Found, openBackupFolder } from '../files/backup-folder.ts';
import { writeWhole } from '../files/files.ts';
import { codeWithout, leaveOutOption, tellLeftOut } from '../files/left-out.ts';
import { parseSchedule, type Schedule, waitUntil } from '../files/schedule.ts';
import type { Connection } from '../server/exchange.ts';
import { exportTo } from '../server/exporting.ts';
import { openServer } from '../server/server.ts';
import { CommandError, EXIT, type ExitCode, exitCodeOf } from '../ui/exit-codes.ts';
import {
  connectionOf,
  counted,
  createServerCommand,
  type Life,
  positive,
  type ServerOptions,
  serverUrl,
  terminalOf,
} from '../ui/options.ts';
import type { Terminal } from '../ui/terminal.ts';

interface BackupOptions extends ServerOptions {
  readonly every?: Schedule;
  readonly once?: boolean;
  readonly keep: number;
  readonly dir: string;
  readonly name: string;
  readonly leaveOut: boolean;
}

/** One run after the other. */
interface Runs {
  readonly connection: Connection;
  readonly folder: BackupFolder;
  readonly keep: number;
  readonly leaveOut: boolean;
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
    .addOption(leaveOutOption())
    .action(async (url: string, options: BackupOptions, command: Command) => {
      const { every, once, keep, dir, name, leaveOut } = options;
      if (every === undefined && !once) command.error('error: --every <schedule> or --once is needed');
      const terminal = terminalOf(options);
      const folder = await openBackupFolder(dir, name);
      for (const left of await folder.tidy())
        terminal.note(`Removed ${left}, which a run that was killed had left.`);
      const runs: Runs = {
        connection: connectionOf(url, options, life),
        folder,
        keep,
        leaveOut,
        terminal,
        known: new Map(),
      };
      if (every === undefined) process.exitCode = await run(runs);
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
      let next = every.next(last, Date.now());
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
      while (next !== undefined && !(await waitUntil(next, signal))) next = every.next(last, Date.now());
      if (next === undefined) return;
      last = next;
    }
  } catch (error) {
    // To be told to end is how this ends.
    if (!signal.aborted) throw error;
  }
}

/** One backup, and what is older than the newest looked through. */
async function run(runs: Runs): Promise<ExitCode> {
  const { connection, folder, keep, leaveOut, terminal, known } = runs;
  const { url, signal } = connection;
  const server = await openServer(connection);
  try {
    const path = await folder.freshPath(new Date());
    let stamp = '';
    const { leftOut, ...done } = await writeWhole(
      path,
      (sink) => exportTo(server, { form: 'ndjson', leaveOut }, sink, terminal),
      async (temporary) => {
        await checkFile(temporary, { signal, name: path }).catch(notAsWritten);
        // Under its own name another process may have removed it by then.
        stamp = await stampOf(temporary);
      },
    );
    known.set(path, stamp);
    const left = tellLeftOut(leftOut, url, terminal);
    const damaged: string[] = [];
    const retained = await folder
      .retain(keep, path, (other) => look(other, runs, damaged))
      .catch((error: Error) => error);
    const removed = retained instanceof Error ? [] : retained.map((older) => basename(older));
    if (!(retained instanceof Error)) for (const older of retained) known.delete(older);
    terminal.result(
      `${new Date().toISOString()} backed up ${counted(done.keys, 'key')} of ${url} to ${path} (${counted(done.bytes, 'byte')}), verified${removed.length > 0 ? `; removed ${counted(removed.length, 'older one')}` : ''}.`,
      { ok: true, url, file: path, ...done, verified: true, removed, damaged, ...left },
    );
    if (!(retained instanceof Error)) return codeWithout(leftOut);
    signal.throwIfAborted();
    terminal.complain(
      `${path} was made, but of the older ones not all could be removed: ${retained.message}`,
    );
    return EXIT.failed;
  } finally {
    await server.close();
  }
}

/** What an older backup is. Each is read once while it stays as it is. */
async function look(path: string, { connection, terminal, known }: Runs, damaged: string[]): Promise<Found> {
  try {
    const stamp = await stampOf(path);
    if (known.get(path) === stamp) return 'whole';
    await checkFile(path, { signal: connection.signal });
    known.set(path, stamp);
    return 'whole';
  } catch (error) {
    connection.signal.throwIfAborted();
    known.delete(path);
    const isThere = await stampOf(path).then(
      () => true,
      ({ code }) => code !== 'ENOENT',
    );
    if (!isThere) return 'gone';
    damaged.push(basename(path));
    const { message } = error as Error;
    const what = exitCodeOf(error) === EXIT.damaged ? `${basename(path)} is damaged` : message;
    terminal.complain(`${what}: it does not count among those that are kept.`);
    return 'damaged';
  }
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
