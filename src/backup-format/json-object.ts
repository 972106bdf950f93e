/**
 * The older form of a backup: one JSON object with a member per entry, as programs of level 0 exchange it.
 *
 * It has no count and no checksum. A reader can only tell that the object is complete and valid. A name that comes twice is
 * two records, of which the later one wins.
 */
import { utf8Length } from '../core/keys.ts';
import { BYTE_ORDER_MARK, decode, encoded, firstInvalid, joined, openBytes } from './bytes.ts';
import { type BackupRecord, type BackupSummary, InvalidBackup, keyOf } from './format.ts';
import { Malformed, ObjectSplitter } from './json-text.ts';

/**
 * Writes one JSON object, a member per line, in pieces of about 64 KiB.
 *
 * @param records Distinct valid keys with valid JSON texts.
 */
export async function* writeObject(
  records: AsyncIterable<readonly BackupRecord[]>,
): AsyncGenerator<Uint8Array<ArrayBuffer>, void> {
  async function* members(): AsyncGenerator<readonly string[], void> {
    // With only a brace on the first line, no reader takes it for the header of NDJSON, whatever the keys are.
    yield ['{'];
    let before = '\n';
    for await (const page of records) {
      yield page.map(({ key, text }) => {
        const member = `${before}${JSON.stringify(key)}:${text}`;
        before = ',\n';
        return member;
      });
    }
    yield ['\n}\n'];
  }
  yield* encoded(members());
}

/** Reads the bytes of one JSON object as they come. */
export class ObjectReader {
  readonly #take: (record: BackupRecord) => void;
  readonly #onInvalidKey: ((key: string) => void) | undefined;
  readonly #splitter = new ObjectSplitter();
  /** The start of a character that the last bytes did not complete. */
  #open: Uint8Array = new Uint8Array();
  /** The number of bytes before `#open`. */
  #read = 0;
  #count = 0;

  /**
   * A reader of one object.
   *
   * @param take Receives each record.
   * @param onInvalidKey Receives each key that cannot be stored. Its record is counted and skipped.
   */
  constructor(take: (record: BackupRecord) => void, onInvalidKey?: (key: string) => void) {
    this.#take = take;
    this.#onInvalidKey = onInvalidKey;
  }

  /** @throws {InvalidBackup} */
  push(bytes: Uint8Array): void {
    const known = joined([this.#open, bytes]);
    const end = known.length - openBytes(known);
    // A copy of `known`, which is one itself: the caller may reuse the memory of `bytes`.
    this.#open = known.slice(end);
    this.#split(known.subarray(0, end));
    this.#read += end;
  }

  /** @throws {InvalidBackup} if the object is not complete. */
  finish(): BackupSummary {
    const isInCharacter = this.#open.length > 0;
    if (isInCharacter || !this.#splitter.ended)
      throw new InvalidBackup(
        'incomplete',
        'The file',
        `is cut: it ends at byte ${this.#read + this.#open.length}, inside ${isInCharacter ? 'a character' : 'its JSON object'}`,
      );
    return { form: 'json', count: this.#count, checksum: 'absent' };
  }

  #split(bytes: Uint8Array): void {
    let text: string;
    try {
      text = decode(bytes);
    } catch (cause) {
      throw new InvalidBackup('malformed', `Byte ${this.#read + firstInvalid(bytes)}`, 'is not UTF-8', cause);
    }
    const start = this.#read === 0 && text.startsWith(BYTE_ORDER_MARK) ? 1 : 0;
    try {
      for (const [name, value] of this.#splitter.push(text.slice(start))) {
        const key = keyOf(name, () => `Member ${this.#count + 1}`, this.#onInvalidKey);
        if (key !== undefined) this.#take({ key, text: value });
        this.#count += 1;
      }
    } catch (error) {
      if (!(error instanceof Malformed)) throw error;
      const at = this.#read + utf8Length(text.slice(0, start + error.index));
      throw new InvalidBackup('malformed', `The JSON object, at byte ${at},`, error.message, error);
    }
  }
}
