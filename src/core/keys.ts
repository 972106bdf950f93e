/**
 * What a key may be, and the order of keys.
 *
 * A portable key is well-formed Unicode, 1 to 1,024 UTF-8 bytes, without U+0000. Keys are compared exactly,
 * never normalised. Their order is the order of their UTF-8 bytes, which is the order of code points; it is not
 * JavaScript's `<`, which compares UTF-16 code units.
 */
import { StorageError } from './errors.ts';

const MAX_KEY_BYTES = 1024;
/** U+0000, or half of a surrogate pair. */
const NOT_PORTABLE = /[\0\p{Surrogate}]/u;

const invalid = (key: string, reason: string): StorageError => {
  const shown = key.length > 64 ? `${key.slice(0, 64)}…` : key;
  return new StorageError(
    'invalid-key',
    `The key ${JSON.stringify(shown)} ${reason}: use 1 to 1,024 UTF-8 bytes of well-formed text without U+0000.`,
  );
};

/**
 * Check a key that is only read or deleted. It may be longer than what is accepted for writing, so that what a
 * database already holds stays readable and deletable.
 *
 * @throws {StorageError} `invalid-key`
 */
export function checkHeldKey(key: unknown): string {
  if (typeof key !== 'string') throw new StorageError('invalid-key', `A key is a string, not ${typeof key}.`);
  if (key === '') throw invalid(key, 'is empty');
  if (NOT_PORTABLE.test(key)) throw invalid(key, 'holds U+0000 or half of a surrogate pair');
  return key;
}

/**
 * Check a key that is written.
 *
 * @throws {StorageError} `invalid-key`
 */
export function checkKey(key: unknown): string {
  const text = checkHeldKey(key);
  // A UTF-16 code unit is at most three bytes, so most keys need no counting.
  if (text.length * 3 > MAX_KEY_BYTES && utf8Length(text) > MAX_KEY_BYTES) {
    throw invalid(text, `is ${utf8Length(text)} bytes long`);
  }
  return text;
}

/** The number of bytes of `text` in UTF-8. */
export const utf8Length = (text: string): number => new TextEncoder().encode(text).length;

/** Byte order of UTF-8, for `Array.prototype.sort`. */
export function compareKeys(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const x = a.charCodeAt(i);
    const y = b.charCodeAt(i);
    // Surrogates (U+D800 to U+DFFF) stand for code points above every other code unit.
    if (x !== y) return codePointRank(x) - codePointRank(y);
  }
  return a.length - b.length;
}

const codePointRank = (unit: number): number => (unit >= 0xd800 && unit <= 0xdfff ? unit + 0x10000 : unit);
