/**
 * The records of a whole backup, sent: as one stream at level 1, as pages of bare objects at level 0.
 *
 * The texts of values go out as they stand in the file.
 */

import type { BackupRecord } from '../../backup-format/format.ts';
import { writeNdjson } from '../../backup-format/ndjson.ts';
import { StorageError } from '../../core/errors.ts';
import { type Archive, recordsIn } from '../files/archive.ts';
import { createDigest, readFile } from '../files/files.ts';
import { CommandError, EXIT, withAdvice } from '../ui/exit-codes.ts';
import type { Progress, Terminal } from '../ui/terminal.ts';
import { Refused } from './exchange.ts';
import { upload } from './http.ts';
import type { Mode } from './importing.ts';
import { NDJSON, recordsOf, type Server } from './server.ts';

/** Bytes of one page at level 0: well below what servers take. */
const PAGE_BYTES = 4 * 1024 * 1024;

/** How records are sent. */
export interface Sending {
  readonly mode: Mode;
  readonly dryRun: boolean;
  /** Keys that the target held before, where the mode is not `overwrite`. */
  readonly there: ReadonlySet<string>;
}

/** What the server said. */
export interface Stored {
  readonly imported: number;
  readonly skipped: number;
}

/**
 * Send a backup.
 *
 * @throws {CommandError | StorageError} saying how much the server has stored, where that is known.
 */
export async function send(
  server: Server,
  archive: Archive,
  sending: Sending,
  terminal: Terminal,
): Promise<Stored> {
  const verb = sending.dryRun ? 'dry run' : 'import';
  const progress = terminal.progress(`${verb} ${server.connection.url}`, recordsIn(archive));
  try {
    return server.detected.level === 1
      ? await stream(server, archive, sending, progress)
      : await pages(server, archive, sending, progress);
  } finally {
    progress.end();
  }
}

async function stream(
  { connection }: Server,
  archive: Archive,
  { mode, dryRun }: Sending,
  progress: Progress,
): Promise<Stored> {
  const count = recordsIn(archive);
  const path = `api/v1/import?mode=${mode}${dryRun ? '&dry_run=1' : ''}`;
  const repeatable = dryRun || mode === 'overwrite';
  const answer = await upload(connection, {
    path,
    type: NDJSON,
    repeatable,
    body: () => writeNdjson(counted(archive, progress), { keys: count }, createDigest()),
  }).catch((error) => {
    throw dryRun ? error : unfinished(error, mode);
  });
  const { imported, skipped } = answer;
  const whole = Number.isInteger(imported) && Number.isInteger(skipped);
  if (!whole || Number(imported) + Number(skipped) !== count || (mode === 'overwrite' && skipped !== 0))
    throw new CommandError(
      EXIT.failed,
      `${connection.url}${path} answered imported ${imported} and skipped ${skipped}, but ${count} records were sent. What it holds was not compared.`,
    );
  return { imported: Number(imported), skipped: Number(skipped) };
}

/** What is to be said of an import that did not come to its end. */
function unfinished(error: unknown, mode: Mode): unknown {
  const again = mode === 'overwrite' ? ' It can be sent again as a whole.' : '';
  if (error instanceof Refused && typeof error.json?.imported === 'number')
    return withAdvice(error, `By then ${error.json.imported} keys were stored.${again}`);
  // Who is not let in has stored nothing.
  if (!(error instanceof StorageError) || error.code === 'forbidden') return error;
  return withAdvice(error, `How many keys were stored by then is not known.${again}`);
}

async function* counted(
  { path, leftOut }: Archive,
  progress: Progress,
): AsyncGenerator<readonly BackupRecord[]> {
  let records = 0;
  // Those that are left out were told of when the file was checked.
  for await (const page of recordsOf(readFile(path), leftOut.length > 0 ? () => {} : undefined)) {
    yield page;
    records += page.length;
    progress.at(records);
  }
}

async function pages(
  { connection }: Server,
  archive: Archive,
  { mode, dryRun, there }: Sending,
  progress: Progress,
): Promise<Stored> {
  const met = new Set<string>();
  let skipped = 0;
  const taken = ({ key }: BackupRecord): boolean => {
    if (mode === 'overwrite') return true;
    // Of a key that the file names twice the first value counts, as at level 1.
    const isTaken = !there.has(key) && !met.has(key);
    met.add(key);
    if (!isTaken) skipped += 1;
    return isTaken;
  };
  let imported = 0;
  for await (const members of gathered(counted(archive, progress), taken)) {
    connection.signal.throwIfAborted();
    const count = members.size;
    if (!dryRun) await sendPage(connection, members, imported);
    imported += count;
  }
  return { imported, skipped };
}

async function sendPage(
  connection: Server['connection'],
  members: ReadonlyMap<string, string>,
  before: number,
): Promise<void> {
  const object = `{${[...members].map(([key, text]) => `${JSON.stringify(key)}:${text}`)}}`;
  const path = 'api/storage/import';
  async function* body(): AsyncGenerator<Uint8Array> {
    yield Buffer.from(object);
  }
  let answer: Readonly<Record<string, unknown>>;
  try {
    // What a page holds it holds again when it arrives twice.
    answer = await upload(connection, { path, type: 'application/json', body, repeatable: true });
  } catch (error) {
    if (!(error instanceof StorageError)) throw error;
    throw withAdvice(
      error,
      `By then ${before} keys were stored; whether the page of ${members.size} was is not known.`,
    );
  }
  if (answer.success !== true || answer.imported !== members.size)
    throw new CommandError(
      EXIT.failed,
      `${connection.url}${path} answered imported ${answer.imported} to ${members.size} keys. ${before} were stored before.`,
    );
}

/** Records put together, of each key the last one. */
async function* gathered(
  records: AsyncIterable<readonly BackupRecord[]>,
  taken: (record: BackupRecord) => boolean,
): AsyncGenerator<ReadonlyMap<string, string>> {
  let members = new Map<string, string>();
  let size = 0;
  for await (const page of records) {
    for (const record of page) {
      if (!taken(record)) continue;
      const bytes = Buffer.byteLength(record.key) + Buffer.byteLength(record.text) + 8;
      if (members.size > 0 && size + bytes > PAGE_BYTES) {
        yield members;
        members = new Map();
        size = 0;
      }
      members.set(record.key, record.text);
      size += bytes;
    }
  }
  if (members.size > 0) yield members;
}
