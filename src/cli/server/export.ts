/**
 * Everything that a server has, as the bytes of a backup.
 *
 * The records are read and checked, and written again in the backup format, with their values' texts, revisions and header
 * fields. The last line is written after everything before it was checked, so a cut export is recognised.
 */
import type { BackupForm, BackupRecord } from '../../backup-format/format.ts';
import { writeObject } from '../../backup-format/json-object.ts';
import { type HeaderFields, writeNdjson } from '../../backup-format/ndjson.ts';
import { createDigest } from '../files/archive.ts';
import type { Sink } from '../files/files.ts';
import type { Terminal } from '../ui/terminal.ts';
import type { Server } from './server.ts';

/** What was written. */
export interface Exported {
  readonly keys: number;
  readonly bytes: number;
  /** The SHA-256 in the last line. A JSON object has none. */
  readonly sha256?: string;
  /** Invalid keys that were skipped. */
  readonly leftOut: readonly string[];
}

/** What to write. */
export interface ExportFormat {
  readonly form: BackupForm;
  /** Whether to skip invalid keys. Otherwise, one such key is an error. */
  readonly leaveOut: boolean;
}

/**
 * Writes everything that a server has into `sink`.
 *
 * @throws {StorageError} `unavailable` if the server's export is cut or damaged. What was written before is then incomplete.
 */
export async function exportTo(
  server: Server,
  { form, leaveOut }: ExportFormat,
  sink: Sink,
  terminal: Terminal,
): Promise<Exported> {
  // The total is only displayed. If the server fails here, the export fails with a better message.
  const total = await server.stats().then(
    ({ keys }) => keys,
    () => undefined,
  );
  const progress = terminal.progress(`export ${server.connection.url}`, total);
  let header: HeaderFields = {
    timestamp: new Date().toISOString(),
    ...(total !== undefined && { keys: total }),
  };
  let bytes = 0;
  let keys = 0;
  let sha256: string | undefined;
  const leftOut: string[] = [];
  async function* records(): AsyncGenerator<readonly BackupRecord[]> {
    const options = {
      onHeader: (theirs: HeaderFields) => {
        header = { ...header, ...theirs };
      },
      ...(leaveOut && { onInvalidKey: (key: string) => leftOut.push(key) }),
    };
    for await (const page of server.records(options)) {
      keys += page.length;
      progress.at(keys);
      yield page;
    }
  }
  const digest = createDigest();
  const rememberingDigest = {
    ...digest,
    hex: () => {
      sha256 = digest.hex();
      return sha256;
    },
  };
  try {
    const written =
      form === 'json' ? writeObject(records()) : writeNdjson(records(), () => header, rememberingDigest);
    for await (const piece of written) {
      bytes += piece.length;
      await sink(piece);
    }
    return { keys, bytes, ...(sha256 !== undefined && { sha256 }), leftOut };
  } finally {
    progress.end();
  }
}
