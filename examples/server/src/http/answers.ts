/**
 * What the server says: JSON, and never the text of an exception. Errors have the members of RFC 9457 beside the
 * `error` that old clients read.
 */
import { STATUS_CODES } from 'node:http';

/** Header fields. Names are spelt alike everywhere: one object's fields replace another's. */
export type Fields = Readonly<Record<string, string>>;

/** What is sent back. */
export interface Answer {
  readonly status: number;
  /** Media type of the body; without one there is no body. */
  readonly type?: string;
  readonly headers: Fields;
  /** The whole text, or pieces that are made while it is sent. */
  readonly body: string | AsyncIterable<string>;
  /** Whether the body travels compressed. */
  readonly gzip?: boolean;
}

const JSON_TYPE = 'application/json';

const NO_FIELDS: Fields = {};

/** Fields of every answer, unless its route says otherwise. */
export const COMMON: Fields = { 'X-Content-Type-Options': 'nosniff', 'Cache-Control': 'no-store' };

/** The beginning of the types of problems that have a name. */
const PROBLEM = 'urn:codeforge-storage:';

/** What an error answer carries besides its status and text. */
export interface Details {
  readonly headers?: Fields;
  /** The problem's name, as docs/contract.md gives it. */
  readonly name?: string;
  /** Further members of the body. */
  readonly members?: Readonly<Record<string, unknown>>;
}

/** Ends a request with an error that is the caller's to read. */
export class Refusal extends Error {
  override readonly name = 'Refusal';
  readonly status: number;
  readonly details: Details;

  constructor(status: number, message: string, details: Details = {}) {
    super(message);
    this.status = status;
    this.details = details;
  }
}

/** @param text JSON. */
export function answer(text: string, status = 200, headers = NO_FIELDS): Answer {
  return { status, type: JSON_TYPE, headers, body: text };
}

/** An answer without a body. */
export function empty(status: 204 | 304, headers: Fields): Answer {
  return { status, headers, body: '' };
}

/**
 * An answer whose text is made while it is sent. Resolves when the first piece is there: until then, a failure can
 * still be answered as one.
 *
 * @param pieces Returned when the caller goes away.
 */
export async function streamed(type: string, pieces: AsyncGenerator<string, void>): Promise<Answer> {
  let first: IteratorResult<string, void> | undefined = await pieces.next();
  const body: AsyncIterable<string> = {
    // No generator: one that is ended before it has begun would not end the pieces.
    [Symbol.asyncIterator]: () => ({
      async next() {
        const piece = first ?? (await pieces.next());
        first = undefined;
        return piece;
      },
      return: () => pieces.return(),
    }),
  };
  return { status: 200, type, headers: NO_FIELDS, body };
}

/** An error answer. */
export function failure(status: number, message: string, { headers, ...details }: Details = {}): Answer {
  return answer(errorText(status, message, details), status, headers);
}

/** The body of an error answer. */
export function errorText(status: number, message: string, { name, members }: Details = {}): string {
  const type = problemType(name);
  const title = STATUS_CODES[status];
  return JSON.stringify({ error: message, type, title, status, detail: message, ...members });
}

/** RFC 9457's `type` of a problem. */
export function problemType(name: string | undefined): string {
  return name === undefined ? 'about:blank' : PROBLEM + name;
}

/** The exact text that old clients look for. */
export function keyNotFound(headers = NO_FIELDS): Answer {
  return failure(404, 'Key not found', { headers });
}

/** A change that is durable now. */
export function success(headers?: Fields): Answer {
  return answer('{"success":true}', 200, headers);
}
