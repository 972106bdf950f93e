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
import type { Answer, Fields } from '../answers.ts';

/** Milliseconds in which the rest of an unread body is dropped. */
const LINGER_TIMEOUT = 5000;

const compress = promisify(gzip);

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
): Promise<void> {
  if (type === undefined) {
    outgoing.writeHead(status, { ...fields, ...headers }).end();
    return;
  }
  if (typeof body !== 'string') {
    outgoing.writeHead(status, { ...fields, 'Content-Type': type, ...headers });
    const pieces = Readable.from(body, { highWaterMark: 1 });
    await (gzip ? pipeline(pieces, createGzip(), outgoing) : pipeline(pieces, outgoing));
    return;
  }
  const content = gzip ? await compress(body) : body;
  const length = Buffer.byteLength(content);
  outgoing.writeHead(status, { ...fields, 'Content-Type': type, 'Content-Length': length, ...headers });
  if (hasBody(incoming) && !incoming.complete && !incoming.destroyed) {
    outgoing.write(content);
    await discard(incoming);
    // A client that has not finished its body by now cannot send another request on this connection.
    if (!incoming.complete) outgoing.once('finish', () => incoming.socket.destroySoon());
    outgoing.end();
  } else outgoing.end(content);
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
