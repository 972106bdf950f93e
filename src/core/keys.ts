/**
 * What a key may be.
 *
 * A portable key is well-formed Unicode, 1 to 1,024 UTF-8 bytes, without U+0000. Keys are compared exactly, never
 * normalised.
 */
import { StorageError } from './errors.ts';

const MAX_KEY_BYTES = 1024;
/** U+0000, or half of a surrogate pair. */
const NOT_PORTABLE = /[\0\p{Surrogate}]/u;

/**
 * Check a key that is only read or deleted. It may be longer than what is accepted for writing, so that what a
 * database already holds stays readable and deletable.
 *
 * @throws {StorageError} `invalid-key`
 */
export function checkHeldKey(key: unknown, maxBytes = Number.POSITIVE_INFINITY): string {
  // A UTF-16 code unit is at most three bytes, so most keys need no counting.
  if (
    typeof key === 'string' &&
    key !== '' &&
    !NOT_PORTABLE.test(key) &&
    (key.length * 3 <= maxBytes || utf8Length(key) <= maxBytes)
  )
    return key;
  let shown: string = typeof key;
  if (typeof key === 'string') shown = JSON.stringify(key.slice(0, 64));
  if (typeof key === 'string' && key.length > 64) shown += `… (${utf8Length(key)} bytes)`;
  throw new StorageError(
    'invalid-key',
    `A key is a string of 1 to 1,024 UTF-8 bytes, well-formed and without U+0000, not ${shown}.`,
  );
}

/**
 * Check a key that is written.
 *
 * @throws {StorageError} `invalid-key`
 */
export const checkKey = (key: unknown): string => checkHeldKey(key, MAX_KEY_BYTES);

/** The number of bytes of `text` in UTF-8. Counted, not encoded: it is asked of every key and value that travels. */
export function utf8Length(text: string): number {
  let bytes = text.length;
  for (let i = 0; i < text.length; i++) {
    const point = text.codePointAt(i) as number;
    if (point > 0x7f) bytes += point > 0x7ff ? 2 : 1;
    // Two units, four bytes.
    if (point > 0xffff) i++;
  }
  return bytes;
}
