/**
 * Requests exactly as a check words them: any path, any header, any bytes, over a connection each, with a time limit.
 *
 * Redirects are not followed and answers are not unpacked: a check sees what came.
 */
import {
  type ClientRequest,
  request as httpRequest,
  type IncomingHttpHeaders,
  type IncomingMessage,
} from 'node:http';
import { request as httpsRequest } from 'node:https';
import { connect } from 'node:net';
import { buffer, text as textOf } from 'node:stream/consumers';
import { connect as connectTls } from 'node:tls';

/** What goes out besides method and path. */
export interface Sent {
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Buffer;
  /** Send the body in chunks, without saying how long it is. */
  readonly chunked?: boolean;
  /** Send what there is and wait for the answer, as if more were to come. */
  readonly unfinished?: boolean;
  /** Milliseconds until the whole answer must be there. 15,000 unless told. */
  readonly timeout?: number;
}

/** A whole answer. */
export interface Answer {
  /** Method and path, for messages. */
  readonly asked: string;
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly bytes: Buffer;
  readonly text: string;
  /** `undefined` where the text is no JSON. */
  readonly json: unknown;
}

const TIMEOUT = 60_000;

/** Bytes of a body that go out at once when it is sent in chunks. */
const CHUNK = 9_999;

/** Send, and read the whole answer. */
export async function exchange(base: URL, method: string, path: string, sent: Sent = {}): Promise<Answer> {
  const { request, response } = await open(base, method, path, sent);
  const bytes = await buffer(response);
  if (sent.unfinished) request.destroy();
  const text = bytes.toString();
  const { statusCode: status = 0, headers } = response;
  return { asked: `${method} ${shortened(path)}`, status, headers, bytes, text, json: jsonOf(text) };
}

/** Send, and resolve with the head of the answer, of whose body nothing is read yet. */
export function open(
  base: URL,
  method: string,
  path: string,
  { headers, body, chunked = false, unfinished = false, timeout = TIMEOUT }: Sent = {},
): Promise<{ request: ClientRequest; response: IncomingMessage }> {
  const send = base.protocol === 'https:' ? httpsRequest : httpRequest;
  const { promise, resolve, reject } = Promise.withResolvers<{
    request: ClientRequest;
    response: IncomingMessage;
  }>();
  const request = send({
    hostname: base.hostname.replace(/^\[(.*)\]$/, '$1'),
    port: base.port,
    method,
    path: `${base.pathname.replace(/\/$/, '')}${path}`,
    headers: {
      ...(body !== undefined && !chunked && { 'content-length': `${Buffer.byteLength(body)}` }),
      ...headers,
    },
    agent: false,
  });
  const late = new Error(`${method} ${shortened(path)} was not answered within ${timeout / 1000} s`);
  const timer = setTimeout(() => request.destroy(late), timeout);
  request.once('close', () => clearTimeout(timer));
  request.once('response', (response) => resolve({ request, response }));
  // After an answer this may be the end of a body that the server no longer reads.
  request.on('error', reject);
  if (unfinished) request.write(body ?? '');
  else if (chunked && body !== undefined) {
    const bytes = Buffer.from(body);
    for (let at = 0; at < bytes.length; at += CHUNK) request.write(bytes.subarray(at, at + CHUNK));
    request.end();
  } else request.end(body);
  return promise;
}

/** Send bytes that need not be HTTP, and return what came until the server closed or five seconds passed. */
export async function sendBytes(base: URL, bytes: string): Promise<string> {
  const host = base.hostname.replace(/^\[(.*)\]$/, '$1');
  const secure = base.protocol === 'https:';
  const port = Number(base.port) || (secure ? 443 : 80);
  const socket = secure ? connectTls({ host, port, servername: host }) : connect({ host, port });
  const timer = setTimeout(() => socket.end(), 5_000);
  socket.on('error', () => {});
  socket.write(bytes, 'latin1');
  try {
    return await textOf(socket).catch(() => '');
  } finally {
    clearTimeout(timer);
    socket.destroy();
  }
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function shortened(path: string): string {
  return path.length > 80 ? `${path.slice(0, 80)}…` : path;
}
