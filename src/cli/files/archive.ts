/**
 * A backup file that has been read from end to end: only then anything is done with it.
 */

import type { BackupRecord, BackupSummary } from '../../backup-format/format.ts';
import { StorageError } from '../../core/errors.ts';
import { readToEnd, recordsOf } from '../server/server.ts';
import { CommandError, EXIT, exitCodeOf } from '../ui/exit-codes.ts';
import type { Progress } from '../ui/terminal.ts';
import { fingerprint } from './canonical.ts';
import { readFile } from './files.ts';

/** A file that is whole. */
export interface Checked {
  readonly path: string;
  /** What it is called in messages. */
  readonly name: string;
  readonly summary: BackupSummary;
  /** Bytes of the file. */
  readonly bytes: number;
  /** Keys that no server takes, and that are left out. */
  readonly leftOut: readonly string[];
}

/** How many records of a file are to be sent. */
export const recordsIn = ({ summary, leftOut }: Checked): number => summary.count - leftOut.length;

/** A file that is whole, and what it holds. */
export interface Archive extends Checked {
  /**
   * The fingerprint of each key's value. Memory grows with the number of keys, about 200 MB a million, not with their
   * values.
   */
  readonly values: Map<string, string>;
}

interface Reading {
  readonly signal: AbortSignal;
  /** What the file is called in messages; its path unless told. */
  readonly name?: string;
  readonly progress?: Progress;
  /** Whether to leave out what no server takes. Otherwise one such key is refused. */
  readonly leaveOut?: boolean;
}

/**
 * Read a backup from end to end.
 *
 * @throws {CommandError} `damaged` where it is cut or damaged.
 */
export async function checkFile(
  path: string,
  { signal, name = path, progress, leaveOut }: Reading,
  take: (page: readonly BackupRecord[]) => void = () => {},
): Promise<Checked> {
  let bytes = 0;
  let records = 0;
  const leftOut: string[] = [];
  async function* counted(): AsyncGenerator<Uint8Array> {
    for await (const chunk of readFile(path)) {
      signal.throwIfAborted();
      bytes += chunk.length;
      yield chunk;
    }
  }
  try {
    const left = leaveOut ? (key: string) => leftOut.push(key) : undefined;
    const summary = await readToEnd(recordsOf(counted(), left), (page) => {
      take(page);
      records += page.length;
      progress?.at(records);
    });
    return { path, name, summary, bytes, leftOut };
  } catch (error) {
    if (exitCodeOf(error) !== EXIT.damaged) throw error;
    const { message, cause } = error as Error;
    const isOfKey = cause instanceof StorageError;
    const told = isOfKey ? `${name} is refused: ${message}` : `${name} is cut or damaged: ${message}`;
    throw new CommandError(EXIT.damaged, told, { file: name });
  } finally {
    progress?.end();
  }
}

/**
 * Read a backup from end to end, and remember what it holds.
 *
 * @param counts Which of the values counts where a key is named twice.
 * @throws {CommandError} `damaged` where it is cut or damaged.
 */
export async function readArchive(
  path: string,
  reading: Reading,
  counts: 'first' | 'last' = 'last',
): Promise<Archive> {
  const values = new Map<string, string>();
  const checked = await checkFile(path, reading, (page) => {
    for (const { key, text } of page)
      if (counts === 'last' || !values.has(key)) values.set(key, fingerprint(text));
  });
  return { ...checked, values };
}
