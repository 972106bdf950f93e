/**
 * The backup format: what a backup file contains. The SDK, the command and the reference server share it.
 *
 * A backup is NDJSON in UTF-8: a header, one record per line, and a last line with the number of records and the SHA-256 of
 * all bytes before it. A value is kept as JSON text, never as a parsed number, so `12345678901234567890` and `1.10` keep all
 * their digits. The older form is one JSON object without count or checksum.
 *
 * This folder does no I/O: its callers bring the bytes and the SHA-256.
 *
 * Spec: docs/contract.md, 8 and 11; RFC 8259; NDJSON.
 */
import { StorageError } from '../core/errors.ts';
import { checkKey } from '../core/keys.ts';

/** `format` in the header. */
export const FORMAT = 'codeforge-storage';

/** `version` in the header: the version that is written, and the newest one that can be read. */
export const VERSION = 1;

/** The media type of NDJSON. */
export const NDJSON_TYPE = 'application/x-ndjson';

/** NDJSON with a checksum, or one JSON object. */
export type BackupForm = 'ndjson' | 'json';

/** One entry. */
export interface BackupRecord {
  /** A valid key. */
  readonly key: string;
  /** The JSON text of the value as the server stores it, without white space around it. */
  readonly text: string;
  /** The server's revision of the entry, in exports of a level-1 server. */
  readonly rev?: string;
}

/** The first line. */
export interface BackupHeader {
  version: typeof VERSION;
  /** When the backup began, in ISO 8601. */
  timestamp?: string;
  /** The number of keys that the writer expected when it began. The last line has the number that it wrote. */
  keys?: number;
  /** The epoch of the server that wrote it. */
  epoch?: string;
  /** The server's sequence number at the time of the backup. */
  seq?: number;
}

/** What a reader knows once it has read the whole backup. */
export interface BackupSummary {
  form: BackupForm;
  /** Only NDJSON has one. */
  header?: BackupHeader;
  /** The number of records. */
  count: number;
  /** `absent` in a JSON object, and in NDJSON of a server that writes no checksum. */
  checksum: 'verified' | 'absent';
}

/** A running SHA-256 (FIPS 180-4): that of `node:crypto`, or of digest.ts where there is none. */
export interface Digest {
  update(bytes: Uint8Array): void;
  /** The digest as 64 lowercase hexadecimal digits. Nothing can be added afterwards. */
  hex(): string;
}

/**
 * What is wrong with a backup:
 * - `malformed`: a part of it is not what the format says;
 * - `key`: it contains a key that cannot be stored;
 * - `too-large`: a line is longer than the reader accepts;
 * - `incomplete`: its last line is missing, or does not match what precedes it.
 */
export type Flaw = 'malformed' | 'key' | 'too-large' | 'incomplete';

/** A backup that must not be imported. */
export class InvalidBackup extends StorageError {
  readonly flaw: Flaw;
  /** What is wrong and where, as one sentence without advice. */
  readonly problem: string;

  /**
   * A reason to refuse a backup.
   *
   * @param where `Line 3`, `Byte 17` or `The file`.
   * @param what The rest of the sentence: what is wrong there.
   */
  constructor(flaw: Flaw, where: string, what: string, cause?: unknown) {
    const problem = `${where} ${what}.`;
    const advice =
      flaw === 'key'
        ? 'To import the other entries, use "codeforge-storage import --leave-out".'
        : 'Do not import this backup: download it again, or use another one.';
    super('invalid-backup', `${problem} ${advice}`, cause === undefined ? undefined : { cause });
    this.flaw = flaw;
    this.problem = problem;
  }
}

/**
 * Checks the key of a record.
 *
 * @param where Returns where the record is, for the error.
 * @param onInvalidKey Called with a string that is not a valid key. The record is then skipped.
 * @returns The key, or `undefined` if the record is skipped.
 * @throws {InvalidBackup} `key`
 */
export function keyOf(
  key: unknown,
  where: () => string,
  onInvalidKey?: (key: string) => void,
): string | undefined {
  try {
    return checkKey(key);
  } catch (cause) {
    if (!onInvalidKey || typeof key !== 'string') {
      const reason = (cause as Error).message.replace(/\.$/, '');
      throw new InvalidBackup('key', where(), `has a key that cannot be stored: ${reason}`, cause);
    }
    onInvalidKey(key);
    return undefined;
  }
}

/**
 * The name of a backup file, with the local date: `codeforge-backup-2026-11-25.ndjson`.
 *
 * @param at When the backup was made.
 * @param form Decides the extension.
 */
export function backupFileName(at: Date = new Date(), form: BackupForm = 'ndjson'): string {
  const [year, month, day] = [at.getFullYear(), at.getMonth() + 1, at.getDate()].map(String);
  return `codeforge-backup-${year?.padStart(4, '0')}-${month?.padStart(2, '0')}-${day?.padStart(2, '0')}.${form}`;
}
