/**
 * Sends answers, also to requests whose body was not read.
 *
 * A socket that closes while bytes still arrive is reset, and the reset can overtake the answer. So the answer to such a
 * request is written at once, but ended only after the rest of the body was read and dropped, or took too long.
 *
 * Spec: RFC 9112 §6.3 and §9.6; docs/contract.md, 1.5 and 1.6.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import { createGzip, gzip } from 'node:zlib';
import type { Logger } from '../../log.ts';
import type { Answer, Fields } from '../answers.ts';
import { Pace } from './pace.ts';

/** Milliseconds in which the rest of an unread body is dropped. */
const LINGER_TIMEOUT = 5000;

/** Bytes of an answer that the kernel takes at once, or nearly. */
const SMALL_ANSWER = 64 * 1024;

/** Milliseconds between two looks at how much of an answer a client has taken. */
const PACE_INTERVAL = 500;

const compress = promisify(gzip);

/** How slowly a client may take an answer. */
export interface SlowClientLimits {
  /** Milliseconds that it may lag behind the minimum rate. Then it is disconnected. */
  readonly stallTime: number;
  readonly log: Logger;
}

/**
 * Sends an answer. Resolves when Node.js has taken all of it.
 *
 * Rejects when the text could not be made. The caller of this function must then destroy the connection: only that tells
 * the client that the answer is incomplete.
 *
 * @param fields The fields of every answer. Those of this answer replace them.
 */
export async function send(
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  { status, type, headers, body, gzip = false }: Answer,
  fields: Fields,
  limits: SlowClientLimits,
): Promise<void> {
  if (type === undefined) {
    outgoing.writeHead(status, { ...fields, ...headers }).end();
    return;
  }
  if (typeof body === 'function') {
    outgoing.writeHead(status, { ...fields, 'Content-Type': type, ...headers });
    await body(outgoing);
    return;
  }
  if (typeof body !== 'string') {
    outgoing.writeHead(status, { ...fields, 'Content-Type': type, ...headers });
    limitPace(outgoing, limits);
    const pieces = Readable.from(body, { highWaterMark: 1 });
    await (gzip ? pipeline(pieces, createGzip(), outgoing) : pipeline(pieces, outgoing));
    return;
  }
  const content = gzip ? await compress(body) : body;
  const length = Buffer.byteLength(content);
  outgoing.writeHead(status, { ...fields, 'Content-Type': type, 'Content-Length': length, ...headers });
  if (length > SMALL_ANSWER) limitPace(outgoing, limits);
  if (hasBody(incoming) && !incoming.complete && !incoming.destroyed) {
    outgoing.write(content);
    await discard(incoming);
    // A client that has not finished its body by now cannot send another request on this connection.
    if (!incoming.complete) outgoing.once('finish', () => incoming.socket.destroySoon());
    outgoing.end();
  } else outgoing.end(content);
}

/** Destroys the connection if the client takes an answer too slowly. Returns a function that ends this. */
export function limitPace(outgoing: ServerResponse, { stallTime, log }: SlowClientLimits): () => void {
  const { socket } = outgoing;
  // The caller is gone.
  if (socket === null) return () => {};
  const pace = new Pace(stallTime);
  const takenBytes = (): number => socket.bytesWritten - socket.writableLength;
  let before = takenBytes();
  const timer = setInterval(() => {
    const taken = takenBytes();
    // With nothing to take, the client waits for the server.
    pace.waited(socket.writableLength > 0 ? PACE_INTERVAL : 0, taken - before);
    before = taken;
    if (pace.left > 0) return;
    log.info('a client took an answer too slowly, and was disconnected');
    outgoing.destroy();
  }, PACE_INTERVAL);
  const stop = (): void => {
    clearInterval(timer);
    outgoing.off('close', stop);
  };
  outgoing.once('close', stop);
  return stop;
}

function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
}

/** Reads and drops the rest of a body. Resolves at its end or at the time limit. */
function discard(incoming: IncomingMessage): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      resolve();
    };
    const timer = setTimeout(done, LINGER_TIMEOUT);
    incoming.once('end', done).once('error', done).once('close', done).resume();
  });
}
