/**
 * Reads backups of both forms, told apart by how they begin.
 *
 * Memory is flat: one page of records and one piece of the file at a time, and a record as a whole. A file that is cut at
 * any byte is refused, except for a line break at its very end.
 *
 * Spec: docs/contract.md, 8; RFC 8259.
 */
import { decode, joined, piecesOf, show } from './bytes.ts';
import {
  type BackupForm,
  type BackupRecord,
  type BackupSummary,
  type Digest,
  FORMAT,
  refuse,
} from './format.ts';
import type { LeaveOut } from './key.ts';
import { LinesReader } from './lines.ts';
import { ObjectReader } from './object.ts';

/** Records of a page at most … */
const PAGE_RECORDS = 500;
/** … or characters of their keys and values, reached by its last record. */
const PAGE_CHARACTERS = 1024 * 1024;
/** Bytes that are worked on at a time, however large the chunks are. */
const PIECE = 128 * 1024;
/** Bytes at most in which a header has to stand. Without one the file is a bare object. */
const HEAD = 16 * 1024;

const LINE_FEED = 0x0a;
const OPEN_BRACE = 0x7b;
const LESS_THAN = 0x3c;
const WHITE_SPACE = [0x20, 0x09, 0x0d, LINE_FEED];
/** The byte order mark. */
export const MARK = [0xef, 0xbb, 0xbf];

/**
 * The records of a backup, in pages of at most 500 records or 1 Mi characters, which only the last record may exceed; its
 * generator returns what the backup turned out to be.
 *
 * Only that return says that the backup is whole: pages come before it, so what must not be touched by a broken backup
 * waits for it. Values are raw texts of valid JSON, nested 200 levels at most; keys are portable. Keys may come in any order
 * and more than once: the last one counts. A byte order mark at the beginning is passed over.
 *
 * @param chunks The bytes, cut anywhere. None is changed or kept.
 * @param digest A fresh one.
 * @param leaveOut Told of each key that is not portable; its record is counted and left out. Without it such a key is refused.
 * @throws {StorageError} `invalid-backup` at the first thing that is wrong, saying in which line or at which byte. An error of
 *   `chunks` is passed on.
 */
export async function* readBackup(
  chunks: AsyncIterable<Uint8Array>,
  digest: Digest,
  leaveOut?: LeaveOut,
): AsyncGenerator<readonly BackupRecord[], BackupSummary> {
  const pages = new Pages();
  let reader: LinesReader | ObjectReader | undefined;
  let head: Uint8Array = new Uint8Array();
  const begin = (form: BackupForm): LinesReader | ObjectReader => {
    const take = (record: BackupRecord): void => pages.add(record);
    const begun =
      form === 'ndjson' ? new LinesReader(take, digest, leaveOut) : new ObjectReader(take, leaveOut);
    begun.push(head);
    return begun;
  };
  for await (const chunk of chunks) {
    for (const piece of piecesOf(chunk, PIECE)) {
      if (reader === undefined) {
        head = joined([head, piece]);
        const form = formOf(head, head.length > HEAD);
        if (form !== undefined) reader = begin(form);
      } else {
        reader.push(piece);
      }
      yield* pages.full();
    }
  }
  reader ??= begin(formOf(head, true) ?? 'json');
  const summary = reader.finish();
  yield* pages.all();
  return summary;
}

/** Records put together. */
class Pages {
  #full: BackupRecord[][] = [];
  #page: BackupRecord[] = [];
  #characters = 0;

  add(record: BackupRecord): void {
    this.#page.push(record);
    this.#characters += record.key.length + record.text.length;
    if (this.#page.length >= PAGE_RECORDS || this.#characters >= PAGE_CHARACTERS) this.#turn();
  }

  full(): readonly BackupRecord[][] {
    const full = this.#full;
    this.#full = [];
    return full;
  }

  all(): readonly BackupRecord[][] {
    if (this.#page.length > 0) this.#turn();
    return this.full();
  }

  #turn(): void {
    this.#full.push(this.#page);
    this.#page = [];
    this.#characters = 0;
  }
}

/**
 * Which form begins with `head`; `undefined` while more has to be seen.
 *
 * @param isAll Whether nothing more comes that could help.
 * @throws {StorageError} `invalid-backup` for what is no backup at all.
 */
function formOf(head: Uint8Array, isAll: boolean): BackupForm | undefined {
  const start = firstOf(head);
  if (start === -1) {
    if (isAll && head.length <= HEAD) refuse('The file', 'is empty: it is no backup');
    return isAll ? 'json' : undefined;
  }
  if (head[start] !== OPEN_BRACE) {
    const shown = JSON.stringify(show(head.subarray(start, start + 40)));
    const kind = head[start] === LESS_THAN ? 'an HTML or XML page, not a backup' : 'no backup';
    refuse('The file', `begins with ${shown}: it is ${kind}`);
  }
  const feed = head.indexOf(LINE_FEED, start);
  if (feed === -1 && !isAll) return undefined;
  const line = feed === -1 ? head.subarray(start) : head.subarray(start, feed);
  const header = objectIn(line);
  if (header === undefined) return 'json';
  // So `{"format":"codeforge-storage","version":1}` alone is a cut backup, never an object of two entries.
  if (header.format === FORMAT && 'version' in header) return 'ndjson';
  const hasMore = feed !== -1 && firstOf(head.subarray(feed)) !== -1;
  if (hasMore) return 'ndjson';
  return isAll ? 'json' : undefined;
}

/** The index of the first byte that is no white space (nor the byte order mark), or −1. */
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
