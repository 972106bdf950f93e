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
import type { RequestLoad } from './load.ts';
import { Pace } from './pace.ts';

/** How bodies are received. */
export interface BodyLimits {
  readonly maxBytes: number;
  /** Milliseconds that a client may lag behind the minimum rate. */
  readonly stallTime: number;
}

/**
 * The members of a JSON object: the raw text of each value by its name. `undefined` for any other JSON value.
 *
 * @param maxDepth Levels of arrays and objects that the text may have. The body itself is one more than a value may have.
 * @throws {HttpError} 400
 */
export function parseMembers(text: string, maxDepth = MAX_DEPTH + 1): Map<string, string> | undefined {
  const value = parse(text);
  if (nestsDeeperThan(maxDepth, text))
    throw new HttpError(400, `A value may nest ${MAX_DEPTH} levels at most`);
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? membersOf(text) : undefined;
}

/** @throws {HttpError} 415 unless the body has this media type and no content coding. */
export function checkType({ headers }: IncomingMessage, type: string): void {
  const given = headers['content-type'];
  if (given !== type && given?.split(';')[0]?.trim().toLowerCase() !== type)
    throw new HttpError(415, `Content-Type must be ${type}`);
  const coding = headers['content-encoding']?.trim().toLowerCase() || 'identity';
  if (coding !== 'identity') {
    const fields = { 'Accept-Encoding': 'identity' };
    throw new HttpError(415, 'A body must not have a Content-Encoding', { headers: fields });
  }
}

/**
 * Reads the whole JSON text of a body.
 *
 * @throws {HttpError} 400, 408, 413, 415, 503
 */
export async function readJson(
  incoming: IncomingMessage,
  load: RequestLoad,
  limits: BodyLimits,
): Promise<string> {
  checkType(incoming, 'application/json');
  return decode(await readBytes(incoming, load, limits));
}

function readBytes(
  incoming: IncomingMessage,
  load: RequestLoad,
  { maxBytes, stallTime }: BodyLimits,
): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const length = incoming.headers['content-length'];
    const announced = length === undefined ? undefined : Number(length);
    let chunks: Buffer[] = [];
    let size = 0;
    let isRefused = false;
    const refuse = (reason: unknown): void => {
      isRefused = true;
      chunks = [];
      clearTimeout(timer);
      reject(reason);
    };
    const checkSize = (bytes: number): void => {
      if (bytes > maxBytes) throw new HttpError(413, `The body is over the limit of ${maxBytes} bytes`);
    };

    const pace = new Pace(stallTime);
    let waitedUntil = Date.now();
    const waited = (bytes: number): void => {
      const now = Date.now();
      pace.waited(now - waitedUntil, bytes);
      waitedUntil = now;
    };
    const checkPace = (): void => {
      waited(0);
      if (pace.left > 0) timer = setTimeout(checkPace, pace.left);
      else refuse(tooSlow());
    };
    let timer = setTimeout(checkPace, stallTime);

    try {
      if (announced !== undefined) {
        checkSize(announced);
        load.receive(announced, announced);
      }
    } catch (error) {
      refuse(error);
      return;
    }
    incoming.once('close', () => clearTimeout(timer));
    incoming.on('data', (chunk: Buffer) => {
      if (isRefused) return;
      waited(chunk.length);
      size += chunk.length;
      try {
        checkSize(size);
        if (announced === undefined) load.receive(chunk.length);
        chunks.push(chunk);
      } catch (error) {
        refuse(error);
      }
    });
    incoming.on('end', () => {
      clearTimeout(timer);
      resolve(chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks));
    });
    // A body that was cut may still be valid JSON.
    incoming.on('error', () => refuse(new HttpError(400, 'The body ended early')));
  });
}

/**
 * The chunks of a body that is not kept in memory.
 *
 * @throws {HttpError} 408. Other errors mean that the body ended early.
 */
export async function* chunksOf(
  incoming: IncomingMessage,
  stallTime: number,
): AsyncGenerator<Uint8Array, void> {
  // The stream must not be destroyed: after an error, the transport reads the rest of the body.
  const chunks: AsyncIterator<Uint8Array> = incoming.iterator({ destroyOnReturn: false });
  const pace = new Pace(stallTime);
  try {
    for (;;) {
      const begun = Date.now();
      const { value, done } = await withinTime(chunks.next(), pace.left);
      if (done) return;
      pace.waited(Date.now() - begun, value.length);
      yield value;
    }
  } finally {
    // Not awaited: it ends after `next`, which may never settle.
    chunks.return?.().catch(() => {});
  }
}

/** @throws {HttpError} 408 if `chunk` takes longer than `time` milliseconds. */
async function withinTime<T>(chunk: Promise<T>, time: number): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(tooSlow()), time);
  try {
    return await Promise.race([chunk, late]);
  } finally {
    clearTimeout(timer);
  }
}

function tooSlow(): HttpError {
  return new HttpError(408, 'The body arrived too slowly');
}

/**
 * Decodes UTF-8. A byte order mark stays, and `JSON.parse` then refuses it (RFC 8259 §8.1).
 *
 * @throws {HttpError} 400 when the bytes are not UTF-8.
 */
function decode(bytes: Buffer): string {
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
