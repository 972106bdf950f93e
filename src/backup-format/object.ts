/**
 * Reads the older form of a backup: one bare JSON object, a member an entry.
 *
 * It has no checksum: what is guaranteed is that the object is whole and valid. A name that comes twice is two records,
 * of which the later one counts.
 */

import { utf8Length } from '../core/keys.ts';
import { BYTE_ORDER_MARK, decode, firstInvalid, joined, openBytes } from './bytes.ts';
import { type BackupRecord, type BackupSummary, refuse } from './format.ts';
import { Malformed, ObjectSplitter } from './json.ts';
import { keyOf, type LeaveOut } from './key.ts';

/** Takes the bytes of a bare object as they come. */
export class ObjectReader {
  readonly #take: (record: BackupRecord) => void;
  readonly #leaveOut: LeaveOut | undefined;
  readonly #splitter = new ObjectSplitter();
  /** The beginning of a character that the last bytes ended in. */
  #open: Uint8Array = new Uint8Array();
  /** Bytes before `#open`. */
  #read = 0;
  #count = 0;

  constructor(take: (record: BackupRecord) => void, leaveOut?: LeaveOut) {
    this.#take = take;
    this.#leaveOut = leaveOut;
  }

  /** @throws {StorageError} `invalid-backup` */
  push(bytes: Uint8Array): void {
    const known = joined([this.#open, bytes]);
    const end = known.length - openBytes(known);
    // Of `known`, which is a copy: whoever owns the bytes may use their memory again.
    this.#open = known.slice(end);
    this.#text(known.subarray(0, end));
    this.#read += end;
  }

  /** @throws {StorageError} `invalid-backup` */
  finish(): BackupSummary {
    const isInCharacter = this.#open.length > 0;
    if (isInCharacter || !this.#splitter.ended)
      refuse(
        `The file ends at byte ${this.#read + this.#open.length}, inside ${isInCharacter ? 'a character' : 'its JSON object'}, and`,
        'is cut: the rest is missing',
      );
    return { form: 'json', count: this.#count, checksum: 'absent' };
  }

  #text(bytes: Uint8Array): void {
    let text: string;
    try {
      text = decode(bytes);
    } catch (cause) {
      refuse(`Byte ${this.#read + firstInvalid(bytes)}`, 'is no UTF-8', cause);
    }
    const start = this.#read === 0 && text.startsWith(BYTE_ORDER_MARK) ? 1 : 0;
    try {
      for (const [name, value] of this.#splitter.push(text.slice(start))) {
        const key = keyOf(name, () => `Member ${this.#count + 1}`, this.#leaveOut);
        if (key !== undefined) this.#take({ key, text: value });
        this.#count += 1;
      }
    } catch (error) {
      if (!(error instanceof Malformed)) throw error;
      const at = this.#read + utf8Length(text.slice(0, start + error.index));
      refuse(`The JSON object, at byte ${at},`, error.message, error);
    }
  }
}
