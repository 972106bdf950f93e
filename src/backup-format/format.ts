/**
 * The backup format: what a backup file holds, in words that its writer and its reader share.
 *
 * NDJSON in UTF-8: a header, one record a line, and a last line with the number of records and the SHA-256 of all bytes
 * before it. A value is kept as the JSON text in which it travels, so that `12345678901234567890` and `1.10` come back
 * as they were. The older form is one bare JSON object without count or checksum.
 *
 * Spec: docs/contract.md, 8 and 11; RFC 8259; NDJSON (a JSON text a line).
 */
import { StorageError } from '../core/errors.ts';

/** What the header calls the format. */
export const FORMAT = 'codeforge-storage';

/** The version of the format that is written, and the newest that is read. */
export const VERSION = 1;

/** An entry as a backup holds it. */
export interface BackupRecord {
  /** A portable key. */
  readonly key: string;
  /** The JSON text of the value in the form in which it travels, without white space around it. */
  readonly text: string;
}

/** A running SHA-256: that of `node:crypto`, or of `@noble/hashes` where there is none. */
export interface Digest {
  update(bytes: Uint8Array): void;
  /** The digest of everything so far, as 64 lowercase hexadecimal digits. It ends the digest. */
  hex(): string;
}

/** The first line of a backup. */
export interface BackupHeader {
  version: typeof VERSION;
  /** When it began, in ISO 8601. */
  timestamp?: string;
  /** The number of keys that were expected when it began. The last line has the number that came. */
  keys?: number;
  /** The epoch of the server that wrote it. */
  epoch?: string;
  /** The revision of that server's data of which it is the state. */
  seq?: number;
}

/** What a backup turned out to be, once all of it was read. */
export interface BackupSummary {
  form: BackupForm;
  /** Only NDJSON has one. */
  header?: BackupHeader;
  /** The number of records that were read. */
  count: number;
  /** `absent` in bare objects, and in NDJSON of servers that write none. */
  checksum: 'verified' | 'absent';
}

/** Lines with a checksum, or one bare object. */
export type BackupForm = 'ndjson' | 'json';

/**
 * Refuse a backup.
 *
 * @param where `Line 3` or `Byte 17`, or `The file`.
 * @param what What is wrong there, as the rest of that sentence.
 * @param advice What to do instead of importing it.
 * @throws {StorageError} `invalid-backup`, always.
 */
export function refuse(
  where: string,
  what: string,
  cause?: unknown,
  advice = 'take another one, or fetch it again',
): never {
  throw new StorageError(
    'invalid-backup',
    `${where} ${what}. Nothing should be imported from this backup: ${advice}.`,
    cause === undefined ? undefined : { cause },
  );
}
