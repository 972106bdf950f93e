/**
 * The order of keys: that of their UTF-8 bytes, which is the order of code points. It is not JavaScript's `<`, which compares
 * UTF-16 code units.
 */

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
