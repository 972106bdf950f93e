/**
 * Writes backups: NDJSON with a checksum, or the bare object that programs of level 0 read.
 *
 * Memory is flat: one page of records and one piece of the text at a time.
 *
 * Spec: docs/contract.md, 8.
 */
import { type BackupHeader, type BackupRecord, type Digest, FORMAT, VERSION } from './format.ts';

/** Characters after which a piece is handed on. */
const PIECE = 64 * 1024;

/**
 * The bytes of a backup as NDJSON, in pieces of about 64 KiB (a larger record is one piece). It is complete when, and only
 * when, the generator has ended; until then the last line is missing, and every reader refuses it.
 *
 * @param records Portable keys with valid JSON texts. Line breaks between the tokens of a text become spaces.
 * @param digest A fresh one.
 */
export async function* writeBackup(
  records: AsyncIterable<readonly BackupRecord[]>,
  header: Omit<BackupHeader, 'version'>,
  digest: Digest,
): AsyncGenerator<Uint8Array<ArrayBuffer>, void> {
  let count = 0;
  async function* lines(): AsyncGenerator<readonly string[], void> {
    yield [`${JSON.stringify({ format: FORMAT, version: VERSION, ...header })}\n`];
    for await (const page of records) {
      count += page.length;
      yield page.map(({ key, text }) => `{"key":${JSON.stringify(key)},"value":${onOneLine(text)}}\n`);
    }
  }
  for await (const piece of pieces(lines())) {
    // Before it is handed on: whoever gets it may transfer its memory.
    digest.update(piece);
    yield piece;
  }
  yield encoder.encode(`${JSON.stringify({ end: true, count, sha256: digest.hex() })}\n`);
}

/**
 * The bytes of a backup as one bare JSON object, a member a line, in pieces of about 64 KiB. It has neither count nor
 * checksum.
 *
 * @param records Different portable keys with valid JSON texts.
 */
export async function* writeObject(
  records: AsyncIterable<readonly BackupRecord[]>,
): AsyncGenerator<Uint8Array<ArrayBuffer>, void> {
  async function* members(): AsyncGenerator<readonly string[], void> {
    // A first line that is only a brace can never be taken for the header of NDJSON, whatever the keys are.
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
  yield* pieces(members());
}

const encoder = new TextEncoder();

async function* pieces(
  pages: AsyncIterable<readonly string[]>,
): AsyncGenerator<Uint8Array<ArrayBuffer>, void> {
  let piece = '';
  for await (const page of pages) {
    for (const text of page) {
      piece += text;
      if (piece.length < PIECE) continue;
      yield encoder.encode(piece);
      piece = '';
    }
  }
  if (piece !== '') yield encoder.encode(piece);
}

/** Inside strings JSON has no raw line breaks, so they stand between tokens only, where a space does as well. */
function onOneLine(text: string): string {
  return text.includes('\n') || text.includes('\r') ? text.replace(/[\r\n]/g, ' ') : text;
}
