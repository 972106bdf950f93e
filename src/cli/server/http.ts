/**
 * HTTP as the command needs it: bodies of any size as streams, in flat memory, in both directions.
 *
 * The time limit is on silence, not on the whole: a transfer may take hours as long as something moves. Redirects are not
 * followed. What can be asked again without harm is, twice, while not a byte of an answer has come.
 *
 * Spec: RFC 9110, RFC 6750.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { StorageError } from '../../core/errors.ts';
import type { JsonObject } from '../../core/json.ts';
import { ofStranger } from '../../remote/errors.ts';
import { bodyOf, type Connection, jsonOf, Refused, send } from './exchange.ts';

/** A request with a body. `body` is called once for each attempt. */
export interface Upload {
  readonly path: string;
  readonly type: string;
  readonly body: () => AsyncIterable<Uint8Array>;
  /** Whether it does no harm when it arrives twice. */
  readonly repeatable: boolean;
}

/** Attempts at one request. */
const ATTEMPTS = 3;
/** Milliseconds before the second attempt; twice that before the third. */
const PAUSE = 500;
/** Bytes that are given to the connection at a time. */
const PIECE = 64 * 1024;
/** Bytes of a body that were given to the connection may still be in the buffers of machines on the way … */
const BUFFERED = 4 * 1024 * 1024;
/** … which pass on so many of them a millisecond, unless it is seen to be less. Nobody tells when they do. */
const PACE = 100;

/** Milliseconds that the command waits because a server asks for it. */
const LONGEST_PAUSE = 60_000;

/**
 * A body, as it comes.
 *
 * @throws {StorageError} also while it is read: a body that ends early is `unavailable`.
 */
export async function download(connection: Connection, path: string): Promise<AsyncGenerator<Uint8Array>> {
  const subject = `GET ${connection.url}${path}`;
  return attempts(connection, true, async () => {
    const sent = send(connection, 'GET', path);
    sent.request.end();
    const response = await sent.response(subject);
    return bodyOf(sent, response, subject);
  });
}

/** A JSON object. */
export async function getJson(connection: Connection, path: string): Promise<JsonObject> {
  const json = await jsonOf(await download(connection, path));
  if (json === undefined)
    throw new StorageError(
      'unavailable',
      ofStranger(`GET ${connection.url}${path}`, 'something that is no JSON object'),
    );
  return json;
}

/** Send a body as it comes, and return the JSON object that is answered. */
export async function upload(
  connection: Connection,
  { path, type, body, repeatable }: Upload,
): Promise<JsonObject> {
  const subject = `POST ${connection.url}${path}`;
  return attempts(connection, repeatable, async () => {
    const sent = send(connection, 'POST', path, { 'content-type': type });
    const answered = sent.response(subject);
    let early = false;
    const seen = (): void => {
      early = true;
    };
    answered.then(seen, seen);
    const began = performance.now();
    let bytes = 0;
    const underWay = (): number => {
      const pace = Math.min(bytes / (performance.now() - began), PACE);
      return bytes === 0 ? 0 : Math.min(bytes, BUFFERED) / pace;
    };
    try {
      for await (const piece of piecesOf(body())) {
        if (early) break;
        bytes += piece.length;
        sent.moved(underWay());
        if (sent.request.write(piece)) continue;
        const drained = new Promise<void>((resolve) => sent.request.once('drain', resolve));
        // A server that has answered may read no more.
        await Promise.race([drained, answered]);
      }
      if (!early) sent.request.end();
      sent.moved(underWay());
      const response = await answered;
      const json = await jsonOf(bodyOf(sent, response, subject));
      if (json === undefined)
        throw new StorageError('unavailable', ofStranger(subject, 'something that is no JSON object'));
      return json;
    } finally {
      sent.request.destroy();
    }
  });
}

async function* piecesOf(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks)
    for (let at = 0; at < chunk.length; at += PIECE) yield chunk.subarray(at, at + PIECE);
}

/** Statuses that say: later. */
const LATER = new Set([408, 429, 502, 503, 504]);

async function attempts<T>(
  { signal }: Connection,
  repeatable: boolean,
  attempt: () => Promise<T>,
): Promise<T> {
  for (let n = 1; ; n += 1) {
    try {
      return await attempt();
    } catch (error) {
      signal.throwIfAborted();
      const refused = error instanceof Refused ? error : undefined;
      const passing = refused
        ? LATER.has(refused.status)
        : error instanceof StorageError && error.code === 'unavailable';
      const pause = Math.max(PAUSE * n, refused?.retryAfterMs ?? 0);
      if (!passing || !repeatable || n === ATTEMPTS || pause > LONGEST_PAUSE) throw error;
      await delay(pause, undefined, { signal });
    }
  }
}
