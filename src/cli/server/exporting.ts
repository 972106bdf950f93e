/**
 * Everything that a server holds, as the bytes of a backup.
 *
 * At level 1 the server's own lines are passed on as they are; an old server's object becomes NDJSON with the texts of its
 * values untouched. The last line is written when everything before it has been checked, so what is cut is seen to be.
 */

import type { BackupForm, BackupRecord } from '../../backup-format/format.ts';
import { writeObject } from '../../backup-format/json-object.ts';
import { writeNdjson } from '../../backup-format/ndjson.ts';
import { StorageError } from '../../core/errors.ts';
import { createDigest, type Sink } from '../files/files.ts';
import { HeldLine } from '../files/held-line.ts';
import type { Terminal } from '../ui/terminal.ts';
import { ofExport, readToEnd, recordsOf, type Server } from './server.ts';

/** What was written. */
export interface Exported {
  readonly keys: number;
  readonly bytes: number;
  /** The SHA-256 of the lines before the last, as that says; none in a bare object. */
  readonly sha256?: string;
  /** Keys that no server takes, and that were left out. */
  readonly leftOut: readonly string[];
}

/** What is written, and how. */
export interface Writing {
  readonly form: BackupForm;
  /** Whether to leave out what no server takes. Otherwise one such key ends it. */
  readonly leaveOut: boolean;
}

/**
 * Write what a server holds into `sink`.
 *
 * @throws {StorageError} `unavailable` where the server's export is cut or damaged; what was written by then is not whole.
 */
export async function exportTo(
  server: Server,
  { form, leaveOut }: Writing,
  sink: Sink,
  terminal: Terminal,
): Promise<Exported> {
  // It is only shown. Where it cannot be told because of what stops the export too, that says so.
  const total = await server.stats().then(
    ({ keys }) => keys,
    () => undefined,
  );
  const progress = terminal.progress(`export ${server.connection.url}`, total);
  let bytes = 0;
  let keys = 0;
  const leftOut: string[] = [];
  const counted: Sink = async (chunk) => {
    bytes += chunk.length;
    await sink(chunk);
  };
  const seen = (page: readonly BackupRecord[]): void => {
    keys += page.length;
    progress.at(keys);
  };
  try {
    const body = await server.exported();
    if (form === 'ndjson' && server.detected.level === 1 && !leaveOut) {
      const sha256 = await passOn(body, counted, seen);
      return { keys, bytes, sha256, leftOut };
    }
    const records = checked(recordsOf(body, leaveOut ? (key) => leftOut.push(key) : undefined), seen);
    const digest = createDigest();
    let sha256 = '';
    const remembering = { ...digest, hex: () => (sha256 = digest.hex()) };
    const header = { timestamp: new Date().toISOString(), ...(total !== undefined && { keys: total }) };
    const written = form === 'json' ? writeObject(records) : writeNdjson(records, header, remembering);
    for await (const chunk of written) await counted(chunk);
    return { keys, bytes, ...(sha256 !== '' && { sha256 }), leftOut };
  } catch (error) {
    throw ofExport(error, server.connection.url);
  } finally {
    progress.end();
  }
}

/** Pass a level-1 export on. Its last line gets a checksum where the server gave none. Returns the checksum. */
async function passOn(
  body: AsyncIterable<Uint8Array>,
  sink: Sink,
  seen: (page: readonly BackupRecord[]) => void,
): Promise<string> {
  const held = new HeldLine();
  const digest = createDigest();
  async function* passing(): AsyncGenerator<Uint8Array> {
    for await (const chunk of body) {
      for (const free of held.push(chunk)) {
        digest.update(free);
        await sink(free);
      }
      yield chunk;
    }
  }
  const summary = await readToEnd(recordsOf(passing()), seen);
  // An old server, or a stranger that took the place of the export.
  if (summary.form !== 'ndjson') throw new StorageError('unavailable', 'it is no NDJSON');
  const sha256 = digest.hex();
  const last = Buffer.from(held.last());
  const own = JSON.stringify({ end: true, count: summary.count, sha256 });
  await sink(Buffer.from(summary.checksum === 'verified' ? `${last.toString().trimEnd()}\n` : `${own}\n`));
  return sha256;
}

/** Who reads no further, as where the disk is full, ends what the records come from. */
async function* checked(
  records: AsyncIterable<readonly BackupRecord[]>,
  seen: (page: readonly BackupRecord[]) => void,
): AsyncGenerator<readonly BackupRecord[]> {
  for await (const page of records) {
    seen(page);
    yield page;
  }
}
