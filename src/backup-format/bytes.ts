/** Bytes of a backup: put together, taken apart and decoded, strictly. Spec: Encoding Standard, UTF-8. */

/** The byte order mark, U+FEFF. Some editors put it at the beginning of a file; it is no part of any text here. */
export const BYTE_ORDER_MARK = '\uFEFF';

const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * The text of `bytes`, with the byte order mark if there is one.
 *
 * @throws {TypeError} when they are not UTF-8; {@link firstInvalid} says where.
 */
export const decode = (bytes: Uint8Array): string => strict.decode(bytes);

/** The text of `bytes`, whatever they are, to show it. */
export const show = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

/** The index of the first byte that is not UTF-8, or the length where it only ends inside a character. */
export function firstInvalid(bytes: Uint8Array): number {
  let low = 0;
  let high = bytes.length;
  while (low < high) {
    const middle = (low + high + 1) >>> 1;
    try {
      const decoder = new TextDecoder('utf-8', { fatal: true });
      decoder.decode(bytes.subarray(0, middle), { stream: true });
      low = middle;
    } catch {
      high = middle - 1;
    }
  }
  return low;
}

/** How many bytes at the end of `bytes` begin a character that is not complete. */
export function openBytes(bytes: Uint8Array): number {
  for (let back = 1; back <= 3; back += 1) {
    const byte = bytes[bytes.length - back] ?? 0;
    if (byte >> 6 === 0b10) continue;
    const whole = byte < 0xc0 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
    return back < whole ? back : 0;
  }
  return 0;
}

/** One array of several. A single one is not copied. */
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

/** `bytes` in pieces of at most `size`, which share its memory. */
export function* piecesOf(bytes: Uint8Array, size: number): Generator<Uint8Array, void> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}
