/**
 * Whether two JSON texts are the same value, digit by digit: an old server prints what it has parsed in its own way.
 *
 * The order of an object's members, spaces and escapes do not count. Numbers are compared as the decimals that they are, so
 * `1.10` is `1.1`, and `12345678901234567890` is not what a program of doubles makes of it.
 *
 * Spec: RFC 8259.
 */
import { createHash } from 'node:crypto';

/** Equal for equal values, and for others as good as never: 128 bits of the SHA-256 of the canonical text. */
export const fingerprint = (text: string): string =>
  createHash('sha256').update(canonical(text)).digest().toString('latin1', 0, 16);

/**
 * One text for all texts of a value.
 *
 * @param text A valid JSON text, of no more levels than a backup's reader lets through.
 */
function canonical(text: string): string {
  let at = 0;
  function next(): string {
    SPACE.lastIndex = at;
    SPACE.test(text);
    const start = Math.max(at, SPACE.lastIndex);
    if (text[start] === '"') at = endOfString(text, start);
    else {
      SCALAR.lastIndex = start;
      at = SCALAR.test(text) ? SCALAR.lastIndex : start + 1;
    }
    return text.slice(start, at);
  }
  function value(token: string): string {
    if (token === '{') return object();
    if (token === '[') return array();
    if (token.startsWith('"')) return string(token);
    return /^[-\d]/.test(token) ? number(token) : token;
  }
  function object(): string {
    // Of equal names the last one counts.
    const members = new Map<string, string>();
    for (let token = next(); token !== '}'; token = next()) {
      if (token === ',') continue;
      next();
      members.set(string(token), value(next()));
    }
    return `{${[...members].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, member]) => `${name}:${member}`)}}`;
  }
  function array(): string {
    const items: string[] = [];
    for (let token = next(); token !== ']'; token = next()) if (token !== ',') items.push(value(token));
    return `[${items}]`;
  }
  return value(next());
}

const SPACE = /[\t\n\r ]*/y;
const SCALAR = /[-+.\w]+/y;

/** The index after the string that opens at `start`. */
function endOfString(text: string, start: number): number {
  let quote = text.indexOf('"', start + 1);
  for (;;) {
    let before = quote;
    while (text[before - 1] === '\\') before -= 1;
    if ((quote - before) % 2 === 0) return quote + 1;
    quote = text.indexOf('"', quote + 1);
  }
}

/** Without needless escapes. */
const string = (token: string): string => (token.includes('\\') ? JSON.stringify(JSON.parse(token)) : token);

/** As digits without zeros at either end, and the power of ten that they count. */
function number(token: string): string {
  const [, sign = '', whole = '', fraction = '', power = '0'] =
    /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(token) ?? [];
  const all = (whole + fraction).replace(/^0+/, '');
  // By hand: a pattern would try every run of zeros on its way, and a number may be as long as a value.
  let end = all.length;
  while (all[end - 1] === '0') end -= 1;
  const digits = all.slice(0, end);
  if (digits === '') return '0';
  const exponent = BigInt(power) + BigInt(all.length - digits.length - fraction.length);
  return `${sign}${digits}e${exponent}`;
}
