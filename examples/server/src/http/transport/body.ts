/**
 * Request bodies: JSON in UTF-8 within the limits.
 *
 * Bytes are counted while they arrive, because a chunked body does not announce its length.
 *
 * Spec: docs/contract.md, 1.1 and 3.1; RFC 8259.
 */
import { isUtf8 } from 'node:buffer';
import type { IncomingMessage } from 'node:http';
import { MAX_DEPTH, membersOf, nestsDeeperThan } from '../../../../../src/backup-format/json-text.ts';
import { HttpError } from '../errors.ts';

/** Milliseconds in which a body must arrive. */
const BODY_TIMEOUT = 120_000;

/**
 * Reads a JSON object as its members: the raw text of each value by its name. Resolves with `undefined` for any other JSON value.
 *
 * @throws {HttpError} 400, 408, 413, 415
 */
export async function readMembers(
  incoming: IncomingMessage,
  maxBytes: number,
): Promise<Map<string, string> | undefined> {
  checkType(incoming, 'application/json');
  // The body itself is one more level than a value may have.
  return parseMembers(decode(await readBytes(incoming, maxBytes)), MAX_DEPTH + 1);
}

/**
 * The members of a JSON object: the raw text of each value by its name. `undefined` for any other JSON value.
 *
 * @param maxDepth Levels of arrays and objects that the text may have.
 * @throws {HttpError} 400
 */
export function parseMembers(text: string, maxDepth: number): Map<string, string> | undefined {
  const value = parse(text);
  if (nestsDeeperThan(maxDepth, text))
    throw new HttpError(400, `A value may nest ${MAX_DEPTH} levels at most`);
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? membersOf(text) : undefined;
}

/** @throws {HttpError} 415 unless the body has this media type. */
export function checkType({ headers }: IncomingMessage, type: string): void {
  const given = headers['content-type'];
  if (given !== type && given?.split(';')[0]?.trim().toLowerCase() !== type)
    throw new HttpError(415, `Content-Type must be ${type}`);
}

/**
 * Reads a whole body.
 *
 * @throws {HttpError} 400, 408, 413
 */
export function readBytes(incoming: IncomingMessage, maxBytes: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const refuse = (): void => reject(new HttpError(413, `The body is over the limit of ${maxBytes} bytes`));
    if (Number(incoming.headers['content-length']) > maxBytes) {
      refuse();
      return;
    }
    const timer = setTimeout(() => {
      reject(new HttpError(408, 'The request took too long'));
    }, BODY_TIMEOUT);
    incoming.once('close', () => clearTimeout(timer));
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
      clearTimeout(timer);
      resolve(chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks));
    });
    // A body that was cut may still be valid JSON.
    incoming.on('error', () => reject(new HttpError(400, 'The body ended early')));
  });
}

/**
 * Decodes UTF-8. A byte order mark stays, and `JSON.parse` then refuses it (RFC 8259 §8.1).
 *
 * @throws {HttpError} 400 when the bytes are not UTF-8.
 */
export function decode(bytes: Buffer): string {
  if (!isUtf8(bytes)) throw new HttpError(400, 'The body is not UTF-8');
  return bytes.toString();
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new HttpError(400, 'Malformed JSON');
  }
}
