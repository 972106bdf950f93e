/**
 * Backup files that are read from beginning to end before anything is done with them.
 */
import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';
import {
  type BackupRecord,
  type BackupSummary,
  type Digest,
  InvalidBackup,
} from '../../backup-format/format.ts';
import { type ReadOptions, readBackup } from '../../backup-format/reader.ts';
import { CommandError, EXIT } from '../ui/errors.ts';
import type { Progress } from '../ui/terminal.ts';
import { readFile } from './files.ts';
import { fingerprint } from './fingerprint.ts';

/** A new SHA-256 of `node:crypto`. */
export function createDigest(): Digest {
  const hash = createHash('sha256');
  return { update: (bytes) => void hash.update(bytes), hex: () => hash.digest('hex') };
}

/** The records of a backup. */
export const recordsOf = (
  bytes: AsyncIterable<Uint8Array>,
  options?: ReadOptions,
): AsyncGenerator<readonly BackupRecord[], BackupSummary> => readBackup(bytes, createDigest(), options);

/**
 * Reads records to their end.
 *
 * @param take Receives each page.
 * @returns The summary. Before it, nobody knows whether the backup is complete.
 */
export async function readToEnd(
  records: AsyncGenerator<readonly BackupRecord[], BackupSummary>,
  take: (page: readonly BackupRecord[]) => void,
): Promise<BackupSummary> {
  for (;;) {
    const step = await records.next();
    if (step.done) return step.value;
    take(step.value);
  }
}

/** A file that is complete and undamaged. */
export interface CheckedFile {
  readonly path: string;
  /** Its name in messages. */
  readonly name: string;
  readonly summary: BackupSummary;
  /** The size of the file in bytes. */
  readonly bytes: number;
  /** Invalid keys that were skipped. */
  readonly leftOut: readonly string[];
}

/** The number of records that can be imported. */
export const recordsIn = ({ summary, leftOut }: CheckedFile): number => summary.count - leftOut.length;

/** A checked file, and a fingerprint of what it contains. */
export interface Archive extends CheckedFile {
  /**
   * The fingerprint of each key's value. It takes about 200 MB of memory for a million keys, however large the values are.
   */
  readonly values: Map<string, string>;
}

interface CheckOptions {
  readonly signal: AbortSignal;
  /** The file's name in messages. By default its path. */
  readonly name?: string;
  readonly progress?: Progress;
  /** Whether to skip invalid keys. By default, such a key is an error. */
  readonly leaveOut?: boolean;
}

/**
 * Reads a backup file from beginning to end.
 *
 * @param take Receives each page of records.
 * @throws {CommandError} `damaged` if the file is cut or damaged.
 */
export async function checkFile(
  path: string,
  { signal, name = path, progress, leaveOut }: CheckOptions,
  take: (page: readonly BackupRecord[]) => void = () => {},
): Promise<CheckedFile> {
  let bytes = 0;
  let records = 0;
  const leftOut: string[] = [];
  async function* chunks(): AsyncGenerator<Uint8Array> {
    for await (const chunk of readFile(path)) {
      signal.throwIfAborted();
      bytes += chunk.length;
      yield chunk;
    }
  }
  try {
    const options = leaveOut ? { onInvalidKey: (key: string) => leftOut.push(key) } : {};
    const summary = await readToEnd(recordsOf(chunks(), options), (page) => {
      take(page);
      records += page.length;
      progress?.at(records);
    });
    return { path, name, summary, bytes, leftOut };
  } catch (error) {
    if (!(error instanceof InvalidBackup)) throw error;
    if (await isCompressed(path))
      throw new CommandError(
        EXIT.damaged,
        `${name} is compressed: a backup that a server has made (BACKUP_EVERY) is checked by "restore --dry-run", and restored by "restore". Decompress other files first.`,
        { file: name },
      );
    const what = error.flaw === 'key' ? 'cannot be imported' : 'is cut or damaged';
    throw new CommandError(EXIT.damaged, `${name} ${what}. ${error.message}`, { file: name });
  } finally {
    progress?.end();
  }
}

/** Whether a file begins as gzip does (RFC 1952 §2.3.1). */
async function isCompressed(path: string): Promise<boolean> {
  const file = await open(path).catch(() => undefined);
  const head = await file?.read(Buffer.alloc(2), 0, 2, 0).catch(() => undefined);
  await file?.close();
  return head?.buffer.equals(Buffer.from([0x1f, 0x8b])) === true;
}

/**
 * Reads a backup file from beginning to end, and takes a fingerprint of each value.
 *
 * @param winner Which value counts for a key that comes twice.
 * @throws {CommandError} `damaged` if the file is cut or damaged.
 */
export async function readArchive(
  path: string,
  options: CheckOptions,
  winner: 'first' | 'last' = 'last',
): Promise<Archive> {
  const values = new Map<string, string>();
  const checked = await checkFile(path, options, (page) => {
    for (const { key, text } of page)
      if (winner === 'last' || !values.has(key)) values.set(key, fingerprint(text));
  });
  return { ...checked, values };
}
