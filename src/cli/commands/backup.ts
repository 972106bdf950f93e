/** `codeforge-storage backup <url> --every 1h --keep 24 --dir backups` */
import { stat } from 'node:fs/promises';
import { basename } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { checkFile } from '../files/archive.ts';
import { type BackupFolder, type BackupState, openBackupFolder } from '../files/backup-folder.ts';
import { writeFile } from '../files/files.ts';
import { exportTo } from '../server/export.ts';
import type { Connection } from '../server/http.ts';
import { openServer } from '../server/server.ts';
import { CommandError, EXIT, type ExitCode, exitCodeOf } from '../ui/errors.ts';
import { counted, type Terminal } from '../ui/terminal.ts';
import {
  connectionOf,
  createServerCommand,
  type Life,
  leaveOutOption,
  leftOutCode,
  positive,
  reportLeftOut,
  type ServerOptions,
  serverUrl,
  terminalOf,
} from './options.ts';
import { parseSchedule, type Schedule, waitUntil } from './schedule.ts';

interface BackupOptions extends ServerOptions {
  readonly every?: Schedule;
  readonly once?: boolean;
  readonly keep: number;
  readonly dir: string;
  readonly name: string;
  readonly leaveOut: boolean;
}

/** What every run needs. */
interface Runs {
  readonly connection: Connection;
  readonly folder: BackupFolder;
  readonly keep: number;
  readonly leaveOut: boolean;
  readonly terminal: Terminal;
  /** Backups that were complete, with their size and time. A backup is not read again until one of these changes. */
  readonly verified: Map<string, string>;
}

/** Makes backups on a schedule, and keeps the newest. */
export const backupCommand = (life: Life): Command =>
  createServerCommand('backup', 'back up a server on a schedule, and keep the newest backups')
    .description(
      `Back up a server now and then on a schedule, until Ctrl-C or SIGTERM.

Each backup is written under a temporary name, flushed to the disk, read back and verified. Then it gets its name, such as
codeforge-backup-2026-11-25T07-00-00-000Z.ndjson (in UTC), and older backups are removed. Only complete backups count
as kept. Only files with such names are ever removed. A run that fails is reported, removes nothing, and is repeated at
the next time of the schedule. Runs never overlap. With --every, the exit code is 0 unless the command could not start.
With --once, it is that of the run.`,
    )
    .argument('<url>', 'the address of the server', serverUrl)
    .addOption(
      new Option(
        '--every <schedule>',
        'an interval (30s, 15m, 1h, 1d), or a cron expression in the time zone of this machine ("0 3 * * *")',
      ).argParser(schedule),
    )
    .addOption(new Option('--once', 'make one backup, for cron or a systemd timer').conflicts('every'))
    .addOption(new Option('--keep <n>', 'how many complete backups to keep').argParser(positive).default(24))
    .option('--dir <folder>', 'the folder of the backups, created if necessary', 'backups')
    .addOption(
      new Option(
        '--name <name>',
        'how the file names begin; servers that share a folder need different names',
      )
        .argParser(prefix)
        .default('codeforge-backup'),
    )
    .addOption(leaveOutOption())
    .action(async (url: string, options: BackupOptions, command: Command) => {
      const { every, once, keep, dir, name, leaveOut } = options;
      if (every === undefined && !once) command.error('error: give --every <schedule> or --once');
      const terminal = terminalOf(options);
      const folder = await openBackupFolder(dir, name);
      for (const file of await folder.removeLeftovers())
        terminal.note(`Removed ${file}, the temporary file of a run that was killed.`);
      const connection = connectionOf(url, options, life);
      const runs: Runs = { connection, folder, keep, leaveOut, terminal, verified: new Map() };
      if (every === undefined) process.exitCode = await run(runs);
      else await runOnSchedule(runs, every, life.signal);
    });

async function runOnSchedule(runs: Runs, every: Schedule, signal: AbortSignal): Promise<void> {
  const { terminal, connection } = runs;
  const { url } = connection;
  let last = Date.now();
  try {
    for (;;) {
      let failure: unknown;
      await run(runs).catch((error) => {
        signal.throwIfAborted();
        failure = error;
      });
      let next = every.next(last, Date.now());
      if (failure !== undefined) {
        const { message } = failure as Error;
        const at = next === undefined ? 'never' : new Date(next).toISOString();
        terminal.complain(
          `The backup of ${url} failed: ${message} Earlier backups stay. Next attempt: ${at}.`,
        );
        terminal.failure({ ok: false, url, error: message, exitCode: exitCodeOf(failure), next: at });
      }
      while (next !== undefined && !(await waitUntil(next, signal))) next = every.next(last, Date.now());
      if (next === undefined) return;
      last = next;
    }
  } catch (error) {
    // A signal is the normal end.
    if (!signal.aborted) throw error;
  }
}

/** Makes one backup, and removes older ones. */
async function run(runs: Runs): Promise<ExitCode> {
  const { connection, folder, keep, leaveOut, terminal, verified } = runs;
  const { url, signal } = connection;
  const server = await openServer(connection);
  try {
    const path = await folder.freshPath(new Date());
    let stamp = '';
    const { leftOut, ...result } = await writeFile(
      path,
      (sink) => exportTo(server, { form: 'ndjson', leaveOut }, sink, terminal),
      {
        check: async (temporary) => {
          await checkFile(temporary, { signal, name: path }).catch(writtenWrong);
          // Later, another process may have removed the file.
          stamp = await stampOf(temporary);
        },
      },
    );
    verified.set(path, stamp);
    const left = reportLeftOut(leftOut, url, terminal);
    const damaged: string[] = [];
    const retained = await folder
      .retain(keep, path, (other) => check(other, runs, damaged))
      .catch((error: Error) => error);
    const removed = retained instanceof Error ? [] : retained.map((older) => basename(older));
    if (!(retained instanceof Error)) for (const older of retained) verified.delete(older);
    terminal.result(
      `${new Date().toISOString()} Backed up ${counted(result.keys, 'key')} from ${url} to ${path} (${counted(result.bytes, 'byte')}), verified.${removed.length > 0 ? ` Removed ${counted(removed.length, 'older backup')}.` : ''}`,
      { ok: true, url, file: path, ...result, verified: true, removed, damaged, ...left },
    );
    if (!(retained instanceof Error)) return leftOutCode(leftOut);
    signal.throwIfAborted();
    terminal.complain(
      `${path} is complete, but older backups could not be removed: ${retained.message} Check the permissions of the folder.`,
    );
    return EXIT.failed;
  } finally {
    await server.close();
  }
}

/** Checks an older backup. Each is read once, unless it changes. */
async function check(
  path: string,
  { connection, terminal, verified }: Runs,
  damaged: string[],
): Promise<BackupState> {
  try {
    const stamp = await stampOf(path);
    if (verified.get(path) === stamp) return 'complete';
    await checkFile(path, { signal: connection.signal });
    verified.set(path, stamp);
    return 'complete';
  } catch (error) {
    connection.signal.throwIfAborted();
    verified.delete(path);
    const exists = await stampOf(path).then(
      () => true,
      ({ code }) => code !== 'ENOENT',
    );
    if (!exists) return 'gone';
    damaged.push(basename(path));
    const { message } = error as Error;
    const what = exitCodeOf(error) === EXIT.damaged ? `${basename(path)} is damaged.` : message;
    terminal.complain(`${what} It is not removed, and does not count as a kept backup.`);
    return 'damaged';
  }
}

/** A disk that returns other bytes than were written is a failure, not a damaged backup of the user. */
function writtenWrong(error: unknown): never {
  if (exitCodeOf(error) !== EXIT.damaged) throw error;
  throw new CommandError(
    EXIT.failed,
    `The disk returned other bytes than were written. Check the disk. ${(error as Error).message}`,
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
      'A name consists of letters, digits, ".", "_" and "-", and begins with a letter or digit.',
    );
  return text;
}
