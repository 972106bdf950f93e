/**
 * Ranges of string keys.
 *
 * Spec: W3C Indexed Database API 3.0, §2.4 Keys.
 */

/** The least key that is no string: keys of other types are not ours. */
const END_OF_STRINGS = new ArrayBuffer(0);

/** The least key above every key that begins with `prefix`. */
export function endOf(prefix: string): IDBValidKey {
  for (let end = prefix.length - 1; end >= 0; end--) {
    const unit = prefix.charCodeAt(end);
    if (unit < 0xffff) return prefix.slice(0, end) + String.fromCharCode(unit + 1);
  }
  return END_OF_STRINGS;
}

/** All string keys that begin with `prefix`. */
export const rangeOf = (prefix: string): IDBKeyRange => IDBKeyRange.bound(prefix, endOf(prefix), false, true);
