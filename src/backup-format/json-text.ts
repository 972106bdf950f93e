/**
 * The parts of a JSON text, taken out as text: no digit, escape or space of a value changes.
 *
 * {@link membersOf} and {@link elementsOf} take a whole text that `JSON.parse` has accepted. {@link ObjectSplitter} takes an
 * object in pieces and checks it. Nothing recurses, and each character is read a fixed number of times.
 *
 * Spec: RFC 8259.
 */

/** The most levels of arrays and objects in a value. Both backends refuse deeper ones. */
export const MAX_DEPTH = 200;

/** The most characters of one member: a little less than the longest string of V8. */
export const MAX_MEMBER = 2 ** 29 - 1024;

const QUOTE = 0x22;
const COMMA = 0x2c;
const COLON = 0x3a;
const OPEN_BRACKET = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

/** Whether `text` consists of JSON's white space. */
export const isBlank = (text: string): boolean => /^[\t\n\r ]*$/.test(text);

/**
 * The members of an object: the raw text of each value by its name. Of equal names the last one wins, as in `JSON.parse`.
 *
 * @param text A valid JSON text whose value is an object.
 */
export function membersOf(text: string): Map<string, string> {
  const members = new Map<string, string>();
  let at = skipSpace(text, text.indexOf('{') + 1);
  while (text.charCodeAt(at) !== CLOSE_BRACE) {
    const nameEnd = endOfString(text, at);
    const start = skipSpace(text, text.indexOf(':', nameEnd) + 1);
    const end = endOfValue(text, start);
    const name = text.slice(at, nameEnd);
    members.set(name.includes('\\') ? JSON.parse(name) : name.slice(1, -1), text.slice(start, end));
    at = skipSpace(text, end);
    if (text.charCodeAt(at) === COMMA) at = skipSpace(text, at + 1);
  }
  return members;
}

/**
 * The raw texts of an array's elements.
 *
 * @param text A valid JSON text whose value is an array.
 */
export function elementsOf(text: string): string[] {
  const elements: string[] = [];
  let at = skipSpace(text, text.indexOf('[') + 1);
  while (text.charCodeAt(at) !== CLOSE_BRACKET) {
    const end = endOfValue(text, at);
    elements.push(text.slice(at, end));
    at = skipSpace(text, end);
    if (text.charCodeAt(at) === COMMA) at = skipSpace(text, at + 1);
  }
  return elements;
}

/**
 * Whether arrays and objects nest deeper than `limit` levels. A scalar has no level, `[]` has one.
 *
 * @param text A valid JSON text.
 */
export function nestsDeeperThan(limit: number, text: string): boolean {
  // Each level takes two characters, so most texts need no look.
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

/** The index after the string that starts at `start`. */
export function endOfString(text: string, start: number): number {
  let at = text.indexOf('"', start + 1);
  while (isEscaped(text, at, start)) at = text.indexOf('"', at + 1);
  return at + 1;
}

/** Whether an odd number of backslashes directly precedes `at`. Only those from `from` on count. */
function isEscaped(text: string, at: number, from: number): boolean {
  let first = at;
  while (first > from && text.charCodeAt(first - 1) === BACKSLASH) first -= 1;
  return (at - first) % 2 === 1;
}

function skipSpace(text: string, from: number): number {
  let at = from;
  // In valid JSON, white space is the only thing up to U+0020 between tokens.
  while (text.charCodeAt(at) <= 0x20) at += 1;
  return at;
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

/** Inside a bracket, a number, `true`, `false` or `null` ends at white space, a comma or the closing bracket. */
function endOfScalar(text: string, start: number): number {
  let at = start;
  for (;;) {
    const code = text.charCodeAt(at);
    if (code <= 0x20 || code === COMMA || code === CLOSE_BRACE || code === CLOSE_BRACKET) return at;
    at += 1;
  }
}

/** A member of an object: its name, and the raw text of its value without white space around it. */
export type Member = readonly [name: string, text: string];

/** A text that is not what it should be. */
export class Malformed extends Error {
  /** Where, in the piece that was pushed last. */
  readonly index: number;

  /** @param message The rest of a sentence whose subject is the place. */
  constructor(message: string, index: number, options?: ErrorOptions) {
    super(message, options);
    this.index = index;
  }
}

/**
 * Splits the text of one object that comes in pieces.
 *
 * It follows only strings, escapes and brackets; `JSON.parse` checks each member. After an error it must not be used again.
 */
export class ObjectSplitter {
  /** Whether the object's closing brace has come. */
  ended = false;

  #depth = 0;
  #inString = false;
  /** Whether the last piece ended after a backslash that escapes the next character. */
  #escaped = false;
  /** The start of the name or value that is not complete yet. */
  #open = '';
  /** The raw text of the name whose value is being read. */
  #name: string | undefined;
  /** Whether a comma announced another member. */
  #announced = false;

  /**
   * The members that the next piece completes.
   *
   * @throws {Malformed} if this is not a JSON object, or a value nests deeper than 200 levels.
   */
  push(text: string): Member[] {
    const members: Member[] = [];
    let depth = this.#depth;
    let from = 0;
    let at = 0;
    const take = (): string => {
      const taken = this.#open + text.slice(from, at);
      this.#open = '';
      from = at + 1;
      return taken;
    };
    while (at < text.length) {
      if (this.#inString) {
        at = this.#skipString(text, at);
        continue;
      }
      const code = text.charCodeAt(at);
      if (depth === 0) {
        if (this.#opens(code, at)) depth = 1;
        from = at + 1;
      } else if (code === QUOTE) {
        this.#inString = true;
      } else if (code === OPEN_BRACE || code === OPEN_BRACKET) {
        depth += 1;
        if (depth > MAX_DEPTH + 1) throw new Malformed(`nests deeper than ${MAX_DEPTH} levels`, at);
      } else if (code === CLOSE_BRACE || code === CLOSE_BRACKET) {
        depth -= 1;
        if (depth === 0) this.#close(code, take(), at, members);
      } else if (depth === 1) {
        if (code === COLON && this.#name === undefined) this.#name = take();
        else if (code === COMMA) {
          members.push(this.#member(take(), at));
          this.#announced = true;
        }
      }
      at += 1;
    }
    this.#depth = depth;
    if (depth > 0) this.#keep(text, from);
    return members;
  }

  #keep(text: string, from: number): void {
    if (this.#open.length + text.length > MAX_MEMBER) throw new Malformed('is too long to be read', 0);
    this.#open += text.slice(from);
  }

  /** Whether the object begins here. Only white space may surround it. */
  #opens(code: number, at: number): boolean {
    if (code === 0x20 || code === 0x0a || code === 0x0d || code === 0x09) return false;
    if (this.ended) throw new Malformed('has text after the JSON object', at);
    if (code !== OPEN_BRACE) throw new Malformed('is not a JSON object', at);
    return true;
  }

  #close(code: number, text: string, at: number, members: Member[]): void {
    if (code !== CLOSE_BRACE) throw new Malformed('is not valid JSON: a closing bracket does not match', at);
    const isEmpty = this.#name === undefined && !this.#announced && isBlank(text);
    if (!isEmpty) members.push(this.#member(text, at));
    this.ended = true;
  }

  #member(text: string, at: number): Member {
    if (this.#name === undefined) throw new Malformed('is not valid JSON: a member has no colon', at);
    const name = parse(this.#name, 'is not valid JSON: the name of a member', at);
    if (typeof name !== 'string') throw new Malformed('is not valid JSON: a name is not a string', at);
    parse(text, `has invalid JSON as the value of ${JSON.stringify(name.slice(0, 64))}`, at);
    this.#name = undefined;
    // Valid JSON has no other white space around it than trim() removes.
    return [name, text.trim()];
  }

  /** The index after the string that contains `at`, or the length of the text if the string continues. */
  #skipString(text: string, at: number): number {
    let from = at;
    if (this.#escaped) from += 1;
    this.#escaped = false;
    for (;;) {
      const quote = text.indexOf('"', from);
      const end = quote === -1 ? text.length : quote;
      const escaped = isEscaped(text, end, from);
      if (quote === -1) {
        this.#escaped = escaped;
        return end;
      }
      from = quote + 1;
      if (escaped) continue;
      this.#inString = false;
      return from;
    }
  }
}

function parse(text: string, what: string, at: number): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new Malformed(what, at, { cause });
  }
}
