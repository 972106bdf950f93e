/**
 * A folder of backups: what its files are called, which are kept, and what a killed process left there.
 *
 * Only files with a name of our own are ever removed, and of those only what enough newer ones, verified, make dispensable.
 */
import { mkdir, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { ofPath } from './files.ts';

/** A folder of backups. */
export interface BackupFolder {
  /** A path for a backup that begins now. It sorts after all earlier ones, also where the clock was set back. */
  freshPath(at: Date): Promise<string>;
  /** Remove what killed processes left. Returns their names. */
  tidy(): Promise<string[]>;
  /**
   * Remove what is older than the newest `keep` backups that are whole, except the one that was made just now: where two
   * processes share a folder, each leaves its own.
   *
   * @param look Asked of as few files as needed. What is not whole stays, and does not count.
   * @returns What was removed.
   */
  retain(keep: number, made: string, look: (path: string) => Promise<Found>): Promise<string[]>;
}

/** What a backup is found to be, when another process may have removed it meanwhile. */
export type Found = 'whole' | 'damaged' | 'gone';

/** How long a temporary file stays whose process number is in use again: milliseconds. */
const STALE = 24 * 3_600_000;

/**
 * The backups in `path` whose names begin with `prefix`.
 *
 * @throws {CommandError} where the folder cannot be made or read.
 */
export async function openBackupFolder(path: string, prefix: string): Promise<BackupFolder> {
  const literal = prefix.replace(/[.+]/g, '\\$&');
  const stamp = '(\\d{4}-\\d{2}-\\d{2})T(\\d{2})-(\\d{2})-(\\d{2})-(\\d{3})Z';
  const ours = new RegExp(`^${literal}-${stamp}\\.ndjson$`);
  const leftover = new RegExp(`^\\.${literal}-${stamp}\\.ndjson\\.(?<pid>\\d+)\\.tmp$`);
  const beganMs = Date.now() - process.uptime() * 1000;
  const list = async (): Promise<string[]> => (await readdir(path)).sort();
  /** Files with a name of ours, the oldest first. */
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
    throw ofPath(error, path);
  }

  return {
    async freshPath(at) {
      await mkdir(path, { recursive: true });
      // A name that says an earlier time than the newest would be the first that goes.
      const newest = Math.max(...(await backups()).map(({ timeMs }) => timeMs));
      const ms = Math.max(at.getTime(), newest + 1);
      // Windows refuses colons in names.
      return join(path, `${prefix}-${new Date(ms).toISOString().replace(/[:.]/g, '-')}.ndjson`);
    },
    async tidy() {
      const removed: string[] = [];
      for (const name of await list()) {
        const pid = leftover.exec(name)?.groups?.pid;
        if (pid === undefined) continue;
        const { mtimeMs } = await stat(join(path, name)).catch(() => ({ mtimeMs: Number.POSITIVE_INFINITY }));
        if (mtimeMs >= beganMs) continue;
        // In containers every process has the same number: one of ours from before we began is not ours.
        const isHeld = Number(pid) !== process.pid && isAlive(Number(pid)) && Date.now() - mtimeMs < STALE;
        if (isHeld) continue;
        await rm(join(path, name), { force: true });
        removed.push(name);
      }
      return removed;
    },
    async retain(keep, made, look) {
      const paths = (await backups()).map(({ name }) => join(path, name)).reverse();
      if (paths.length <= keep) return [];
      let whole = 0;
      let at = 0;
      for (; at < paths.length && whole < keep; at += 1)
        if ((await look(paths[at] as string)) === 'whole') whole += 1;
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
