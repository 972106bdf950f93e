/**
 * The HTTP server around the app: time limits, errors below HTTP, and an end that loses no request.
 */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse, STATUS_CODES } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Logger } from '../../log.ts';
import type { Door } from '../access/checks.ts';
import { type Answer, COMMON, errorText, type Fields, failure } from '../answers.ts';
import { isWellFormed } from '../keys.ts';
import type { Route } from '../request.ts';
import { errorAnswer } from '../routes.ts';
import { busy, type Load } from './load.ts';
import { send } from './sending.ts';

/** Time limits in milliseconds. */
const OPTIONS = {
  headersTimeout: 20_000,
  /** Of a whole request: none, because an import may take long. Bodies have a limit where they are read. */
  requestTimeout: 0,
  /** Longer than clients and proxies reuse a connection, so that none is used while it closes. */
  keepAliveTimeout: 65_000,
  connectionsCheckingInterval: 5000,
  /** Node.js would refuse the request itself, with an answer that is no JSON. */
  requireHostHeader: false,
};

const PROBLEM_TYPE = 'application/problem+json';

/** Milliseconds without a byte either way, such as a reader that stopped reading an export. */
const SILENCE_LIMIT = 120_000;

/** Milliseconds that requests under way may take once the server is asked to stop. */
const DRAIN_LIMIT = 8000;

/** A server that is made, and not yet reachable. */
export interface HttpServer {
  /** Resolves with the base URL. Rejects with the system's error, such as `EADDRINUSE`. */
  listen(port: number, host: string): Promise<string>;
  /** Accept no more connections. Resolves when what is under way is answered, or has taken too long. */
  drain(): Promise<void>;
}

/** @param door Asked before the app, as is `load`. */
export function createHttpServer(
  app: Route,
  { door, load, log }: { door: Door; load: Load; log: Logger },
): HttpServer {
  async function handle(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const { answer, headers } = await answerTo(incoming, outgoing);
    const isProblem = answer.status >= 400 && wantsProblem(incoming);
    const reply = isProblem ? { ...answer, type: PROBLEM_TYPE } : answer;
    await send(incoming, outgoing, reply, headers);
  }

  async function answerTo(
    incoming: IncomingMessage,
    outgoing: ServerResponse,
  ): Promise<{ readonly answer: Answer; readonly headers: Fields }> {
    if (!isWellFormed(incoming)) return { answer: failure(400, 'Malformed request'), headers: COMMON };
    const asked = door(incoming);
    if ('answer' in asked) return asked;
    const { caller, headers } = asked;
    const place = load.admit(outgoing);
    if (place === undefined) return { answer: busy(), headers };
    try {
      return { answer: await app({ incoming, outgoing, caller, place }), headers };
    } catch (error) {
      return { answer: errorAnswer(error, log), headers };
    }
  }

  /** Answers that are not sent yet, of each connection. */
  const pending = new WeakMap<Duplex, Set<ServerResponse>>();
  const logsRequests = log.isLevelEnabled('debug');
  const server = createServer(OPTIONS, (incoming, outgoing) => {
    if (logsRequests) {
      const { method, url } = incoming;
      outgoing.once('close', () => log.debug({ method, url, status: outgoing.statusCode }, 'request'));
    }
    const answers = pending.get(incoming.socket) ?? new Set();
    pending.set(incoming.socket, answers.add(outgoing));
    outgoing.once('close', () => answers.delete(outgoing));
    handle(incoming, outgoing).catch((error) => {
      if (error.code !== 'ERR_STREAM_PREMATURE_CLOSE') log.error({ err: error }, 'answer failed');
      outgoing.destroy();
    });
  });
  // Node.js itself would answer without a body.
  server.on('checkExpectation', (_, outgoing) => {
    const body = errorText(417, 'Expect: only 100-continue is understood');
    outgoing.writeHead(417, { ...COMMON, 'Content-Type': 'application/json', Connection: 'close' }).end(body);
  });
  server.setTimeout(SILENCE_LIMIT);
  // Node.js itself would write it before the answer to the request before, when that is still under way.
  server.on('checkContinue', (incoming, outgoing) => {
    if (outgoing.socket) outgoing.writeContinue();
    server.emit('request', incoming, outgoing);
  });
  server.on('clientError', (error, socket) => {
    // In the middle of an answer another one would be taken for a part of it.
    const begun = [...(pending.get(socket) ?? [])].some(({ headersSent }) => headersSent);
    if (begun) socket.destroy();
    else answerBrokenRequest(error, socket);
  });

  return {
    async listen(port, host) {
      server.listen(port, host);
      await once(server, 'listening');
      const { port: actualPort } = server.address() as AddressInfo;
      return `http://${host.includes(':') ? `[${host}]` : host}:${actualPort}`;
    },
    async drain() {
      const closed = once(server, 'close');
      server.close();
      // A connection becomes idle when its answer is sent, and would then stay open for the next request.
      const sweep = setInterval(() => server.closeIdleConnections(), 20);
      const limit = setTimeout(() => server.closeAllConnections(), DRAIN_LIMIT);
      await closed;
      clearInterval(sweep);
      clearTimeout(limit);
    },
  };
}

/** Whether the caller names RFC 9457's media type. */
function wantsProblem({ headers }: IncomingMessage): boolean {
  return headers.accept?.includes(PROBLEM_TYPE) ?? false;
}

/** What is no HTTP, or comes too slowly, is answered with JSON as well. */
function answerBrokenRequest(error: NodeJS.ErrnoException, socket: Duplex): void {
  if (!socket.writable || error.code === 'ECONNRESET') {
    socket.destroy();
    return;
  }
  const [status, message] = BROKEN[error.code ?? ''] ?? [400, 'Malformed request'];
  const body = errorText(status, message);
  const head = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
    'Content-Type: application/json',
    `Content-Length: ${body.length}`,
    ...Object.entries(COMMON).map(([name, value]) => `${name}: ${value}`),
    'Connection: close',
  ];
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`);
}

const BROKEN: Record<string, readonly [status: number, message: string]> = {
  HPE_HEADER_OVERFLOW: [431, 'The headers or the URL are too long'],
  ERR_HTTP_REQUEST_TIMEOUT: [408, 'The request took too long'],
};
