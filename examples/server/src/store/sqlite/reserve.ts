/**
 * Disk space that is kept for deletions, so that room can be made on a full disk.
 *
 * SQLite needs space to delete: it writes the changed pages to the write-ahead log. The reserve is a file beside the database.
 * When the disk is full, the file is deleted, and deletions use its space. Afterwards the write-ahead log is emptied, and the
 * file is written again. While it cannot be, nothing else is written: the file is the state, also for other processes.
 */
import { randomFillSync } from 'node:crypto';
import { closeSync, openSync, rmSync, statSync, writeSync } from 'node:fs';

/** Bytes. A deletion of 1,000 keys changes at most as many pages of 4 KiB. */
const SIZE = 4 * 1024 * 1024;

/** Milliseconds between two attempts to write the file on a disk that may be full. */
const RETRY_INTERVAL = 1000;

export interface Reserve {
  /** Whether the reserve exists, or could be written. If not, only deletions may be written. */
  ensure(): boolean;
  /** Gives its space to a deletion. */
  release(): void;
  /** Writes it again, after `release`. */
  restore(): void;
}

/** @param databasePath Absent for a database in memory. */
export function createReserve(databasePath: string | null): Reserve {
  if (!databasePath) return { ensure: () => true, release: () => {}, restore: () => {} };
  const path = `${databasePath}-reserve`;
  let retryAt = 0;

  const isComplete = (): boolean => statSync(path, { throwIfNoEntry: false })?.size === SIZE;
  const release = (): void => rmSync(path, { force: true });
  const restore = (): void => {
    retryAt = Date.now() + RETRY_INTERVAL;
    let file: number | undefined;
    try {
      file = openSync(path, 'w');
      // Some file systems store zeros without using space.
      const bytes = randomFillSync(Buffer.allocUnsafe(SIZE));
      for (let written = 0; written < SIZE; ) written += writeSync(file, bytes, written);
    } catch {
      // The disk is full. Nothing of it stays, so that deletions have the space.
      release();
    } finally {
      if (file !== undefined) closeSync(file);
    }
  };

  return {
    ensure() {
      if (isComplete()) return true;
      if (Date.now() < retryAt) return false;
      restore();
      return isComplete();
    },
    release,
    restore,
  };
}
