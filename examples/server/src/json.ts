/**
 * Finds the values in a JSON text, so that they can be stored exactly as they were sent: no digit, escape or space
 * changes. All functions expect a text that `JSON.parse` accepts. None of them recurses.
 *
 * Spec: RFC 8259.
 */

const QUOTE = 0x22;
const COMMA = 0x2c;
const OPEN_BRACKET = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

/**
 * The members of an object: name and raw text of the value. The last of equal names counts, as in `JSON.parse`.
 *
 * @param text A valid JSON text whose value is an object.
 */
export function members(text: string): Array<[string, string]> {
  const found = new Map<string, string>();
  let at = skipSpace(text, text.indexOf('{') + 1);
  while (text.charCodeAt(at) !== CLOSE_BRACE) {
    const nameEnd = endOfString(text, at);
    const start = skipSpace(text, text.indexOf(':', nameEnd) + 1);
    const end = endOfValue(text, start);
    found.set(unquote(text.slice(at, nameEnd)), text.slice(start, end));
    at = skipSpace(text, end);
    if (text.charCodeAt(at) === COMMA) at = skipSpace(text, at + 1);
  }
  return [...found];
}

/**
 * The raw texts of an array's elements.
 *
 * @param text A valid JSON text whose value is an array.
 */
export function elements(text: string): string[] {
  const found: string[] = [];
  let at = skipSpace(text, text.indexOf('[') + 1);
  while (text.charCodeAt(at) !== CLOSE_BRACKET) {
    const end = endOfValue(text, at);
    found.push(text.slice(at, end));
    at = skipSpace(text, end);
    if (text.charCodeAt(at) === COMMA) at = skipSpace(text, at + 1);
  }
  return found;
}

/**
 * Whether arrays and objects nest deeper than `limit` levels. A scalar has no level, `[]` has one.
 *
 * @param text A valid JSON text.
 */
export function nestsDeeperThan(text: string, limit: number): boolean {
  // A level needs two characters, so most texts are too short.
  if (text.length <= limit * 2) return false;
  let depth = 0;
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) at = endOfString(text, at) - 1;
    else if (code === OPEN_BRACE || code === OPEN_BRACKET) {
      depth += 1;
      if (depth > limit) return true;
    } else if (code === CLOSE_BRACE || code === CLOSE_BRACKET) depth -= 1;
  }
  return false;
}

function skipSpace(text: string, from: number): number {
  let at = from;
  // Between the tokens of valid JSON the only characters up to U+0020 are tab, line feed, carriage return and space.
  while (text.charCodeAt(at) <= 0x20) at += 1;
  return at;
}

/** The index after the string that starts at `start`. */
function endOfString(text: string, start: number): number {
  let at = text.indexOf('"', start + 1);
  while (isEscaped(text, at)) at = text.indexOf('"', at + 1);
  return at + 1;
}

function isEscaped(text: string, at: number): boolean {
  let before = at - 1;
  while (text.charCodeAt(before) === BACKSLASH) before -= 1;
  return (at - before) % 2 === 0;
}

/** The index after the value that starts at `start`. */
function endOfValue(text: string, start: number): number {
  const code = text.charCodeAt(start);
  if (code === QUOTE) return endOfString(text, start);
  return code === OPEN_BRACE || code === OPEN_BRACKET ? endOfNest(text, start) : endOfScalar(text, start);
}

function endOfNest(text: string, start: number): number {
  let depth = 0;
  let at = start;
  do {
    const code = text.charCodeAt(at);
    if (code === QUOTE) {
      at = endOfString(text, at);
      continue;
    }
    if (code === OPEN_BRACE || code === OPEN_BRACKET) depth += 1;
    else if (code === CLOSE_BRACE || code === CLOSE_BRACKET) depth -= 1;
    at += 1;
  } while (depth > 0);
  return at;
}

/** A number, `true`, `false` or `null` in an array or object ends at white space, a comma or a closing bracket. */
function endOfScalar(text: string, start: number): number {
  let at = start;
  for (;;) {
    const code = text.charCodeAt(at);
    if (code <= 0x20 || code === COMMA || code === CLOSE_BRACE || code === CLOSE_BRACKET) return at;
    at += 1;
  }
}

function unquote(string: string): string {
  return string.includes('\\') ? JSON.parse(string) : string.slice(1, -1);
}
