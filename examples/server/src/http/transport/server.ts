/**
 * The HTTP server around the app: time limits, errors below HTTP, and a shutdown that loses no request.
 *
 * Spec: docs/contract.md, 9; RFC 9110 §10.1.1 (Expect); RFC 9112.
 */
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse, STATUS_CODES } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Audit, AuditEvent } from '../../audit.ts';
import type { RequestMetrics } from '../../metrics.ts';
import type { Callers } from '../access/callers.ts';
import type { AccessCheck } from '../access/checks.ts';
import { type Answer, COMMON_FIELDS, type Fields } from '../answers.ts';
import { errorAnswer, errorText, failure } from '../errors.ts';
import type { App } from '../request.ts';
import type { LoadLimits } from './load.ts';
import { type SlowClientLimits, send } from './sending.ts';
import { isWellFormed } from './target.ts';

/** Time limits in milliseconds. */
const OPTIONS = {
  headersTimeout: 20_000,
  /** None for a whole request: an import may take long. body.ts limits how slowly a body arrives. */
  requestTimeout: 0,
  /** Longer than clients and proxies reuse a connection, so that no request is sent while it closes. */
  keepAliveTimeout: 65_000,
  connectionsCheckingInterval: 5000,
  /** Node.js would answer such a request itself, without JSON. */
  requireHostHeader: false,
};

const PROBLEM_TYPE = 'application/problem+json';

/** Milliseconds without a byte in either direction, for example when a client stops reading an export. */
const IDLE_TIMEOUT = 120_000;

/** Milliseconds in which requests must finish after the server was asked to stop. */
const DRAIN_TIMEOUT = 8000;

/** An HTTP server. It is reachable after `listen`. */
export interface HttpServer {
  /** Resolves with the base URL. Rejects with the system's error, such as `EADDRINUSE`. */
  listen(port: number, host: string): Promise<string>;
  /** Accepts no more connections. Resolves when all requests under way are answered, or after the time limit. */
  drain(): Promise<void>;
}

/** What the server around the app is made of. */
export interface HttpServerParts extends SlowClientLimits {
  readonly audit?: Audit;
  /** Decides about a request before the app. */
  readonly checkAccess: AccessCheck;
  readonly callers: Pick<Callers, 'cutWithToken'>;
  readonly limits: LoadLimits;
  readonly metrics?: RequestMetrics | undefined;
}

export function createHttpServer(app: App, parts: HttpServerParts): HttpServer {
  const { checkAccess, callers, limits, metrics, log, audit } = parts;

  async function handle(incoming: IncomingMessage, outgoing: ServerResponse, id: string): Promise<void> {
    const { answer, headers } = await answerTo(incoming, outgoing, id);
    const isProblem = answer.status >= 400 && wantsProblem(incoming);
    const reply = isProblem ? { ...answer, type: PROBLEM_TYPE } : answer;
    await send(incoming, outgoing, reply, { ...headers, 'X-Request-Id': id }, parts);
  }

  async function answerTo(
    incoming: IncomingMessage,
    outgoing: ServerResponse,
    id: string,
  ): Promise<{ readonly answer: Answer; readonly headers: Fields }> {
    if (!isWellFormed(incoming)) return { answer: failure(400, 'Malformed request'), headers: COMMON_FIELDS };
    const decision = checkAccess(incoming);
    const address = incoming.socket.remoteAddress;
    if ('answer' in decision) {
      const { status } = decision.answer;
      if (status === 401 && incoming.headers.authorization !== undefined)
        audit?.('token-refused', { address, requestId: id });
      return decision;
    }
    const { caller, headers } = decision;
    const writeAudit = (event: AuditEvent): void => {
      outgoing.once('close', () => {
        const { statusCode: status } = outgoing;
        audit?.(event, { tenant: caller?.tenant, address, requestId: id, status });
      });
    };
    callers.cutWithToken(caller, outgoing);
    try {
      const load = limits(incoming, outgoing, caller);
      return { answer: await app({ incoming, outgoing, caller, load, id, audit: writeAudit }), headers };
    } catch (error) {
      return { answer: errorAnswer(error, log.child({ requestId: id })), headers };
    }
  }

  /** The answers of each connection that are not sent yet. */
  const pending = new WeakMap<Duplex, Set<ServerResponse>>();
  const logsRequests = log.isLevelEnabled('debug');
  const server = createServer(OPTIONS, (incoming, outgoing) => {
    const id = requestIdOf(incoming);
    const measured = metrics?.begin(incoming);
    const answers = pending.get(incoming.socket) ?? new Set();
    pending.set(incoming.socket, answers.add(outgoing));
    outgoing.once('close', () => {
      const { method, url } = incoming;
      answers.delete(outgoing);
      measured?.(outgoing.statusCode);
      if (logsRequests) log.debug({ requestId: id, method, url, status: outgoing.statusCode }, 'request');
    });
    handle(incoming, outgoing, id).catch((error) => {
      if (error.code !== 'ERR_STREAM_PREMATURE_CLOSE')
        log.error({ err: error, requestId: id }, 'answer failed');
      outgoing.destroy();
    });
  });
  // Node.js would answer without a body.
  server.on('checkExpectation', (_, outgoing) => {
    const body = errorText(417, 'The only supported value of Expect is 100-continue');
    outgoing
      .writeHead(417, { ...COMMON_FIELDS, 'Content-Type': 'application/json', Connection: 'close' })
      .end(body);
  });
  server.setTimeout(IDLE_TIMEOUT);
  // Node.js would write 100 Continue before the answer to the previous request on the connection, if that is under way.
  server.on('checkContinue', (incoming, outgoing) => {
    if (outgoing.socket) outgoing.writeContinue();
    server.emit('request', incoming, outgoing);
  });
  server.on('clientError', (error, socket) => {
    // After the start of an answer, a client would read an error as a part of that answer.
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
      // A connection becomes idle when its answer is sent, and would then stay open for another request.
      const closing = setInterval(() => server.closeIdleConnections(), 20);
      const limit = setTimeout(() => server.closeAllConnections(), DRAIN_TIMEOUT);
      await closed;
      clearInterval(closing);
      clearTimeout(limit);
    },
  };
}

/** The name that a proxy has given to the request, if it is one, or a new one. */
function requestIdOf({ headers }: IncomingMessage): string {
  const given = headers['x-request-id'];
  return typeof given === 'string' && /^[\w.:+/=-]{1,128}$/.test(given) ? given : randomUUID();
}

/** Whether the caller accepts the media type of RFC 9457. */
function wantsProblem({ headers }: IncomingMessage): boolean {
  return headers.accept?.includes(PROBLEM_TYPE) ?? false;
}

/** Answers bytes that are not HTTP, and requests that arrive too slowly, with JSON too. */
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
    ...Object.entries(COMMON_FIELDS).map(([name, value]) => `${name}: ${value}`),
    'Connection: close',
  ];
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`);
}

const BROKEN: Record<string, readonly [status: number, message: string]> = {
  HPE_HEADER_OVERFLOW: [431, 'The headers or the URL are too long'],
  ERR_HTTP_REQUEST_TIMEOUT: [408, 'The request took too long'],
};
