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
  /** A path for a backup that begins now. It sorts after all earlier ones. */
  freshPath(at: Date): Promise<string>;
  /** Remove what killed processes left. Returns their names. */
  tidy(): Promise<string[]>;
  /**
   * Remove what is older than the newest `keep` backups that are whole.
   *
   * @param isWhole Asked of as few files as needed.
   * @returns What was removed, and files that are damaged: those stay, and do not count.
   */
  retain(keep: number, isWhole: (path: string) => Promise<boolean>): Promise<Retained>;
}

/** What became of older backups. */
export interface Retained {
  readonly removed: readonly string[];
  readonly damaged: readonly string[];
}

/** How long a temporary file stays whose process number is in use again: milliseconds. */
const STALE = 24 * 3_600_000;

/**
 * The backups in `path` whose names begin with `prefix`.
 *
 * @throws {CommandError} where the folder cannot be made or read.
 */
export async function openBackupFolder(path: string, prefix: string): Promise<BackupFolder> {
  const literal = prefix.replace(/[.+]/g, '\\$&');
  const stamp = '\\d{4}-\\d{2}-\\d{2}T\\d{2}-\\d{2}-\\d{2}-\\d{3}Z';
  const ours = new RegExp(`^${literal}-${stamp}\\.ndjson$`);
  const leftover = new RegExp(`^\\.${literal}-${stamp}\\.ndjson\\.(\\d+)\\.tmp$`);
  const beganMs = Date.now() - process.uptime() * 1000;
  const list = async (): Promise<string[]> => (await readdir(path)).sort();
  try {
    await mkdir(path, { recursive: true });
    await list();
  } catch (error) {
    throw ofPath(error, path);
  }

  return {
    async freshPath(at) {
      await mkdir(path, { recursive: true });
      const names = new Set(await list());
      for (let ms = at.getTime(); ; ms += 1) {
        // Windows refuses colons in names.
        const time = new Date(ms).toISOString().replace(/[:.]/g, '-');
        const name = `${prefix}-${time}.ndjson`;
        if (!names.has(name)) return join(path, name);
      }
    },
    async tidy() {
      const removed: string[] = [];
      for (const name of await list()) {
        const pid = leftover.exec(name)?.[1];
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
    async retain(keep, isWhole) {
      const names = (await list()).filter((name) => ours.test(name)).reverse();
      if (names.length <= keep) return { removed: [], damaged: [] };
      const damaged: string[] = [];
      let whole = 0;
      let at = 0;
      for (; at < names.length && whole < keep; at += 1) {
        const name = names[at] as string;
        if (await isWhole(join(path, name))) whole += 1;
        else damaged.push(name);
      }
      const removed = names.slice(at);
      for (const name of removed) await rm(join(path, name), { force: true });
      return { removed, damaged };
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
