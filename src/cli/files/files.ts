/**
 * Files that are whole or not there, and temporary ones that do not stay behind.
 *
 * A file is written under a temporary name in its own folder, brought to the disk, and renamed: whoever looks at its name
 * sees the old one or all of the new one, after a crash too.
 */
import { createHash } from 'node:crypto';
import { createReadStream, rmSync } from 'node:fs';
import { type FileHandle, lstat, mkdtemp, open, realpath, rename, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import type { Digest } from '../../backup-format/format.ts';
import { CommandError, EXIT } from '../ui/exit-codes.ts';

/** Takes bytes, in order. */
export type Sink = (bytes: Uint8Array) => Promise<void>;

/** A SHA-256 by node:crypto. */
export function createDigest(): Digest {
  const hash = createHash('sha256');
  return { update: (bytes) => void hash.update(bytes), hex: () => hash.digest('hex') };
}

/** What has to go when the process ends, however it does. */
const temporary = new Set<string>();

/** Remove what is temporary, at once: for the end of the process. */
export function removeTemporary(): void {
  for (const path of temporary) rmSync(path, { recursive: true, force: true });
  temporary.clear();
}

/**
 * The temporary name of a file, with the process that writes it.
 *
 * Hidden, so that no pattern for backups finds it.
 */
const temporaryName = (path: string): string => join(dirname(path), `.${basename(path)}.${process.pid}.tmp`);

/**
 * Write a file so that it is whole or not there.
 *
 * @param write Writes it; a rejection leaves what was there before.
 * @param check Looks at the file under its temporary name, on the disk: a rejection leaves what was there before, too.
 */
export async function writeWhole<T>(
  path: string,
  write: (sink: Sink) => Promise<T>,
  check?: (path: string) => Promise<unknown>,
): Promise<T> {
  // Behind a link is the file that is meant.
  const target = await realpath(path).catch(async (error) => {
    const isLink = await lstat(path).then(
      () => true,
      () => false,
    );
    if (isLink) throw ofPath(error, path);
    return path;
  });
  const found = await stat(target).catch(() => undefined);
  // A rename would put a file in the place of a device.
  if (found?.isFile() === false)
    throw new CommandError(
      EXIT.failed,
      `${path} is there and is no regular file: name another, or "-" for stdout.`,
    );
  const name = temporaryName(target);
  temporary.add(name);
  try {
    // What is left of an earlier process of this number.
    await rm(name, { force: true });
    const written = await writeDurably(name, write, found?.mode);
    await check?.(name);
    await rename(name, target);
    await syncFolder(dirname(target));
    return written;
  } catch (error) {
    await rm(name, { force: true });
    throw ofPath(error, path);
  } finally {
    temporary.delete(name);
  }
}

/** @param mode That of the file that it takes the place of. */
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

/** A rename is on the disk when its folder is. Windows has no such thing. */
async function syncFolder(path: string): Promise<void> {
  if (process.platform === 'win32') return;
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/** Do something with the path of a file that is gone afterwards. */
export async function withSpool<T>(
  work: (path: string, fill: (write: (sink: Sink) => Promise<unknown>) => Promise<void>) => Promise<T>,
): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'codeforge-storage-')).catch((error) =>
    Promise.reject(ofPath(error, tmpdir())),
  );
  temporary.add(folder);
  const path = join(folder, 'spool');
  try {
    return await work(path, async (write) => {
      await writeDurably(path, write).catch((error) => Promise.reject(ofPath(error, path)));
    });
  } finally {
    await rm(folder, { recursive: true, force: true });
    temporary.delete(folder);
  }
}

/** Whether a path is that of something that can be read once only. */
export const isPipe = (path: string): Promise<boolean> =>
  stat(path).then(
    (found) => found.isFIFO() || found.isCharacterDevice() || found.isSocket(),
    () => false,
  );

/** The bytes of a file. */
export async function* readFile(path: string): AsyncGenerator<Uint8Array> {
  try {
    yield* createReadStream(path, { highWaterMark: 256 * 1024 }) as AsyncIterable<Uint8Array>;
  } catch (error) {
    throw ofPath(error, path);
  }
}

/** A sink that is this process's stdout. */
export function stdout(): Sink {
  let failed: Error | undefined;
  process.stdout.on('error', (error) => {
    failed = error;
  });
  return (bytes) =>
    new Promise((resolve, reject) => {
      if (failed) reject(ofPath(failed, 'stdout'));
      else process.stdout.write(bytes, (error) => (error ? reject(ofPath(error, 'stdout')) : resolve()));
    });
}

/** An error of the file system in words; any other as it is. */
export function ofPath(error: unknown, path: string): unknown {
  const { code, syscall } = error as NodeJS.ErrnoException;
  if (syscall === undefined || code === undefined) return error;
  const reason =
    {
      ENOENT: 'it is not there',
      EACCES: 'it is not allowed',
      EPERM: 'it is not allowed',
      ENOSPC: 'the disk is full',
      EDQUOT: 'the quota is full',
      EISDIR: 'it is a folder',
      ELOOP: 'its links lead in a circle',
      ENAMETOOLONG: 'the name is too long',
      EPIPE: 'nobody reads it any more',
    }[code] ?? code;
  return new CommandError(EXIT.failed, `${path}: ${reason} (${syscall}).`, { file: path });
}
