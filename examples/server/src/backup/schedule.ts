/**
 * Backups on a schedule, into a folder. Each is written under a temporary name, read back, and then gets its name; older ones are
 * removed after that. A backup that fails is logged, removes nothing, and is tried again.
 *
 * The next backup is due an interval after the newest one in the folder, so restarts neither skip nor repeat one. One process at a time
 * uses a folder.
 */
import { mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from '../log.ts';
import type { Store } from '../store/store.ts';
import { checkBackupFile, writeBackupFile } from './file.ts';

/** What the operator configures. */
export interface BackupSettings {
  /** Milliseconds. */
  readonly every: number;
  /** How many backups are kept. */
  readonly keep: number;
  readonly folder: string;
}

/** Backups that are made until `stop`. */
export interface Backups {
  /** Ends a backup that is being made. Resolves when it has ended. */
  stop(): Promise<void>;
}

/** Milliseconds until a backup that failed is tried again, unless the next one is due earlier. */
const RETRY = 10 * 60_000;

/** The longest wait. After it, a clock that was set or a machine that was suspended is noticed. */
const LONGEST_WAIT = 60_000;

const NAME = /^codeforge-(\d{4}-\d{2}-\d{2})T(\d{2})-(\d{2})-(\d{2})-(\d{3})Z\.backup\.gz$/;
const TEMPORARY = /^\.codeforge-.*\.backup\.gz\.tmp$/;

const nameOf = (time: number): string =>
  `codeforge-${new Date(time).toISOString().replace(/[:.]/g, '-')}.backup.gz`;
const timeOf = (name: string): number => Date.parse(name.replace(NAME, '$1T$2:$3:$4.$5Z'));

/** What is told of backups. */
export interface BackupEvents {
  backupDone(outcome: 'ok' | 'failed'): void;
  /** When the newest backup of the folder was made. */
  newestBackup(time: number): void;
}

/** Makes backups until it is stopped. */
export function startBackups(
  { every, keep, folder }: BackupSettings,
  store: Store,
  log: Pick<Logger, 'info' | 'warn' | 'error'>,
  events?: BackupEvents,
): Backups {
  const stopping = new AbortController();
  const { signal } = stopping;
  let failedAt = Number.NEGATIVE_INFINITY;

  async function make(): Promise<void> {
    for (const name of await readdir(folder)) if (TEMPORARY.test(name)) await rm(join(folder, name));
    // With a time that is not after the newest one, it would be the first to be removed.
    const time = Math.max(Date.now(), (await newest(folder)) + 1);
    const path = join(folder, nameOf(time));
    const temporary = join(folder, `.${nameOf(time)}.tmp`);
    try {
      await writeBackupFile(store, temporary, signal);
      const contents = await checkBackupFile(temporary, signal);
      const { size } = await stat(temporary);
      await rename(temporary, path);
      await flush(folder);
      const removed = await removeOld(folder, keep);
      log.info({ file: path, bytes: size, ...contents, removed }, 'made a backup, and verified it');
      if (contents.leftOut > 0)
        log.warn(
          `${contents.leftOut} keys of an old server are longer than 1,024 bytes: a restore leaves them out`,
        );
    } finally {
      await rm(temporary, { force: true });
    }
  }

  async function run(): Promise<void> {
    while (!signal.aborted) {
      try {
        await mkdir(folder, { recursive: true });
        const isDue = Date.now() >= (await newest(folder)) + every;
        if (isDue && Date.now() >= failedAt + Math.min(RETRY, every)) {
          await make();
          events?.backupDone('ok');
        }
        const time = await newest(folder);
        if (Number.isFinite(time)) events?.newestBackup(time);
      } catch (error) {
        if (signal.aborted) return;
        failedAt = Date.now();
        events?.backupDone('failed');
        log.error({ err: error }, 'the backup failed: earlier backups stay, and it is tried again');
      }
      await pause(Math.min(LONGEST_WAIT, every), signal);
    }
  }

  const running = run();
  return {
    async stop() {
      stopping.abort();
      await running;
    },
  };
}

/** The time of the newest backup. */
async function newest(folder: string): Promise<number> {
  const times = (await readdir(folder)).filter((name) => NAME.test(name)).map(timeOf);
  // One from the future, as after the clock was set back, counts as made now.
  return Math.min(Math.max(Number.NEGATIVE_INFINITY, ...times), Date.now());
}

/** Removes all but the newest backups. Returns how many were removed. */
async function removeOld(folder: string, keep: number): Promise<number> {
  const names = (await readdir(folder))
    .filter((name) => NAME.test(name))
    .sort((a, b) => timeOf(b) - timeOf(a));
  const old = names.slice(keep);
  for (const name of old) await rm(join(folder, name));
  return old.length;
}

/** Makes a new name durable, where a folder can be flushed. */
async function flush(folder: string): Promise<void> {
  const handle = await open(folder, 'r').catch(() => undefined);
  await handle?.sync().catch(() => {});
  await handle?.close();
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    signal.addEventListener('abort', end);
    if (signal.aborted) end();
  });
}
