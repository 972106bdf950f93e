/**
 * The lines of a body as they come in, with the SHA-256 of all bytes before each.
 *
 * Memory is flat: one chunk at a time, and the line that it cuts. Bytes are hashed a chunk at a time too, not a line.
 *
 * Spec: docs/contract.md, 8; FIPS 180-4.
 */
import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { HttpError } from '../errors.ts';
import { decode } from '../transport/body.ts';

const LINE_FEED = 0x0a;

/** A line that is not empty. */
export interface Line {
  readonly text: string;
  /** SHA-256 in hex of the body before this line, as it came. To be asked for before the next line is. */
  readonly sha256Before: () => string;
}

/**
 * Lines in UTF-8 that hold more than white space.
 *
 * @throws {HttpError} 413 for a line over `maxBytes`; 400 for one that is no UTF-8, and `incomplete-import` where the body
 *   breaks off.
 */
export async function* linesOf(incoming: IncomingMessage, maxBytes: number): AsyncGenerator<Line, void> {
  const hash = createHash('sha256');
  /** What earlier chunks had of the line, not hashed yet: it may be the last one. */
  let held: Buffer[] = [];
  let size = 0;
  const grow = (bytes: number): void => {
    size += bytes;
    if (size > maxBytes) throw new HttpError(413, `A line is over the limit of ${maxBytes} bytes`);
  };
  try {
    // What is left unread after a refusal is dealt with elsewhere: the stream must not be destroyed.
    for await (const chunk of incoming.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      let from = 0;
      const sha256Before = (): string => hash.copy().update(chunk.subarray(0, from)).digest('hex');
      for (let at = chunk.indexOf(LINE_FEED); at !== -1; at = chunk.indexOf(LINE_FEED, from)) {
        const rest = chunk.subarray(from, at);
        grow(rest.length);
        const text = decode(held.length === 0 ? rest : Buffer.concat([...held, rest]));
        if (text.trim() !== '') yield { text, sha256Before };
        for (const part of held) hash.update(part);
        held = [];
        size = 0;
        from = at + 1;
      }
      hash.update(chunk.subarray(0, from));
      const cut = chunk.subarray(from);
      grow(cut.length);
      held.push(cut);
    }
  } catch (error) {
    if (error instanceof HttpError) throw error;
    throw new HttpError(400, 'The body ended early', { name: 'incomplete-import' });
  }
  const text = decode(Buffer.concat(held));
  if (text.trim() !== '') yield { text, sha256Before: () => hash.copy().digest('hex') };
}
