/**
 * An answer on its way out.
 *
 * Spec: RFC 9112 §6.3; docs/contract.md, 1.5 and 1.6.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import { createGzip, gzip } from 'node:zlib';
import type { Answer, Fields } from '../answers.ts';
import { hasBody, rest } from './lingering.ts';

const compress = promisify(gzip);

/**
 * Send an answer. Resolves when it has been handed on; rejects, and breaks the connection, when its text could not be
 * made: only that tells the caller that it is incomplete.
 *
 * @param fields Of every answer; those of this one replace them.
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
    await rest(incoming);
    // Whoever has sent no end by now does not get another request in.
    if (!incoming.complete) outgoing.once('finish', () => incoming.socket.destroySoon());
    outgoing.end();
  } else outgoing.end(content);
}
