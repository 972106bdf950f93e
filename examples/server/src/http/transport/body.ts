/**
 * A request's body: JSON in UTF-8, within the limits.
 *
 * Its bytes are counted as they are read, because a chunked body does not say how long it is.
 */
import { isUtf8 } from 'node:buffer';
import type { IncomingMessage } from 'node:http';
import { members, nestsDeeperThan } from '../../json.ts';
import { Refusal } from '../answers.ts';

/** Of brackets in a value. */
export const MAX_NESTING = 200;

/** Milliseconds that a body may take to arrive. */
const BODY_LIMIT = 120_000;

/**
 * Read a JSON object as its members: name and raw text of the value. `undefined` for any other JSON value.
 *
 * @throws {Refusal} 400, 413, 415
 */
export async function readMembers(
  incoming: IncomingMessage,
  maxBytes: number,
): Promise<Array<[string, string]> | undefined> {
  checkType(incoming, 'application/json');
  // One more level than a value may have: the body itself.
  return membersOf(decode(await readBytes(incoming, maxBytes)), MAX_NESTING + 1);
}

/**
 * The members of a JSON object: name and raw text of the value. `undefined` for any other JSON value.
 *
 * @param nesting Levels of brackets that the text may have.
 * @throws {Refusal} 400
 */
export function membersOf(text: string, nesting: number): Array<[string, string]> | undefined {
  const value = parse(text);
  if (nestsDeeperThan(text, nesting))
    throw new Refusal(400, `A value may nest ${MAX_NESTING} levels at most`);
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? members(text) : undefined;
}

/** @throws {Refusal} 415 unless the body says that it is of this media type. */
export function checkType({ headers }: IncomingMessage, type: string): void {
  const given = headers['content-type'];
  if (given !== type && given?.split(';')[0]?.trim().toLowerCase() !== type)
    throw new Refusal(415, `Content-Type must be ${type}`);
}

/**
 * The bytes of a body.
 *
 * @throws {Refusal} 400, 408, 413
 */
export function readBytes(incoming: IncomingMessage, maxBytes: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const refuse = (): void => reject(new Refusal(413, `The body is over the limit of ${maxBytes} bytes`));
    if (Number(incoming.headers['content-length']) > maxBytes) {
      refuse();
      return;
    }
    const late = setTimeout(() => {
      reject(new Refusal(408, 'The request took too long'));
    }, BODY_LIMIT);
    incoming.once('close', () => clearTimeout(late));
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
    incoming.on('end', () => {
      clearTimeout(late);
      resolve(chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks));
    });
    // Half a body may look like a whole one.
    incoming.on('error', () => reject(new Refusal(400, 'The body ended early')));
  });
}

/**
 * A byte order mark stays, and is then no JSON (RFC 8259 §8.1).
 *
 * @throws {Refusal} 400 for what is not UTF-8.
 */
export function decode(bytes: Buffer): string {
  if (!isUtf8(bytes)) throw new Refusal(400, 'The body is not UTF-8');
  return bytes.toString();
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new Refusal(400, 'Malformed JSON');
  }
}
