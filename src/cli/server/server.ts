/**
 * A storage server: detected as the SDK detects it, and read as a stream of backup records.
 */
import { type BackupRecord, type BackupSummary, InvalidBackup } from '../../backup-format/format.ts';
import type { NdjsonOptions } from '../../backup-format/ndjson.ts';
import type { StorageStats } from '../../core/backend.ts';
import { StorageError } from '../../core/errors.ts';
import { createFlaskBackend, type Detected } from '../../remote/backend.ts';
import { recordsOf } from '../files/archive.ts';
import { CommandError, EXIT } from '../ui/errors.ts';
import { type Connection, download } from './http.ts';

/** A server that was detected. */
export interface Server {
  readonly connection: Connection;
  readonly detected: Detected;
  stats(): Promise<StorageStats>;
  /** All keys. */
  keys(): Promise<string[]>;
  /**
   * Reads all entries. Before it returns, nobody knows whether the export is complete.
   *
   * @throws {StorageError} `unavailable` if the export is cut or damaged.
   * @throws {CommandError} if it contains an invalid key and there is no `onInvalidKey`.
   */
  records(options?: NdjsonOptions): AsyncGenerator<readonly BackupRecord[], BackupSummary>;
  /** Only a process that opens many servers needs to close them. */
  close(): Promise<void>;
}

/**
 * Detects a server.
 *
 * @throws {StorageError} if it does not answer, or is not a storage server.
 */
export async function openServer(connection: Connection): Promise<Server> {
  const { url, timeoutMs, token, signal } = connection;
  const backend = createFlaskBackend(url, timeoutMs, token);
  const close = (): void => void backend.close();
  signal.addEventListener('abort', close);
  // An error that the command's own end has caused is not the server's.
  const unlessAborted = <T>(answer: Promise<T>): Promise<T> =>
    answer.catch((error) => {
      signal.throwIfAborted();
      throw error;
    });
  await unlessAborted(backend.open());
  const detected = backend.detected();
  if (detected === undefined)
    throw new StorageError('unavailable', `${url} could not be detected. Try again.`);
  const [path, form] =
    detected.level === 1 ? (['api/v1/export', 'ndjson'] as const) : (['api/storage/export', 'json'] as const);
  return {
    connection,
    detected,
    stats: () => unlessAborted(backend.stats()),
    keys: () => unlessAborted(backend.keys({})),
    async *records(options) {
      try {
        return yield* recordsOf(await download(connection, path), { ...options, form });
      } catch (error) {
        throw exportError(error, url);
      }
    },
    close() {
      signal.removeEventListener('abort', close);
      return backend.close();
    },
  };
}

/** A flaw in a server's export is a failure of that server, not of a file. */
function exportError(error: unknown, url: string): unknown {
  if (!(error instanceof InvalidBackup)) return error;
  if (error.flaw === 'key')
    return new CommandError(
      EXIT.failed,
      `The export of ${url} contains an invalid key: ${error.problem} Delete the key there, store its value under another key, or use --leave-out.`,
    );
  return new StorageError('unavailable', `The export of ${url} is damaged: ${error.problem} Try again.`, {
    cause: error,
  });
}
