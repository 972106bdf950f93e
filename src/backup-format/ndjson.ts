/**
 * Backups as NDJSON: a header, the records, and a last line that proves them.
 *
 * The SHA-256 covers bytes: a byte order mark, `\r` before `\n` and blank lines count in it, and are skipped as text. Only
 * blank lines may follow the last line. Of equal names in a line the last one wins. Unknown names are ignored, except in the
 * last line: there, a damaged `sha256` would look like a missing one.
 *
 * Spec: docs/contract.md, 8; RFC 8259; NDJSON.
 */
import { utf8Length } from '../core/keys.ts';
import { BYTE_ORDER_MARK, decode, encode, encoded, firstInvalid, joined } from './bytes.ts';
import {
  type BackupHeader,
  type BackupRecord,
  type BackupSummary,
  type Digest,
  type Flaw,
  FORMAT,
  InvalidBackup,
  keyOf,
  VERSION,
} from './format.ts';
import { isBlank, MAX_DEPTH, MAX_MEMBER, membersOf, nestsDeeperThan } from './json-text.ts';

const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;
const SPACE = 0x20;
const CLOSE_BRACE = 0x7d;

/** What a header says besides its version. */
export type HeaderFields = Omit<BackupHeader, 'version'>;

/**
 * Writes NDJSON in pieces of about 64 KiB; a larger record is one piece. The backup is complete when the generator has ended:
 * until then the last line is missing, and every reader refuses it.
 *
 * @param records Valid keys with valid JSON texts. Line breaks between the tokens of a text become spaces.
 * @param header Its fields, or a function that returns them once the first page of records is known.
 * @param digest A new one.
 */
export async function* writeNdjson(
  records: AsyncIterable<readonly BackupRecord[]>,
  header: HeaderFields | (() => HeaderFields),
  digest: Digest,
): AsyncGenerator<Uint8Array<ArrayBuffer>, void> {
  let count = 0;
  const headerLine = (): string => {
    const fields = typeof header === 'function' ? header() : header;
    return `${JSON.stringify({ format: FORMAT, version: VERSION, ...fields })}\n`;
  };
  async function* lines(): AsyncGenerator<readonly string[], void> {
    let isBegun = false;
    for await (const page of records) {
      count += page.length;
      const before = isBegun ? [] : [headerLine()];
      isBegun = true;
      yield [...before, ...page.map(lineOf)];
    }
    if (!isBegun) yield [headerLine()];
  }
  for await (const piece of encoded(lines())) {
    // Before the piece is handed on: its receiver may transfer the memory.
    digest.update(piece);
    yield piece;
  }
  yield encode(`${JSON.stringify({ end: true, count, sha256: digest.hex() })}\n`);
}

const lineOf = ({ key, rev, text }: BackupRecord): string =>
  `{"key":${JSON.stringify(key)}${rev === undefined ? '' : `,"rev":${JSON.stringify(rev)}`},"value":${onOneLine(text)}}\n`;

/** In valid JSON, a raw line break is only between tokens, where a space means the same. */
const onOneLine = (text: string): string =>
  text.includes('\n') || text.includes('\r') ? text.replace(/[\r\n]/g, ' ') : text;

/** How a reader of NDJSON treats what it finds. */
export interface NdjsonOptions {
  /** Called with the header, before any record is taken. */
  readonly onHeader?: (header: BackupHeader) => void;
  /** Called with each key that cannot be stored. Its record is counted and skipped. By default such a key is an error. */
  readonly onInvalidKey?: (key: string) => void;
  /** The longest line, in bytes. By default about 512 Mi. */
  readonly maxLineBytes?: number;
}

/** Reads the bytes of NDJSON as they come. */
export class NdjsonReader {
  readonly #take: (record: BackupRecord) => void;
  readonly #digest: Digest;
  readonly #options: NdjsonOptions;
  readonly #maxLineBytes: number;
  /** The parts of a line that is not complete yet. */
  #open: Uint8Array[] = [];
  #openBytes = 0;
  /** The number of the line that is read, from 1. */
  #line = 0;
  #count = 0;
  #header: BackupHeader | undefined;
  #checksum: BackupSummary['checksum'] | undefined;

  /**
   * A reader of one backup.
   *
   * @param take Receives each record.
   * @param digest A new one.
   */
  constructor(take: (record: BackupRecord) => void, digest: Digest, options: NdjsonOptions = {}) {
    this.#take = take;
    this.#digest = digest;
    this.#options = options;
    this.#maxLineBytes = options.maxLineBytes ?? MAX_MEMBER;
  }

  /** @throws {InvalidBackup} */
  push(bytes: Uint8Array): void {
    const end = bytes.lastIndexOf(LINE_FEED) + 1;
    if (end > 0) {
      this.#block(joined([...this.#open, bytes.subarray(0, end)]));
      this.#open = [];
      this.#openBytes = 0;
    }
    if (end === bytes.length) return;
    this.#openBytes += bytes.length - end;
    if (this.#openBytes > this.#maxLineBytes) this.#refuseLength(this.#line + 1);
    // A copy: the caller may reuse the memory.
    this.#open.push(bytes.slice(end));
  }

  /** @throws {InvalidBackup} if the backup is not complete. */
  finish(): BackupSummary {
    if (this.#open.length > 0) this.#block(joined(this.#open));
    if (this.#header === undefined || this.#checksum === undefined)
      throw new InvalidBackup(
        'incomplete',
        'The file',
        `is cut: it ends after line ${this.#line}, and the last line, with the count, is missing`,
      );
    return { form: 'ndjson', header: this.#header, count: this.#count, checksum: this.#checksum };
  }

  /** Reads whole lines. */
  #block(bytes: Uint8Array): void {
    let text: string;
    try {
      text = decode(bytes);
    } catch (cause) {
      const before = bytes.subarray(0, firstInvalid(bytes)).filter((byte) => byte === LINE_FEED).length;
      throw new InvalidBackup('malformed', `Line ${this.#line + 1 + before}`, 'is not UTF-8', cause);
    }
    let from = this.#line === 0 && text.startsWith(BYTE_ORDER_MARK) ? 1 : 0;
    while (from < text.length) {
      const feed = text.indexOf('\n', from);
      this.#line += 1;
      this.#read(text, from, feed === -1 ? text.length : feed);
      from = feed === -1 ? text.length : feed + 1;
    }
    if (this.#checksum === undefined) this.#digest.update(bytes);
  }

  #read(text: string, from: number, to: number): void {
    // A character is three bytes at most, so short lines need no counting.
    if ((to - from) * 3 > this.#maxLineBytes && utf8Length(text.slice(from, to)) > this.#maxLineBytes)
      this.#refuseLength(this.#line);
    const record =
      this.#header && this.#checksum === undefined ? this.#compactRecord(text, from, to) : undefined;
    if (record !== undefined) {
      this.#add(record);
      return;
    }
    const line = text.slice(from, to);
    if (isBlank(line)) return;
    if (this.#checksum !== undefined) this.#refuse('incomplete', 'follows the last line of the backup');
    const members = this.#members(line, to === text.length);
    if (this.#header === undefined) {
      this.#header = this.#headerOf(members);
      this.#options.onHeader?.(this.#header);
    } else if (members.has('end') && !members.has('key')) this.#end(members, text.slice(0, from));
    else {
      const { key, rev, value } = Object.fromEntries(members);
      if (key === undefined || value === undefined)
        this.#refuse('malformed', 'is not a record: it has no "key" or no "value"');
      this.#add({ key: JSON.parse(key), text: value, rev: rev === undefined ? undefined : JSON.parse(rev) });
    }
  }

  #add({ key, text, rev }: FoundRecord): void {
    const checked = keyOf(key, () => `Line ${this.#line}`, this.#options.onInvalidKey);
    if (checked !== undefined)
      this.#take(typeof rev === 'string' ? { key: checked, text, rev } : { key: checked, text });
    this.#count += 1;
  }

  /**
   * A record in the form that every writer here uses: `{"key":"…","rev":"…","value":…}` without spaces, `rev` or not.
   * Such a line is read without looking at each of its characters. `undefined` means only that the line is to be read in
   * full.
   */
  #compactRecord(text: string, from: number, to: number): FoundRecord | undefined {
    if (!text.startsWith('{"key":"', from)) return undefined;
    const keyEnd = text.indexOf('"', from + 8) + 1;
    let at = keyEnd;
    let rev: string | undefined;
    if (text.startsWith(',"rev":"', at)) {
      const start = at + 8;
      at = text.indexOf('"', start) + 1;
      rev = text.slice(start, at - 1);
      if (!/^\d+$/.test(rev)) return undefined;
    }
    if (!text.startsWith(',"value":', at)) return undefined;
    const end = text.charCodeAt(to - 1) === CARRIAGE_RETURN ? to - 1 : to;
    if (text.charCodeAt(end - 1) !== CLOSE_BRACE) return undefined;
    const value = text.slice(at + 9, end - 1);
    if (value.charCodeAt(0) <= SPACE || value.charCodeAt(value.length - 1) <= SPACE) return undefined;
    try {
      // If the key had an escaped quote, or members followed the value, these would not be valid JSON.
      const key: unknown = JSON.parse(text.slice(from + 7, keyEnd));
      JSON.parse(value);
      return nestsDeeperThan(MAX_DEPTH, value) ? undefined : { key, text: value, rev };
    } catch {
      return undefined;
    }
  }

  /** @param isUnended Whether no line break follows. */
  #members(line: string, isUnended: boolean): Map<string, string> {
    let value: unknown;
    try {
      value = JSON.parse(line);
    } catch (cause) {
      if (isUnended)
        this.#refuse('incomplete', 'is cut: the file ends before the JSON object is complete', cause);
      this.#refuse('malformed', 'is not valid JSON', cause);
    }
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      this.#refuse('malformed', 'is not a JSON object');
    // The line itself is one more level.
    if (nestsDeeperThan(MAX_DEPTH + 1, line))
      this.#refuse('malformed', `has a value that nests deeper than ${MAX_DEPTH} levels`);
    return membersOf(line);
  }

  #headerOf(members: ReadonlyMap<string, string>): BackupHeader {
    const parsed = (name: string): unknown => JSON.parse(members.get(name) ?? 'null');
    const version = parsed('version');
    if (parsed('format') !== FORMAT)
      this.#refuse(
        'malformed',
        `is not the header of a backup: "format" must be "${FORMAT}", not ${members.get('format') ?? 'missing'}`,
      );
    if (typeof version === 'number' && version > VERSION)
      this.#refuse(
        'malformed',
        `has version ${version} of the format, and this program reads version ${VERSION}: upgrade @codeforge/storage`,
      );
    if (version !== VERSION)
      this.#refuse('malformed', `has a version of the format that does not exist: ${members.get('version')}`);
    const [timestamp, keys, epoch, seq] = ['timestamp', 'keys', 'epoch', 'seq'].map(parsed);
    return {
      version,
      ...(typeof timestamp === 'string' && { timestamp }),
      ...(typeof keys === 'number' && { keys }),
      ...(typeof epoch === 'string' && { epoch }),
      ...(typeof seq === 'number' && { seq }),
    };
  }

  /** @param before The text before the last line in its block. */
  #end(members: ReadonlyMap<string, string>, before: string): void {
    const refuse = (what: string): never => this.#refuse('incomplete', what);
    const unknown = [...members.keys()].find((name) => !['end', 'count', 'sha256'].includes(name));
    if (unknown !== undefined)
      refuse(`is the last line and has the unknown member ${JSON.stringify(unknown)}`);
    if (members.get('end') !== 'true') refuse('is damaged: "end" is not true');
    const count = members.get('count') ?? 'no';
    if (count !== String(this.#count)) refuse(`says ${count} records, but the file has ${this.#count}`);
    this.#digest.update(encode(before));
    const claimed = members.get('sha256');
    this.#checksum = claimed === undefined ? 'absent' : 'verified';
    const actual = `"${this.#digest.hex()}"`;
    if (claimed !== undefined && claimed !== actual)
      refuse(`says the SHA-256 ${claimed}, but that of the file is ${actual}: the backup is damaged`);
  }

  #refuseLength(line: number): never {
    throw new InvalidBackup('too-large', `Line ${line}`, `is over the limit of ${this.#maxLineBytes} bytes`);
  }

  #refuse(flaw: Flaw, what: string, cause?: unknown): never {
    throw new InvalidBackup(flaw, `Line ${this.#line}`, what, cause);
  }
}

/** A record whose key is not checked yet. */
interface FoundRecord {
  readonly key: unknown;
  readonly text: string;
  readonly rev: unknown;
}
