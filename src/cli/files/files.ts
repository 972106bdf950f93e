/**
 * Files that are complete or do not exist, and temporary files that are always removed.
 *
 * A file is written under a temporary name in its own folder, flushed to the disk, and then renamed. Anyone who opens it sees
 * the previous file or the complete new one, also after a crash.
 */
import { constants, createReadStream, fstatSync, rmSync, type Stats } from 'node:fs';
import { type FileHandle, link, lstat, mkdtemp, open, realpath, rename, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { CommandError, EXIT } from '../ui/errors.ts';

/** Takes bytes in order. */
export type Sink = (bytes: Uint8Array) => Promise<void>;

/** What must be removed when the process ends, for whatever reason. */
const temporary = new Set<string>();

/** Removes all temporary files synchronously. To be called when the process exits. */
export function removeTemporary(): void {
  for (const path of temporary) rmSync(path, { recursive: true, force: true });
  temporary.clear();
}

/** The temporary name of a file, with the number of this process. It begins with a dot, so that no pattern for backups matches. */
const temporaryName = (path: string): string => join(dirname(path), `.${basename(path)}.${process.pid}.tmp`);

/** How a file is written. */
interface WriteOptions {
  /** Whether to replace a file that exists. */
  readonly replace?: boolean;
  /** Checks the file on the disk, under its temporary name. If it rejects, nothing is changed. */
  readonly check?: (path: string) => Promise<unknown>;
}

/**
 * Writes a file so that it is complete or does not exist. A pipe, socket or character device gets the bytes directly.
 *
 * @param write Writes the bytes. If it rejects, nothing is changed.
 * @throws {CommandError} before `write` is called, if the file exists and `replace` is not set. A file that another process
 *   creates meanwhile is not replaced either.
 */
export async function writeFile<T>(
  path: string,
  write: (sink: Sink) => Promise<T>,
  { replace = false, check }: WriteOptions = {},
): Promise<T> {
  const found = await stat(path).catch(() => undefined);
  if (found && isStream(found)) return writeStream(path, write);
  if (found && !found.isFile()) {
    const what = found.isDirectory()
      ? 'a folder: name a file in it'
      : 'a device: name a file, or "-" for stdout';
    throw new CommandError(EXIT.failed, `${path} is ${what}.`, { file: path });
  }
  if (found && !replace) throw existsError(path);
  // If the path is a link, the file that it leads to is written.
  const target = found ? await realpath(path) : path;
  if (!found && (await isLink(path)))
    throw new CommandError(
      EXIT.failed,
      `${path} is a link to a file that does not exist: remove the link, or name another file.`,
      { file: path },
    );
  const name = temporaryName(target);
  temporary.add(name);
  try {
    // An earlier process with the same number may have left one.
    await rm(name, { force: true });
    const written = await writeDurably(name, write, found?.mode);
    await check?.(name);
    if (replace) await rename(name, target);
    else if (!(await renameNew(name, target))) throw existsError(path);
    await syncFolder(dirname(target));
    return written;
  } catch (error) {
    await rm(name, { force: true });
    throw fileError(error, path);
  } finally {
    temporary.delete(name);
  }
}

/** Whether the bytes of a path come or go once, in order, so that it cannot be renamed or read twice. */
const isStream = (found: Stats): boolean => found.isFIFO() || found.isCharacterDevice() || found.isSocket();

const isLink = (path: string): Promise<boolean> =>
  lstat(path).then(
    (found) => found.isSymbolicLink(),
    () => false,
  );

const existsError = (path: string): CommandError =>
  new CommandError(
    EXIT.failed,
    `${path} already exists. Use --force to replace it, or name another file. Nothing was written.`,
    { file: path },
  );

/** Renames a file. Returns `false` if the new name exists: `rename` would replace it. */
async function renameNew(name: string, target: string): Promise<boolean> {
  try {
    await link(name, target);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    // Some file systems have no hard links.
    if (await stat(target).catch(() => undefined)) return false;
    await rename(name, target);
    return true;
  }
  await rm(name);
  return true;
}

/** Whether a path is this process's stdout, such as `-` and `/dev/stdout`. */
export async function isStdout(path: string): Promise<boolean> {
  if (path === '-') return true;
  const found = await stat(path).catch(() => undefined);
  if (!found || !isStream(found)) return false;
  const { dev, ino } = fstatSync(1);
  return found.dev === dev && found.ino === ino;
}

async function writeStream<T>(path: string, write: (sink: Sink) => Promise<T>): Promise<T> {
  try {
    const file = await open(path, constants.O_WRONLY);
    try {
      return await write((bytes) => writeAll(file, bytes));
    } finally {
      await file.close();
    }
  } catch (error) {
    throw fileError(error, path);
  }
}

/** @param mode The permissions of the file that it will replace. */
async function writeDurably<T>(path: string, write: (sink: Sink) => Promise<T>, mode?: number): Promise<T> {
  const file = await open(path, 'wx', 0o600);
  try {
    if (mode !== undefined) await file.chmod(mode & 0o777);
    const result = await write((bytes) => writeAll(file, bytes));
    await file.sync();
    return result;
  } finally {
    await file.close();
  }
}

async function writeAll(file: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length; ) at += (await file.write(bytes, at)).bytesWritten;
}

/** A rename is on the disk once its folder is. Windows cannot flush folders. */
async function syncFolder(path: string): Promise<void> {
  if (process.platform === 'win32') return;
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/** Calls `work` with the path of a temporary file, and removes the file afterwards. */
export async function withTemporaryFile<T>(
  work: (path: string, fill: (write: (sink: Sink) => Promise<unknown>) => Promise<void>) => Promise<T>,
): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'codeforge-storage-')).catch((error) => {
    throw fileError(error, tmpdir());
  });
  temporary.add(folder);
  const path = join(folder, 'backup');
  try {
    return await work(path, async (write) => {
      await writeDurably(path, write).catch((error) => {
        throw fileError(error, path);
      });
    });
  } finally {
    await rm(folder, { recursive: true, force: true });
    temporary.delete(folder);
  }
}

/** Whether the bytes of a path can be read only once. */
export const isReadOnce = (path: string): Promise<boolean> => stat(path).then(isStream, () => false);

/** The bytes of a file. */
export async function* readFile(path: string): AsyncGenerator<Uint8Array> {
  try {
    yield* createReadStream(path, { highWaterMark: 256 * 1024 }) as AsyncIterable<Uint8Array>;
  } catch (error) {
    throw fileError(error, path);
  }
}

/** A sink that writes to stdout. */
export function stdoutSink(): Sink {
  let failed: Error | undefined;
  process.stdout.on('error', (error) => {
    failed = error;
  });
  return (bytes) =>
    new Promise((resolve, reject) => {
      if (failed) reject(fileError(failed, 'stdout'));
      else process.stdout.write(bytes, (error) => (error ? reject(fileError(error, 'stdout')) : resolve()));
    });
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'it does not exist',
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  EROFS: 'the file system is read-only',
  ENOSPC: 'the disk is full',
  EDQUOT: 'the disk quota is exhausted',
  EFBIG: 'the file would be too large',
  EISDIR: 'it is a folder',
  ENOTDIR: 'a part of the path is not a folder',
  ELOOP: 'its links form a circle',
  ENAMETOOLONG: 'the name is too long',
  EPIPE: 'the reader closed it',
};

/** An error of the file system with a message. Any other error is returned as it is. */
export function fileError(error: unknown, path: string): unknown {
  const { code, syscall } = error as NodeJS.ErrnoException;
  if (syscall === undefined || code === undefined) return error;
  const reason = REASONS[code] ?? code;
  return new CommandError(EXIT.failed, `${path}: ${reason} (${syscall}).`, { file: path });
}
