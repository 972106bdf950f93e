/**
 * A backup into a server: the records are sent, and the server's export is compared with the backup afterwards.
 *
 * Nothing is sent before the backup was read from beginning to end. Only keys that were compared count as verified. Values
 * keep their texts: they go as one stream at level 1, and as pages of JSON objects at level 0.
 */
import { type BackupRecord, NDJSON_TYPE } from '../../backup-format/format.ts';
import { writeNdjson } from '../../backup-format/ndjson.ts';
import { chunksOfStream } from '../../core/chunks.ts';
import { StorageError } from '../../core/errors.ts';
import type { JsonObject } from '../../core/json.ts';
import { type Archive, createDigest, readToEnd, recordsIn, recordsOf } from '../files/archive.ts';
import { readFile } from '../files/files.ts';
import { fingerprint } from '../files/fingerprint.ts';
import { CommandError, EXIT, withAdvice } from '../ui/errors.ts';
import { counted, KEYS_SHOWN, listed, type Progress, type Terminal } from '../ui/terminal.ts';
import { StatusError, upload } from './http.ts';
import type { Server } from './server.ts';

/** What happens to a key that the target already has: it is replaced, it stays, or nothing is sent at all. */
export type Mode = 'overwrite' | 'skip' | 'fail';

/** The modes, the default first. */
export const MODES: readonly Mode[] = ['overwrite', 'skip', 'fail'];

/** How to import. */
export interface ImportOptions {
  readonly mode: Mode;
  readonly dryRun: boolean;
}

/** The result of an import. With `dryRun`, the result that it would have, as far as the target tells. */
export interface Imported {
  readonly keys: number;
  readonly imported: number;
  readonly skipped: number;
  /** Keys that were compared at the target and are equal. */
  readonly verified: number;
  readonly dryRun: boolean;
}

/** What the server has stored. */
type Stored = Pick<Imported, 'imported' | 'skipped'>;

/** The bytes of one page at level 0, far below the limit of servers. */
const PAGE_BYTES = 4 * 1024 * 1024;

/**
 * Imports a backup into a server.
 *
 * @param archive Its `values` are emptied.
 * @throws {CommandError} that says what was stored and what was not.
 */
export async function importInto(
  server: Server,
  archive: Archive,
  { mode, dryRun }: ImportOptions,
  terminal: Terminal,
): Promise<Imported> {
  const { values, name } = archive;
  const { url } = server.connection;
  // Another client may store such a key between this look and the write. The comparison finds that.
  const existing = mode === 'overwrite' ? [] : (await server.keys()).filter((key) => values.has(key));
  if (mode === 'fail') {
    if (existing.length > 0)
      throw new CommandError(
        EXIT.failed,
        `${url} already has ${counted(existing.length, 'key')} of ${name}: ${listed(existing)}. Nothing was sent. Use --mode overwrite to replace them, or --mode skip to keep them.`,
        { existing: existing.length, existingKeys: existing.slice(0, KEYS_SHOWN) },
      );
    if (recordsIn(archive) !== values.size)
      throw new CommandError(
        EXIT.failed,
        `${name} contains some keys twice, which --mode fail does not allow. Nothing was sent. Use another mode.`,
      );
  }
  const keys = values.size;
  const kept = new Set(existing);
  const progress = terminal.progress(`${dryRun ? 'dry run' : 'import'} ${url}`, recordsIn(archive));
  let stored: Stored;
  try {
    stored =
      server.detected.level === 1
        ? await sendStream(server, archive, { mode, dryRun }, progress)
        : await sendPages(server, archive, { mode, dryRun }, kept, progress);
  } finally {
    progress.end();
  }
  if (dryRun) return { keys, ...stored, verified: 0, dryRun };
  for (const key of kept) values.delete(key);
  try {
    return { keys, ...stored, verified: await verify(server, values, terminal), dryRun };
  } catch (error) {
    if (!(error instanceof StorageError)) throw error;
    throw withAdvice(
      error,
      `The server answered that it stored ${counted(stored.imported, 'key')}. They were not verified.`,
    );
  }
}

async function* recordsFrom(
  { path, leftOut }: Archive,
  progress: Progress,
): AsyncGenerator<readonly BackupRecord[]> {
  let records = 0;
  // Keys that are left out were reported when the file was checked.
  const options = leftOut.length > 0 ? { onInvalidKey() {} } : {};
  for await (const page of recordsOf(readFile(path), options)) {
    yield page;
    records += page.length;
    progress.at(records);
  }
}

async function sendStream(
  { connection }: Server,
  archive: Archive,
  { mode, dryRun }: ImportOptions,
  progress: Progress,
): Promise<Stored> {
  const count = recordsIn(archive);
  const { imported, skipped } = await upload(connection, {
    path: `api/v1/import?mode=${mode}${dryRun ? '&dry_run=1' : ''}`,
    type: NDJSON_TYPE,
    isRepeatable: dryRun || mode === 'overwrite',
    body: () => writeNdjson(recordsFrom(archive, progress), { keys: count }, createDigest()),
  }).catch((error) => {
    throw dryRun ? error : unfinished(error, mode);
  });
  const isWhole = Number.isInteger(imported) && Number.isInteger(skipped);
  if (!isWhole || Number(imported) + Number(skipped) !== count || (mode === 'overwrite' && skipped !== 0))
    throw new CommandError(
      EXIT.failed,
      `${connection.url} answered that it imported ${imported} and skipped ${skipped} of ${counted(count, 'record')}. Nothing was verified. Check the server's log.`,
    );
  return { imported: Number(imported), skipped: Number(skipped) };
}

/** The error of an import that the server did not finish. */
function unfinished(error: unknown, mode: Mode): unknown {
  const again = mode === 'overwrite' ? ' Run the same import again: it is safe to repeat.' : '';
  if (error instanceof StatusError && typeof error.json?.imported === 'number')
    return withAdvice(error, `${counted(error.json.imported, 'key')} were stored before that.${again}`);
  // If access is refused, nothing was stored.
  if (!(error instanceof StorageError) || error.code === 'forbidden') return error;
  return withAdvice(error, `It is not known how many keys were stored.${again}`);
}

async function sendPages(
  { connection }: Server,
  archive: Archive,
  { mode, dryRun }: ImportOptions,
  kept: ReadonlySet<string>,
  progress: Progress,
): Promise<Stored> {
  const seen = new Set<string>();
  let skipped = 0;
  async function* toSend(): AsyncGenerator<BackupRecord> {
    for await (const page of recordsFrom(archive, progress))
      for (const record of page) {
        // Of a key that comes twice, the first value counts, as at level 1.
        if (mode === 'overwrite' || !(kept.has(record.key) || seen.has(record.key))) yield record;
        else skipped += 1;
        if (mode !== 'overwrite') seen.add(record.key);
      }
  }
  let imported = 0;
  const sizeOf = ({ key, text }: BackupRecord): number =>
    Buffer.byteLength(key) + Buffer.byteLength(text) + 8;
  for await (const page of chunksOfStream(toSend(), { bytes: PAGE_BYTES, sizeOf })) {
    connection.signal.throwIfAborted();
    // Of a key that comes twice on a page, the last value counts.
    const members = new Map(page.map(({ key, text }) => [key, text]));
    if (!dryRun) await sendPage(connection, members, imported);
    imported += members.size;
  }
  return { imported, skipped };
}

async function sendPage(
  connection: Server['connection'],
  members: ReadonlyMap<string, string>,
  before: number,
): Promise<void> {
  async function* body(): AsyncGenerator<Uint8Array> {
    yield Buffer.from(`{${Array.from(members, ([key, text]) => `${JSON.stringify(key)}:${text}`)}}`);
  }
  let answer: JsonObject;
  try {
    // A page that arrives twice changes nothing.
    answer = await upload(connection, {
      path: 'api/storage/import',
      type: 'application/json',
      isRepeatable: true,
      body,
    });
  } catch (error) {
    if (!(error instanceof StorageError)) throw error;
    throw withAdvice(
      error,
      `${counted(before, 'key')} were stored before that. It is not known whether the next ${members.size} were.`,
    );
  }
  if (answer.success !== true || answer.imported !== members.size)
    throw new CommandError(
      EXIT.failed,
      `${connection.url} answered that it imported ${answer.imported} of ${counted(members.size, 'key')}. ${before} were stored before. Check the server's log.`,
    );
}

/**
 * Compares what a server has with what it should have.
 *
 * @param values The fingerprint of each key's value. It is emptied.
 * @returns The number of keys, all of which are equal.
 * @throws {CommandError} that names the keys that differ or are missing.
 */
async function verify(server: Server, values: Map<string, string>, terminal: Terminal): Promise<number> {
  const { url } = server.connection;
  const progress = terminal.progress(`verify ${url}`, values.size);
  const wanted = values.size;
  let equal = 0;
  const different: string[] = [];
  try {
    // Invalid keys were on the server before: they cannot be sent.
    await readToEnd(server.records({ onInvalidKey() {} }), (page) => {
      for (const { key, text } of page) {
        const expected = values.get(key);
        if (expected === undefined) continue;
        values.delete(key);
        if (expected === fingerprint(text)) equal += 1;
        else different.push(key);
      }
      progress.at(equal);
    });
  } finally {
    progress.end();
  }
  const missing = [...values.keys()];
  if (different.length + missing.length === 0) return equal;
  const parts = [
    different.length > 0 &&
      `${counted(different.length, 'key')} with a different value (${listed(different)})`,
    missing.length > 0 && `${counted(missing.length, 'missing key')} (${listed(missing)})`,
  ].filter(Boolean);
  throw new CommandError(
    EXIT.failed,
    `${equal} of ${counted(wanted, 'key')} were verified at ${url}; it has ${parts.join(' and ')}. Either the server changed the values, or another client wrote at the same time.`,
    {
      verified: equal,
      different: different.length,
      missing: missing.length,
      keys: [...different, ...missing].slice(0, KEYS_SHOWN),
    },
  );
}
