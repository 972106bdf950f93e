/**
 * A folder of backups: the names of its files, which of them are kept, and the cleanup after a killed process.
 *
 * Only files with the names of backups are ever removed, and only when enough newer backups are verified.
 */
import { mkdir, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { fileError } from './files.ts';

/** A folder of backups. */
export interface BackupFolder {
  /** The path for a backup that begins now. It sorts after all earlier ones, even if the clock was set back. */
  freshPath(at: Date): Promise<string>;
  /** Removes temporary files of processes that were killed, and returns their names. */
  removeLeftovers(): Promise<string[]>;
  /**
   * Removes backups that are older than the newest `keep` complete ones.
   *
   * @param made The backup that was just made. It always stays, also if another process has made newer ones.
   * @param check Called for as few files as possible, the newest first. A damaged file stays and does not count.
   * @returns The paths that were removed.
   */
  retain(keep: number, made: string, check: (path: string) => Promise<BackupState>): Promise<string[]>;
}

/** What a check finds. `gone`: another process has removed the file meanwhile. */
export type BackupState = 'complete' | 'damaged' | 'gone';

/** How long a temporary file stays if a process with its number exists, in milliseconds. */
const STALE_MS = 24 * 3_600_000;

/**
 * Opens the folder at `path` for backups whose names begin with `prefix`. Creates it if necessary.
 *
 * @throws {CommandError} if the folder cannot be created or read.
 */
export async function openBackupFolder(path: string, prefix: string): Promise<BackupFolder> {
  const literal = prefix.replace(/[.+]/g, '\\$&');
  const stamp = '(\\d{4}-\\d{2}-\\d{2})T(\\d{2})-(\\d{2})-(\\d{2})-(\\d{3})Z';
  const ours = new RegExp(`^${literal}-${stamp}\\.ndjson$`);
  const leftover = new RegExp(`^\\.${literal}-${stamp}\\.ndjson\\.(?<pid>\\d+)\\.tmp$`);
  const beganMs = Date.now() - process.uptime() * 1000;
  const list = async (): Promise<string[]> => (await readdir(path)).sort();
  /** Files with the names of backups, the oldest first. */
  const backups = async (): Promise<Array<{ name: string; timeMs: number }>> =>
    (await readdir(path, { withFileTypes: true }))
      .filter((entry) => entry.isFile())
      .map(({ name }) => ({ name, timeMs: Date.parse(name.replace(ours, '$1T$2:$3:$4.$5Z')) }))
      .filter(({ name, timeMs }) => ours.test(name) && Number.isFinite(timeMs))
      .sort((a, b) => a.timeMs - b.timeMs);
  try {
    await mkdir(path, { recursive: true });
    await list();
  } catch (error) {
    throw fileError(error, path);
  }

  return {
    async freshPath(at) {
      await mkdir(path, { recursive: true });
      // With an earlier time in its name than the newest, it would be the first to be removed.
      const newest = Math.max(...(await backups()).map(({ timeMs }) => timeMs));
      const ms = Math.max(at.getTime(), newest + 1);
      // Windows does not allow colons in names.
      return join(path, `${prefix}-${new Date(ms).toISOString().replace(/[:.]/g, '-')}.ndjson`);
    },
    async removeLeftovers() {
      const removed: string[] = [];
      for (const name of await list()) {
        const pid = leftover.exec(name)?.groups?.pid;
        if (pid === undefined) continue;
        const { mtimeMs } = await stat(join(path, name)).catch(() => ({ mtimeMs: Number.POSITIVE_INFINITY }));
        if (mtimeMs >= beganMs) continue;
        // In containers every process has the same number: a file that is older than this process belongs to another one.
        const isInUse =
          Number(pid) !== process.pid && isAlive(Number(pid)) && Date.now() - mtimeMs < STALE_MS;
        if (isInUse) continue;
        await rm(join(path, name), { force: true });
        removed.push(name);
      }
      return removed;
    },
    async retain(keep, made, check) {
      const paths = (await backups()).map(({ name }) => join(path, name)).reverse();
      if (paths.length <= keep) return [];
      let complete = 0;
      let at = 0;
      for (; at < paths.length && complete < keep; at += 1)
        if ((await check(paths[at] as string)) === 'complete') complete += 1;
      const removed = paths.slice(at).filter((older) => older !== made);
      for (const older of removed) await rm(older, { force: true });
      return removed;
    },
  };
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
