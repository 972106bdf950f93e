/**
 * Changes a file of tokens. Several processes may change one file: each change is complete, and none is lost.
 *
 * A process that changes the file holds a lock: a file beside it, whose name ends in `.lock`.
 */
import { open, readFile, rm, stat } from 'node:fs/promises';
import { formatTokenFile, parseTokenFile, type StoredToken } from '@codeforge/storage-server/tokens';
import { sleep } from '../../core/time.ts';
import { CommandError, EXIT } from '../ui/errors.ts';
import { fileError, writeFile } from './files.ts';

/** Milliseconds after which a lock counts as left behind by a process that was killed. */
const STALE_MS = 10_000;

/** Milliseconds that a process waits for the lock: others may change the file before it, one after the other. */
const LOCK_LIMIT_MS = 60_000;

/** Milliseconds between two attempts to take the lock. */
const RETRY_MS = 50;

/**
 * The tokens of a file. A missing file has none.
 *
 * @throws {CommandError} If the file cannot be read, or is no file of tokens.
 */
export async function readTokens(path: string): Promise<StoredToken[]> {
  const text = await readFile(path, 'utf8').catch((error) => {
    if (error.code === 'ENOENT') return undefined;
    throw fileError(error, path);
  });
  if (text === undefined) return [];
  try {
    return parseTokenFile(text);
  } catch (error) {
    throw new CommandError(
      EXIT.failed,
      `${path} cannot be used: ${(error as Error).message}. Nothing was changed.`,
      {
        file: path,
      },
    );
  }
}

/**
 * Replaces the tokens of a file. Creates the file, for its owner only, if it does not exist.
 *
 * @param change Returns the new tokens. If it throws, nothing is changed.
 * @throws {CommandError} If the file cannot be read or written.
 */
export async function changeTokens(
  path: string,
  signal: AbortSignal,
  change: (tokens: readonly StoredToken[]) => readonly StoredToken[],
): Promise<void> {
  const unlock = await lock(`${path}.lock`, signal);
  try {
    const tokens = change(await readTokens(path));
    const text = Buffer.from(formatTokenFile(tokens));
    await writeFile(path, (sink) => sink(text), { replace: true });
  } finally {
    await unlock();
  }
}

/**
 * @returns A function that gives the lock back.
 * @throws {CommandError} If the lock is not free in time, as when the clock was set back since a killed process took it.
 */
async function lock(path: string, signal: AbortSignal): Promise<() => Promise<void>> {
  const deadline = performance.now() + LOCK_LIMIT_MS;
  while (performance.now() < deadline) {
    try {
      await (await open(path, 'wx', 0o600)).close();
      return () => rm(path, { force: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw fileError(error, path);
    }
    if (!((await isStale(path)) && (await removeStale(path)))) await sleep(RETRY_MS, signal);
  }
  throw new CommandError(
    EXIT.failed,
    `${path} exists: another process changes the tokens. If none does, delete that file, and ${path}.removing. Nothing was changed.`,
    { file: path },
  );
}

/** Whether a lock was left behind: a change takes milliseconds. */
async function isStale(path: string): Promise<boolean> {
  const taken = await stat(path).catch(() => undefined);
  return taken !== undefined && Date.now() - taken.mtimeMs > STALE_MS;
}

/**
 * Removes a stale lock, unless another process does. Without a lock of its own for that, a process that is late would remove the lock that
 * another one has taken meanwhile.
 */
async function removeStale(path: string): Promise<boolean> {
  const removing = `${path}.removing`;
  try {
    await (await open(removing, 'wx', 0o600)).close();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw fileError(error, removing);
  }
  try {
    if (await isStale(path)) await rm(path, { force: true });
    return true;
  } finally {
    await rm(removing, { force: true });
  }
}
