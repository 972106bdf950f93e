/**
 * A backup of all tenants in one file: gzip over lines of JSON.
 *
 * The first line is a header. Then each tenant follows: a line that names it, and its data as an export has it (docs/contract.md, 8.1 and
 * 8.6), with a count and a SHA-256. The last line counts the tenants. So a reader notices a file that is cut or damaged at any byte.
 *
 * The data of a tenant is one state. Tenants are read one after the other, and know nothing of each other. Revisions, tombstones and
 * numbered mutations are not restored: the epoch of the restored data is another one (4.2).
 */
import { createReadStream, createWriteStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { createGunzip, createGzip } from 'node:zlib';
import { type BackupRecord, InvalidBackup } from '../../../../src/backup-format/format.ts';
import { readBackup } from '../../../../src/backup-format/reader.ts';
import { createDigest, exportOf } from '../http/level1/export.ts';
import type { Store } from '../store/store.ts';

const FORMAT = 'codeforge-storage-server';
const VERSION = 1;

/** How the last line of an export begins, and of the file. */
const END = '{"end":';

/** The records of one transaction of a restore. */
const PAGE = { records: 100, characters: 64 * 1024 };

/** What a file contains. */
export interface BackupContents {
  readonly tenants: number;
  readonly keys: number;
  /** Keys that a database of an old server had, and that no server takes any more. They are in the file, but not restored. */
  readonly leftOut: number;
}

/** The file is cut or damaged, or not a backup. */
export class DamagedBackup extends Error {
  override readonly name = 'DamagedBackup';
}

/**
 * Writes a backup to a new file, and flushes it to the disk.
 *
 * @param signal Ends it. What was written stays.
 */
export async function writeBackupFile(store: Store, path: string, signal: AbortSignal): Promise<void> {
  async function* lines(): AsyncGenerator<string | Uint8Array, void> {
    const header = {
      format: FORMAT,
      version: VERSION,
      timestamp: new Date().toISOString(),
      epoch: store.epoch,
    };
    yield `${JSON.stringify(header)}\n`;
    const tenants = await store.tenants();
    for (const tenant of tenants) {
      yield `${JSON.stringify({ tenant })}\n`;
      yield* exportOf(store, await store.snapshot(tenant));
    }
    yield `${JSON.stringify({ end: true, tenants: tenants.length })}\n`;
  }
  await pipeline(lines, createGzip(), createWriteStream(path, { flags: 'wx', mode: 0o600, flush: true }), {
    signal,
  });
}

/**
 * Reads a backup in pages of records, and returns what it contains. Only then is it known to be complete.
 *
 * @throws {DamagedBackup}
 */
export async function* readBackupFile(
  path: string,
): AsyncGenerator<{ readonly tenant: string; readonly page: readonly BackupRecord[] }, BackupContents> {
  const lines = linesOf(path);
  try {
    const { format, version } = parse((await lines.next()).value);
    if (format !== FORMAT) throw new DamagedBackup('it is not a backup of BACKUP_DIR');
    if (version !== VERSION) throw new DamagedBackup('a newer version of the server has written it');
    const contents = { tenants: 0, keys: 0, leftOut: 0 };
    const onInvalidKey = (): void => {
      contents.leftOut += 1;
    };
    const options = { form: 'ndjson', page: PAGE, onInvalidKey } as const;
    for (;;) {
      const { tenant, tenants } = parse((await lines.next()).value);
      if (typeof tenant !== 'string') {
        if (tenants !== contents.tenants || !(await lines.next()).done)
          throw new DamagedBackup('its last line does not match what precedes it');
        return contents;
      }
      contents.tenants += 1;
      for await (const page of readBackup(sectionOf(lines), createDigest(), options)) {
        contents.keys += page.length;
        yield { tenant, page };
      }
    }
  } catch (error) {
    throw damageOf(error);
  } finally {
    await lines.return();
  }
}

/** Reads a backup to its end. @throws {DamagedBackup} */
export async function checkBackupFile(path: string, signal?: AbortSignal): Promise<BackupContents> {
  const pages = readBackupFile(path);
  for (;;) {
    signal?.throwIfAborted();
    const step = await pages.next();
    if (step.done) return step.value;
  }
}

/** The lines up to the end of an export. */
async function* sectionOf(lines: AsyncGenerator<Buffer, void>): AsyncGenerator<Buffer, void> {
  for (;;) {
    const { value } = await lines.next();
    if (value === undefined) return;
    yield value;
    if (value.subarray(0, END.length).equals(Buffer.from(END))) return;
  }
}

/** The lines of the file, each with its line break. */
async function* linesOf(path: string): AsyncGenerator<Buffer, void> {
  const gunzip = createGunzip();
  const reading = pipeline(createReadStream(path), gunzip);
  // A failure also ends the loop, which reports it.
  reading.catch(() => {});
  let parts: Buffer[] = [];
  for await (const chunk of gunzip as AsyncIterable<Buffer>) {
    let start = 0;
    for (let end = chunk.indexOf(10); end !== -1; end = chunk.indexOf(10, start)) {
      yield Buffer.concat([...parts, chunk.subarray(start, end + 1)]);
      parts = [];
      start = end + 1;
    }
    if (start < chunk.length) parts.push(chunk.subarray(start));
  }
  if (parts.length > 0) yield Buffer.concat(parts);
}

function parse(line: unknown): Record<string, unknown> {
  if (!(line instanceof Buffer)) throw new DamagedBackup('it ends early');
  try {
    const json = JSON.parse(line.toString());
    if (typeof json === 'object' && json !== null) return json;
  } catch {
    // See below.
  }
  throw new DamagedBackup('a line of it is not what a backup has there');
}

function damageOf(error: unknown): unknown {
  if (error instanceof InvalidBackup) return new DamagedBackup(`of one tenant: ${error.problem}`);
  const { code, message } = error as { code?: unknown; message: string };
  if (message === 'incorrect header check')
    return new DamagedBackup('it is not a backup of BACKUP_DIR (exports are for codeforge-storage import)');
  return typeof code === 'string' && code.startsWith('Z_')
    ? new DamagedBackup('its compressed data is cut or damaged')
    : error;
}
