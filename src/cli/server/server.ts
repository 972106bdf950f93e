/**
 * A storage server as the command sees it: found by the SDK's own detection, read and written as streams of backup records.
 */

import type { BackupRecord, BackupSummary } from '../../backup-format/format.ts';
import { readBackup } from '../../backup-format/reader.ts';
import type { StorageStats } from '../../core/backend.ts';
import { StorageError } from '../../core/errors.ts';
import { createFlaskBackend, type Detected } from '../../remote/backend.ts';
import { createDigest } from '../files/files.ts';
import { CommandError, EXIT } from '../ui/exit-codes.ts';
import type { Connection } from './exchange.ts';
import { download } from './http.ts';

/** The media type of newline-delimited JSON. */
export const NDJSON = 'application/x-ndjson';

/** A server that has answered. */
export interface Server {
  readonly connection: Connection;
  readonly detected: Detected;
  /** How much it holds. */
  stats(): Promise<StorageStats>;
  /** All its keys. */
  keys(): Promise<string[]>;
  /** The bytes of its export: NDJSON at level 1, a bare object at level 0. */
  exported(): Promise<AsyncGenerator<Uint8Array>>;
  /** Let go of it. Only who asks again and again has to. */
  close(): Promise<void>;
}

/**
 * Ask a server who it is.
 *
 * @throws {StorageError} when it is no storage server, or does not answer.
 */
export async function openServer(connection: Connection): Promise<Server> {
  const { url, timeout, token, signal } = connection;
  const backend = createFlaskBackend(url, timeout, token);
  const interrupted = (): void => void backend.close();
  signal.addEventListener('abort', interrupted);
  // What was cut off by the command's own end is no failure of the server.
  const ask = <T>(answer: Promise<T>): Promise<T> =>
    answer.catch((error) => {
      signal.throwIfAborted();
      throw error;
    });
  await ask(backend.open());
  const detected = backend.detected();
  if (detected === undefined) throw new StorageError('unavailable', `${url} did not say who it is.`);
  return {
    connection,
    detected,
    stats: () => ask(backend.stats()),
    keys: () => ask(backend.keys({})),
    exported: () => download(connection, detected.level === 1 ? 'api/v1/export' : 'api/storage/export'),
    close() {
      signal.removeEventListener('abort', interrupted);
      return backend.close();
    },
  };
}

/**
 * The records among bytes.
 *
 * @param leaveOut Told of keys that no server takes. Without it one such key is refused.
 * @throws {StorageError} `invalid-backup` where a file is cut or damaged.
 */
export const recordsOf = (
  bytes: AsyncIterable<Uint8Array>,
  leaveOut?: (key: string) => void,
): AsyncGenerator<readonly BackupRecord[], BackupSummary> =>
  readBackup(bytes, createDigest(), leaveOut && { onInvalidKey: leaveOut });

/**
 * Read records to their end.
 *
 * @param take Gets each page.
 * @returns What the backup turned out to be: only now it is known to be whole.
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

/** What is wrong with a server's export is that server's fault, and nobody's file. */
export function ofExport(error: unknown, url: string): unknown {
  if (!(error instanceof StorageError) || error.code !== 'invalid-backup') return error;
  const [what] = error.message.split(' Nothing should be imported');
  const message = `The export of ${url} is refused: ${what}`;
  if (error.cause instanceof StorageError)
    return new CommandError(
      EXIT.failed,
      `${message} Delete it there, store it under another key, or leave it out: --leave-out.`,
    );
  return new StorageError('unavailable', `${message} Try again.`, { cause: error });
}
