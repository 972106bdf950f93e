/**
 * Successful answers: JSON text with its header fields, or text that is made while it is sent.
 * Error answers are in errors.ts.
 */

import type { ServerResponse } from 'node:http';

/** Header fields. Every name has one spelling throughout the server: fields of one object replace those of another. */
export type Fields = Readonly<Record<string, string>>;

/** What is sent back. */
export interface Answer {
  readonly status: number;
  /** The body's media type. An answer without it has no body. */
  readonly type?: string;
  readonly headers: Fields;
  /**
   * The whole text; pieces that are made while they are sent; or a function that writes to the response, whose head was
   * sent, and resolves at the end.
   */
  readonly body: string | AsyncIterable<string | Uint8Array> | ((outgoing: ServerResponse) => Promise<void>);
  /** Whether the body is sent compressed. */
  readonly gzip?: boolean;
}

const NO_FIELDS: Fields = {};

/** The fields of every answer. A route's own fields replace them. */
export const COMMON_FIELDS: Fields = { 'X-Content-Type-Options': 'nosniff', 'Cache-Control': 'no-store' };

/** @param text JSON. */
export function answer(text: string, status = 200, headers = NO_FIELDS): Answer {
  return { status, type: 'application/json', headers, body: text };
}

/** An answer without a body. */
export function empty(status: 204 | 304, headers: Fields): Answer {
  return { status, headers, body: '' };
}

/** The answer to a write that is durable. */
export function success(headers?: Fields): Answer {
  return answer('{"success":true}', 200, headers);
}

/**
 * An answer whose text is made while it is sent.
 *
 * Resolves when the first piece exists. A failure before that rejects, and can still be answered with an error.
 *
 * @param type Media type.
 * @param pieces Its `return` is called when the caller disconnects.
 */
export async function streamed(
  type: string,
  pieces: AsyncGenerator<string | Uint8Array, void>,
): Promise<Answer> {
  let first: IteratorResult<string | Uint8Array, void> | undefined = await pieces.next();
  const body: AsyncIterable<string | Uint8Array> = {
    // Not a generator: `return` on a generator that has not started would not reach `pieces`.
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
