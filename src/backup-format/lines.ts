/**
 * Reads a backup in NDJSON: header, records, and the last line that proves them.
 *
 * The SHA-256 is over bytes, so a byte order mark, `\r` before `\n` and empty lines count; the text they are passed over
 * in. Behind the last line there is nothing but its own line break. Of equal names in a line the last one counts, and names
 * that nobody knows are passed over, except in the last line: a damaged `sha256` must not look like none.
 */
import { BYTE_ORDER_MARK, decode, firstInvalid, joined } from './bytes.ts';
import {
  type BackupHeader,
  type BackupRecord,
  type BackupSummary,
  type Digest,
  FORMAT,
  refuse,
  VERSION,
} from './format.ts';
import { isBlank, MAX_DEPTH, MAX_MEMBER, Malformed, nestsDeeperThan, ObjectSplitter } from './json.ts';
import { keyOf, type LeaveOut } from './key.ts';

const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;
const SPACE = 0x20;
const CLOSE_BRACE = 0x7d;

/** The texts of a line's members. */
type Members = ReadonlyMap<string, string>;

/** Takes the bytes of NDJSON as they come. */
export class LinesReader {
  readonly #take: (record: BackupRecord) => void;
  readonly #digest: Digest;
  readonly #leaveOut: LeaveOut | undefined;
  /** Parts of a line whose end has not come. */
  #open: Uint8Array[] = [];
  #openBytes = 0;
  /** The number of the line that is read. */
  #line = 0;
  #count = 0;
  #header: BackupHeader | undefined;
  #checksum: BackupSummary['checksum'] | undefined;

  constructor(take: (record: BackupRecord) => void, digest: Digest, leaveOut?: LeaveOut) {
    this.#take = take;
    this.#digest = digest;
    this.#leaveOut = leaveOut;
  }

  /** @throws {StorageError} `invalid-backup` */
  push(bytes: Uint8Array): void {
    const end = bytes.lastIndexOf(LINE_FEED) + 1;
    if (end > 0) {
      this.#block(joined([...this.#open, bytes.subarray(0, end)]));
      this.#open = [];
      this.#openBytes = 0;
    }
    if (end === bytes.length) return;
    this.#openBytes += bytes.length - end;
    if (this.#openBytes > MAX_MEMBER) refuse(`Line ${this.#line + 1}`, 'is longer than can be read');
    // Copied: whoever owns the bytes may use their memory again.
    this.#open.push(bytes.slice(end));
  }

  /** @throws {StorageError} `invalid-backup` */
  finish(): BackupSummary {
    if (this.#open.length > 0) this.#block(joined(this.#open));
    if (this.#header === undefined || this.#checksum === undefined)
      refuse(
        `The file ends after line ${this.#line} and`,
        'is cut: its last line, with the count, is missing',
      );
    return { form: 'ndjson', header: this.#header, count: this.#count, checksum: this.#checksum };
  }

  /** Whole lines. */
  #block(bytes: Uint8Array): void {
    let text: string;
    try {
      text = decode(bytes);
    } catch (cause) {
      const before = bytes.subarray(0, firstInvalid(bytes)).filter((byte) => byte === LINE_FEED).length;
      refuse(`Line ${this.#line + 1 + before}`, 'is no UTF-8', cause);
    }
    let from = this.#line === 0 && text.startsWith(BYTE_ORDER_MARK) ? 1 : 0;
    while (from < text.length) {
      const feed = text.indexOf('\n', from);
      const to = feed === -1 ? text.length : feed;
      this.#line += 1;
      this.#read(text, from, to);
      from = to + 1;
    }
    if (this.#checksum === undefined) this.#digest.update(bytes);
  }

  #read(text: string, from: number, to: number): void {
    if (this.#checksum !== undefined) refuse(`Line ${this.#line}`, 'follows what said to be the last line');
    const record = this.#header && this.#quick(text, from, to);
    if (record !== undefined) {
      this.#add(record.key, record.text);
      return;
    }
    const line = text.slice(from, to);
    if (isBlank(line)) return;
    const members = this.#members(line);
    if (this.#header === undefined) this.#header = this.#headerOf(members);
    else if (members.has('end') && !members.has('key')) this.#end(members, text.slice(0, from));
    else {
      const [key, value] = [members.get('key'), members.get('value')];
      if (key === undefined || value === undefined)
        refuse(`Line ${this.#line}`, 'is no record: it has no "key" or no "value"');
      this.#add(JSON.parse(key), value);
    }
  }

  #add(key: unknown, text: string): void {
    const checked = keyOf(key, () => `Line ${this.#line}`, this.#leaveOut);
    if (checked !== undefined) this.#take({ key: checked, text });
    this.#count += 1;
  }

  /**
   * A record in the form in which all writers here print it: `{"key":"…","rev":"…","value":…}` without spaces, `rev` or
   * not. `undefined` says nothing: the long way decides.
   */
  #quick(text: string, from: number, to: number): { key: unknown; text: string } | undefined {
    if (!text.startsWith('{"key":"', from)) return undefined;
    let at = text.indexOf('"', from + 8) + 1;
    // Taken as a string of its own, it does not keep the whole block in memory. Behind an escaped quote it is no JSON.
    const quoted = text.slice(from + 7, at);
    at = endOfRevision(text, at);
    if (!text.startsWith(',"value":', at)) return undefined;
    const end = text.charCodeAt(to - 1) === CARRIAGE_RETURN ? to - 1 : to;
    if (text.charCodeAt(end - 1) !== CLOSE_BRACE) return undefined;
    const value = text.slice(at + 9, end - 1);
    if (value.charCodeAt(0) <= SPACE || value.charCodeAt(value.length - 1) <= SPACE) return undefined;
    try {
      // More members behind the value make it no JSON.
      if (nestsDeeperThan(MAX_DEPTH, JSON.parse(value))) return undefined;
      return { key: JSON.parse(quoted), text: value };
    } catch {
      return undefined;
    }
  }

  #members(line: string): Members {
    try {
      const splitter = new ObjectSplitter();
      const members = new Map(splitter.push(line));
      if (splitter.ended) return members;
    } catch (error) {
      if (!(error instanceof Malformed)) throw error;
      refuse(`Line ${this.#line}`, error.message, error);
    }
    return refuse(`Line ${this.#line}`, 'is cut: it ends inside a JSON object');
  }

  #headerOf(members: Members): BackupHeader {
    const parsed = (name: string): unknown => JSON.parse(members.get(name) ?? 'null');
    const version = parsed('version');
    if (parsed('format') !== FORMAT)
      refuse(
        `Line ${this.#line}`,
        `is no header of a backup, which has "format":"${FORMAT}" (here: ${members.get('format') ?? 'none'})`,
      );
    if (typeof version === 'number' && version > VERSION)
      refuse(
        `Line ${this.#line}`,
        `says version ${version} of the format, and ${VERSION} is the newest that is known here: upgrade @codeforge/storage to read it`,
      );
    if (version !== VERSION) refuse(`Line ${this.#line}`, `says a version of the format that does not exist`);
    const [timestamp, keys, epoch, seq] = ['timestamp', 'keys', 'epoch', 'seq'].map(parsed);
    return {
      version,
      ...(typeof timestamp === 'string' && { timestamp }),
      ...(typeof keys === 'number' && { keys }),
      ...(typeof epoch === 'string' && { epoch }),
      ...(typeof seq === 'number' && { seq }),
    };
  }

  /** @param before What came before the last line in its block. */
  #end(members: Members, before: string): void {
    const where = `Line ${this.#line}, the last one,`;
    const unknown = [...members.keys()].find((name) => !['end', 'count', 'sha256'].includes(name));
    if (unknown !== undefined) refuse(where, `has the unknown member ${JSON.stringify(unknown)}`);
    if (members.get('end') !== 'true') refuse(where, 'is damaged: its "end" is not true');
    if (members.get('count') !== String(this.#count))
      refuse(where, `says ${members.get('count') ?? 'no number of'} records, and there are ${this.#count}`);
    this.#digest.update(new TextEncoder().encode(before));
    const claimed = members.get('sha256');
    this.#checksum = claimed === undefined ? 'absent' : 'verified';
    const actual = this.#digest.hex();
    if (claimed !== undefined && claimed !== `"${actual}"`)
      refuse(where, `says the SHA-256 ${claimed}, and it is "${actual}": the backup is damaged`);
  }
}

/** The index behind `,"rev":"…"` where a revision of digits stands at `at`, otherwise `at`. */
function endOfRevision(text: string, at: number): number {
  if (!text.startsWith(',"rev":"', at)) return at;
  let end = at + 8;
  while (text.charCodeAt(end) >= 0x30 && text.charCodeAt(end) <= 0x39) end += 1;
  return text.startsWith('"', end) ? end + 1 : at;
}
