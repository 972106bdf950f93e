/** The bytes of a backup: strict decoding, encoding in pieces, splitting and joining. Spec: Encoding Standard, UTF-8. */

/** The byte order mark, U+FEFF. Some editors write it at the start of a file; readers skip it there. */
export const BYTE_ORDER_MARK = '\uFEFF';

/** Characters after which a writer hands on a piece. */
const PIECE = 64 * 1024;

const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const encoder = new TextEncoder();

/** UTF-8. */
export const encode = (text: string): Uint8Array<ArrayBuffer> => encoder.encode(text);

/**
 * The text of `bytes`, including a byte order mark.
 *
 * @throws {TypeError} if they are not UTF-8; {@link firstInvalid} returns where.
 */
export const decode = (bytes: Uint8Array): string => strict.decode(bytes);

/** The text of any bytes, for a message: what is not UTF-8 becomes U+FFFD. */
export const show = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

/** The index of the first byte that is not UTF-8. The length, if the bytes only end inside a character. */
export function firstInvalid(bytes: Uint8Array): number {
  let low = 0;
  let high = bytes.length;
  while (low < high) {
    const middle = (low + high + 1) >>> 1;
    try {
      new TextDecoder('utf-8', { fatal: true }).decode(bytes.subarray(0, middle), { stream: true });
      low = middle;
    } catch {
      high = middle - 1;
    }
  }
  return low;
}

/** The number of bytes at the end of `bytes` that begin a character without completing it. */
export function openBytes(bytes: Uint8Array): number {
  for (let back = 1; back <= 3; back += 1) {
    const byte = bytes[bytes.length - back] ?? 0;
    if (byte >> 6 === 0b10) continue;
    const whole = byte < 0xc0 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
    return back < whole ? back : 0;
  }
  return 0;
}

/** One array made of several. A single one is returned as it is, not copied. */
export function joined(parts: readonly Uint8Array[]): Uint8Array {
  const [only] = parts;
  if (only !== undefined && parts.length === 1) return only;
  const whole = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** `bytes` in pieces of at most `size` bytes, which share its memory. */
export function* piecesOf(bytes: Uint8Array, size: number): Generator<Uint8Array, void> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

/** Texts, encoded in pieces of about 64 KiB. A longer text is one piece. */
export async function* encoded(
  pages: AsyncIterable<readonly string[]>,
): AsyncGenerator<Uint8Array<ArrayBuffer>, void> {
  let piece = '';
  for await (const page of pages) {
    for (const text of page) {
      piece += text;
      if (piece.length < PIECE) continue;
      yield encode(piece);
      piece = '';
    }
  }
  if (piece !== '') yield encode(piece);
}
