/**
 * Whether two JSON texts are the same value, with all digits: an old server prints what it has parsed in its own way.
 *
 * The order of an object's members, white space and escapes do not matter. Numbers are compared as decimals: `1.10` equals
 * `1.1`, and `12345678901234567890` differs from what a double makes of it.
 *
 * Spec: RFC 8259.
 */
import { createHash } from 'node:crypto';
import { endOfString } from '../../backup-format/json-text.ts';

/** Equal for equal values; different for different ones, up to collisions of 128 bits of SHA-256. */
export const fingerprint = (text: string): string =>
  createHash('sha256').update(canonical(text)).digest().toString('latin1', 0, 16);

/**
 * The same text for every text of a value.
 *
 * @param text A valid JSON text that nests no deeper than a backup's reader allows, because this recurses.
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
    // Of equal names the last one wins.
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

/** The string with only the escapes that it needs. */
const string = (token: string): string => (token.includes('\\') ? JSON.stringify(JSON.parse(token)) : token);

/** The significant digits, and the power of ten that they are multiplied by. */
function number(token: string): string {
  const [, sign = '', whole = '', fraction = '', power = '0'] =
    /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(token) ?? [];
  const all = (whole + fraction).replace(/^0+/, '');
  // Not with a pattern: it would try every run of zeros on its way, and a number may be as long as a value.
  let end = all.length;
  while (all[end - 1] === '0') end -= 1;
  const digits = all.slice(0, end);
  if (digits === '') return '0';
  const exponent = BigInt(power) + BigInt(all.length - digits.length - fraction.length);
  return `${sign}${digits}e${exponent}`;
}
