/**
 * Reads backups of both forms, and tells them apart by how they begin.
 *
 * Memory is flat: one page of records and one piece of the file at a time, and each record as a whole. A file that is cut at
 * any byte is refused; only the line break at the very end may be missing.
 *
 * Spec: docs/contract.md, 8; RFC 8259.
 */
import { createCutter } from '../core/chunks.ts';
import { decode, joined, piecesOf, show } from './bytes.ts';
import {
  type BackupForm,
  type BackupRecord,
  type BackupSummary,
  type Digest,
  FORMAT,
  InvalidBackup,
} from './format.ts';
import { ObjectReader } from './json-object.ts';
import { type NdjsonOptions, NdjsonReader } from './ndjson.ts';

/** The most records of a page, and the most characters of their keys and values. A single record may be larger. */
export interface PageSize {
  readonly records: number;
  readonly characters: number;
}

/** How a backup is read. */
export interface ReadOptions extends NdjsonOptions {
  /** The only form that is accepted. By default the reader takes both. */
  readonly form?: BackupForm;
  /** By default 500 records or 1 Mi characters. */
  readonly page?: PageSize;
}

const PAGE: PageSize = { records: 500, characters: 1024 * 1024 };
/** The bytes that are read at a time, however large the chunks are. */
const PIECE = 128 * 1024;
/** The bytes in which a header must be complete. A file without one is a JSON object. */
const HEAD = 16 * 1024;

const LINE_FEED = 0x0a;
const OPEN_BRACE = 0x7b;
const LESS_THAN = 0x3c;
const WHITE_SPACE = [0x20, 0x09, 0x0d, LINE_FEED];
/** The byte order mark. */
const MARK = [0xef, 0xbb, 0xbf];

/**
 * Reads a backup in pages of records, and returns its summary at the end.
 *
 * Only the summary says that the backup is complete: pages come before it. What a damaged backup must not change has to wait
 * for it. Values are raw texts of valid JSON that nest 200 levels at most. Keys are valid, in any order, and may come more
 * than once: the last one wins. A byte order mark at the beginning is skipped.
 *
 * @param chunks The bytes, cut anywhere. They are neither changed nor kept.
 * @param digest A new one.
 * @throws {InvalidBackup} at the first flaw, with its line or byte. An error of `chunks` is passed on.
 */
export async function* readBackup(
  chunks: AsyncIterable<Uint8Array>,
  digest: Digest,
  options: ReadOptions = {},
): AsyncGenerator<readonly BackupRecord[], BackupSummary> {
  const { records, characters } = options.page ?? PAGE;
  const cutter = createCutter<BackupRecord>({ count: records, bytes: characters, sizeOf });
  /** Pages that are complete and not handed on yet. */
  const pages: BackupRecord[][] = [];
  const take = (record: BackupRecord): void => {
    const page = cutter.add(record);
    if (page) pages.push(page);
  };
  const create = (form: BackupForm): NdjsonReader | ObjectReader => {
    return form === 'ndjson'
      ? new NdjsonReader(take, digest, options)
      : new ObjectReader(take, options.onInvalidKey);
  };
  let reader = options.form && create(options.form);
  let head: Uint8Array = new Uint8Array();
  for await (const chunk of chunks) {
    for (const piece of piecesOf(chunk, PIECE)) {
      if (reader) reader.push(piece);
      else {
        head = joined([head, piece]);
        const form = formOf(head, head.length > HEAD);
        reader = form && create(form);
        reader?.push(head);
      }
      yield* pages.splice(0);
    }
  }
  if (!reader) {
    reader = create(formOf(head, true) ?? 'json');
    reader.push(head);
  }
  const summary = reader.finish();
  yield* pages.splice(0);
  const rest = cutter.rest();
  if (rest.length > 0) yield rest;
  return summary;
}

const sizeOf = ({ key, text }: BackupRecord): number => key.length + text.length;

/**
 * The form of a backup that begins with `head`, or `undefined` while more bytes are needed.
 *
 * @param isAll Whether more bytes would not help, or do not exist.
 * @throws {InvalidBackup} if it is no backup at all.
 */
function formOf(head: Uint8Array, isAll: boolean): BackupForm | undefined {
  const start = firstOf(head);
  if (start === -1) {
    if (isAll && head.length <= HEAD)
      throw new InvalidBackup('malformed', 'The file', 'is empty: it is not a backup');
    return isAll ? 'json' : undefined;
  }
  if (head[start] !== OPEN_BRACE) {
    const shown = JSON.stringify(show(head.subarray(start, start + 40)));
    const kind = head[start] === LESS_THAN ? 'an HTML or XML page, not a backup' : 'not a backup';
    throw new InvalidBackup('malformed', 'The file', `begins with ${shown}: it is ${kind}`);
  }
  const feed = head.indexOf(LINE_FEED, start);
  if (feed === -1 && !isAll) return undefined;
  const header = objectIn(feed === -1 ? head.subarray(start) : head.subarray(start, feed));
  if (header === undefined) return 'json';
  // `{"format":"codeforge-storage","version":1}` alone is a cut backup, never an object of two entries.
  if (header.format === FORMAT && 'version' in header) return 'ndjson';
  const hasMore = feed !== -1 && firstOf(head.subarray(feed)) !== -1;
  if (hasMore) return 'ndjson';
  return isAll ? 'json' : undefined;
}

/** The index of the first byte after the byte order mark and white space, or −1. */
function firstOf(bytes: Uint8Array): number {
  const marked = MARK.every((byte, i) => (bytes[i] ?? byte) === byte) ? MARK.length : 0;
  return bytes.findIndex((byte, i) => i >= marked && !WHITE_SPACE.includes(byte));
}

function objectIn(line: Uint8Array): { format?: unknown } | undefined {
  try {
    return JSON.parse(decode(line));
  } catch {
    return undefined;
  }
}
