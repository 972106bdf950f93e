/**
 * A request's body: JSON in UTF-8, within the limits.
 *
 * Its bytes are counted as they are read, because a chunked body does not say how long it is.
 */
import type { IncomingMessage } from 'node:http';
import { members, nestsDeeperThan } from '../json.ts';
import { Refusal } from './answers.ts';

const MAX_NESTING = 200;

/** A byte order mark stays, and is then no JSON (RFC 8259 §8.1). */
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * Read a JSON object as its members: name and raw text of the value. `undefined` for any other JSON value.
 *
 * @throws {Refusal} 400, 413, 415
 */
export async function readMembers(
  incoming: IncomingMessage,
  maxBytes: number,
): Promise<Array<[string, string]> | undefined> {
  if (!isJsonType(incoming.headers['content-type']))
    throw new Refusal(415, 'Content-Type must be application/json');
  const text = decode(await readBytes(incoming, maxBytes));
  const value = parse(text);
  // One more level than a value may have: the body itself.
  if (nestsDeeperThan(text, MAX_NESTING + 1))
    throw new Refusal(400, `A value may nest ${MAX_NESTING} levels at most`);
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? members(text) : undefined;
}

function isJsonType(header = ''): boolean {
  return header === 'application/json' || /^application\/json[ \t]*(?:;|$)/i.test(header);
}

function readBytes(incoming: IncomingMessage, maxBytes: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const refuse = (): void => reject(new Refusal(413, `The body is over the limit of ${maxBytes} bytes`));
    if (Number(incoming.headers['content-length']) > maxBytes) {
      refuse();
      return;
    }
    let chunks: Buffer[] = [];
    let size = 0;
    incoming.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size <= maxBytes) chunks.push(chunk);
      else {
        chunks = [];
        refuse();
      }
    });
    incoming.on('end', () => resolve(Buffer.concat(chunks)));
    // Half a body may look like a whole one.
    incoming.on('error', () => reject(new Refusal(400, 'The body ended early')));
  });
}

function decode(bytes: Buffer): string {
  try {
    return utf8.decode(bytes);
  } catch {
    throw new Refusal(400, 'The body is not UTF-8');
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new Refusal(400, 'Malformed JSON');
  }
}
