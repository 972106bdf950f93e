/**
 * The members of a JSON object, taken out of its text as they are, while the text comes in pieces.
 *
 * The splitter itself only follows strings, escapes and brackets to know where a member ends. That what lies between is
 * JSON is left to `JSON.parse`, whose result is dropped: no digit, escape or space of a value changes. Each character is
 * looked at once, however the text is cut, and nothing recurses.
 *
 * Spec: RFC 8259.
 */

/** Levels of arrays and objects in a value. Deeper ones are refused by both backends. */
export const MAX_DEPTH = 200;

/** Characters of one member at most. The longest string that V8 can hold is a little longer. */
export const MAX_MEMBER = 2 ** 29 - 1024;

const QUOTE = 0x22;
const COMMA = 0x2c;
const COLON = 0x3a;
const OPEN_BRACKET = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

/** Whether `text` holds nothing but the white space of JSON. */
export const isBlank = (text: string): boolean => /^[\t\n\r ]*$/.test(text);

/** Whether the arrays and objects of parsed JSON nest deeper than `limit` levels; a scalar has none, `[]` has one. */
export function nestsDeeperThan(limit: number, json: unknown): boolean {
  if (typeof json !== 'object' || json === null) return false;
  if (limit === 0) return true;
  if (Array.isArray(json)) return json.some((item) => nestsDeeperThan(limit - 1, item));
  for (const name in json) {
    if (nestsDeeperThan(limit - 1, (json as Record<string, unknown>)[name])) return true;
  }
  return false;
}

/** A member of an object: its name, and the raw text of its value without the white space around it. */
export type Member = readonly [name: string, text: string];

/** What is wrong with a text. */
export class Malformed extends Error {
  /** Where in the piece that was pushed last. */
  readonly index: number;

  /** @param message What is wrong, as the rest of a sentence that begins with where it is. */
  constructor(message: string, index: number, options?: ErrorOptions) {
    super(message, options);
    this.index = index;
  }
}

/** Splits the text of one object. After it has thrown it is of no more use. */
export class ObjectSplitter {
  /** Whether the object's closing brace was met. */
  ended = false;

  #depth = 0;
  #inString = false;
  /** Whether the last piece ended behind a backslash that escapes what comes next. */
  #escaped = false;
  /** What earlier pieces held of the name or value that is not complete. */
  #held = '';
  /** The raw text of the name whose value is being read. */
  #name: string | undefined;
  /** Whether a comma promised another member. */
  #promised = false;

  /**
   * The members that are complete with the next piece of the text.
   *
   * @throws {Malformed} at anything that is no JSON object, and at values nested over 200 levels.
   */
  push(text: string): Member[] {
    const found: Member[] = [];
    let depth = this.#depth;
    let from = 0;
    let at = 0;
    const take = (): string => {
      const taken = this.#held + text.slice(from, at);
      this.#held = '';
      from = at + 1;
      return taken;
    };
    while (at < text.length) {
      if (this.#inString) {
        at = this.#passString(text, at);
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
        if (depth > MAX_DEPTH + 1) throw new Malformed(`is nested over ${MAX_DEPTH} levels deep`, at);
      } else if (code === CLOSE_BRACE || code === CLOSE_BRACKET) {
        depth -= 1;
        if (depth === 0) this.#close(code, take(), at, found);
      } else if (depth === 1) {
        if (code === COLON && this.#name === undefined) this.#name = take();
        else if (code === COMMA) {
          found.push(this.#member(take(), at));
          this.#promised = true;
        }
      }
      at += 1;
    }
    this.#depth = depth;
    if (depth > 0) this.#hold(text, from);
    return found;
  }

  #hold(text: string, from: number): void {
    if (this.#held.length + text.length > MAX_MEMBER) throw new Malformed('is longer than can be read', 0);
    this.#held += text.slice(from);
  }

  /** Whether the object begins here. There is only white space around it. */
  #opens(code: number, at: number): boolean {
    if (code === 0x20 || code === 0x0a || code === 0x0d || code === 0x09) return false;
    if (this.ended) throw new Malformed('follows the end of the JSON object', at);
    if (code !== OPEN_BRACE) throw new Malformed('is no JSON object', at);
    return true;
  }

  #close(code: number, text: string, at: number, found: Member[]): void {
    if (code !== CLOSE_BRACE) throw new Malformed('is no valid JSON: a closing bracket without its own', at);
    const isEmpty = this.#name === undefined && !this.#promised && isBlank(text);
    if (!isEmpty) found.push(this.#member(text, at));
    this.ended = true;
  }

  #member(text: string, at: number): Member {
    if (this.#name === undefined) throw new Malformed('is no valid JSON: a member without a colon', at);
    const name = parse(this.#name, 'is no valid JSON: the name of a member', at);
    if (typeof name !== 'string') throw new Malformed('is no valid JSON: a name that is no string', at);
    parse(text, `holds no valid JSON under ${JSON.stringify(name.slice(0, 64))}`, at);
    this.#name = undefined;
    // Around valid JSON there is no white space but that of JSON.
    return [name, text.trim()];
  }

  /** The index behind the string that `at` lies in, or the length of the text where it goes on. */
  #passString(text: string, at: number): number {
    let from = at;
    if (this.#escaped) from += 1;
    this.#escaped = false;
    for (;;) {
      const quote = text.indexOf('"', from);
      const end = quote === -1 ? text.length : quote;
      const isEscaped = (end - firstBackslash(text, from, end)) % 2 === 1;
      if (quote === -1) {
        this.#escaped = isEscaped;
        return end;
      }
      from = quote + 1;
      if (isEscaped) continue;
      this.#inString = false;
      return from;
    }
  }
}

/** Where the backslashes begin that lie directly before `end`, not before `from`. */
function firstBackslash(text: string, from: number, end: number): number {
  let first = end;
  while (first > from && text.charCodeAt(first - 1) === BACKSLASH) first -= 1;
  return first;
}

function parse(text: string, what: string, at: number): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new Malformed(what, at, { cause });
  }
}
