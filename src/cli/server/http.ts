/**
 * HTTP for transfers: bodies of any size as streams, in flat memory, in both directions.
 *
 * The time limit applies to silence: a transfer may take hours while bytes move. Redirects are not followed. A request that
 * may arrive twice is sent up to three times, as long as no byte of an answer has come. Messages name the server, not the
 * request.
 *
 * Spec: RFC 9110, RFC 6750.
 */
import { type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { piecesOf } from '../../backup-format/bytes.ts';
import { StorageError } from '../../core/errors.ts';
import { isObject, type JsonObject } from '../../core/json.ts';
import { backOffMs, retryAfterMs, sleep } from '../../core/time.ts';
import { codeOf, ofSilence, ofStatus, ofTimeout, platformCodes, strangerError } from '../../remote/errors.ts';

/** A server, and how to talk to it. */
export interface Connection {
  /** Base URL with a trailing slash. */
  readonly url: string;
  readonly token: string | undefined;
  /** How long the server may be silent, in milliseconds. */
  readonly timeoutMs: number;
  /** Cancels requests. */
  readonly signal: AbortSignal;
}

/** A request with a body. */
export interface Upload {
  readonly path: string;
  /** Media type. */
  readonly type: string;
  /** Called once for each attempt. */
  readonly body: () => AsyncIterable<Uint8Array>;
  /** Whether it may arrive twice. */
  readonly isRepeatable: boolean;
}

/** The most bytes of an answer that is read as a whole. */
const MAX_JSON_BYTES = 1024 * 1024;

/** The most attempts at a request, and the pauses between them. */
const ATTEMPTS = 3;
const BACK_OFF = { firstMs: 500, longestMs: 1000, jitter: 'equal' } as const;
/** The longest pause that a server may ask for with `Retry-After`. */
const LONGEST_PAUSE_MS = 60_000;
/** Statuses that mean: try again later. */
const PASSING = new Set([408, 429, 502, 503, 504]);

/** The bytes that are handed to the connection at a time. */
const PIECE_BYTES = 64 * 1024;
/** The bytes of a body that buffers on the way may hold. Nobody reports when they move on … */
const BUFFERED_BYTES = 4 * 1024 * 1024;
/** … so they are assumed to move at this pace, or at a slower one that was measured. */
const BYTES_PER_MS = 100;

/** An answer with a status that is not 2xx. */
export class StatusError extends StorageError {
  readonly status: number;
  /** The body, if it is a JSON object. */
  readonly json: JsonObject | undefined;
  /** What `Retry-After` asks for. */
  readonly retryAfterMs: number;

  constructor(
    url: string,
    { statusCode: status = 0, headers }: IncomingMessage,
    json: JsonObject | undefined,
  ) {
    const type = headers['content-type']?.split(';')[0]?.trim() || 'no content type';
    super(codeOf(status, json), ofStatus(url, { status, type, json }));
    this.status = status;
    this.json = json;
    this.retryAfterMs = retryAfterMs(headers['retry-after']);
  }
}

/**
 * Requests a body, and returns it as it arrives.
 *
 * @throws {StorageError} also while the body is read: one that ends early is `unavailable`.
 */
export const download = (connection: Connection, path: string): Promise<AsyncGenerator<Uint8Array>> =>
  attempt(connection, true, async () => {
    const exchange = send(connection, 'GET', path);
    exchange.request.end();
    return bodyOf(exchange, await exchange.response());
  });

/** Requests a JSON object. */
export async function getJson(connection: Connection, path: string): Promise<JsonObject> {
  return objectOf(connection, await download(connection, path));
}

/** Sends a body as it is generated, and returns the JSON object that the server answers. */
export const upload = (
  connection: Connection,
  { path, type, body, isRepeatable }: Upload,
): Promise<JsonObject> =>
  attempt(connection, isRepeatable, async () => {
    const exchange = send(connection, 'POST', path, { 'content-type': type });
    const answered = exchange.response();
    let isAnswered = false;
    const noteAnswer = (): void => {
      isAnswered = true;
    };
    answered.then(noteAnswer, noteAnswer);
    const began = performance.now();
    let bytes = 0;
    const underWayMs = (): number => {
      const pace = Math.min(bytes / (performance.now() - began), BYTES_PER_MS);
      return bytes === 0 ? 0 : Math.min(bytes, BUFFERED_BYTES) / pace;
    };
    try {
      for await (const piece of inPieces(body())) {
        if (isAnswered) break;
        bytes += piece.length;
        exchange.restartTimer(underWayMs());
        if (exchange.request.write(piece)) continue;
        const drained = new Promise<void>((resolve) => exchange.request.once('drain', resolve));
        // A server that has answered may not read any more.
        await Promise.race([drained, answered]);
      }
      if (!isAnswered) exchange.request.end();
      exchange.restartTimer(underWayMs());
      return await objectOf(connection, bodyOf(exchange, await answered));
    } finally {
      exchange.request.destroy();
    }
  });

async function* inPieces(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) yield* piecesOf(chunk, PIECE_BYTES);
}

async function attempt<T>(
  { signal }: Connection,
  isRepeatable: boolean,
  request: () => Promise<T>,
): Promise<T> {
  for (let n = 1; ; n += 1) {
    try {
      return await request();
    } catch (error) {
      signal.throwIfAborted();
      const refused = error instanceof StatusError ? error : undefined;
      const isPassing = refused
        ? PASSING.has(refused.status)
        : error instanceof StorageError && error.code === 'unavailable';
      const pauseMs = Math.max(backOffMs(n, BACK_OFF), refused?.retryAfterMs ?? 0);
      if (!isPassing || !isRepeatable || n === ATTEMPTS || pauseMs > LONGEST_PAUSE_MS) throw error;
      await sleep(pauseMs, signal);
      signal.throwIfAborted();
    }
  }
}

/** A request that was sent. */
interface Exchange {
  readonly url: string;
  readonly request: ClientRequest;
  /**
   * The limit on silence begins again.
   *
   * @param moreMs How much longer than usual the next silence may last.
   */
  restartTimer(moreMs?: number): void;
  /** Silence is allowed until the timer is restarted. */
  stopTimer(): void;
  /** The answer, if its status is 2xx. */
  response(): Promise<IncomingMessage>;
  /** The error of a connection that failed. */
  failure(error: unknown): Error;
}

/** Begins a request. The caller writes its body and ends it. */
function send(
  { url, token, timeoutMs, signal }: Connection,
  method: string,
  path: string,
  headers: Record<string, string> = {},
): Exchange {
  const open = url.startsWith('https:') ? httpsRequest : httpRequest;
  const request = open(url + path, {
    method,
    // A connection for each request: a server may close an idle one just when it is used again.
    agent: false,
    signal,
    headers: {
      accept: 'application/json, application/x-ndjson',
      // Without it, a proxy may compress as it likes (RFC 9110 §12.5.3).
      'accept-encoding': 'identity',
      ...headers,
      ...(token !== undefined && { authorization: `Bearer ${token}` }),
    },
  });
  let isLate = false;
  const giveUp = (): void => {
    isLate = true;
    request.destroy();
  };
  let timer = setTimeout(giveUp, timeoutMs);
  const stopTimer = (): void => clearTimeout(timer);
  const restartTimer = (moreMs = 0): void => {
    stopTimer();
    timer = setTimeout(giveUp, timeoutMs + moreMs);
  };
  request.on('close', stopTimer);
  const arrival = new Promise<IncomingMessage>((resolve, reject) => {
    request.once('response', resolve);
    request.on('error', reject);
    request.once('close', () => reject(new Error('The connection was closed.')));
  });
  arrival.catch(() => {});
  const failure = (error: unknown): Error => {
    if (signal.aborted) return signal.reason;
    if (isLate)
      return new StorageError(
        'timeout',
        `${ofTimeout(url, timeoutMs)} Try again, or set a longer --timeout.`,
      );
    return new StorageError('unavailable', ofSilence(url, platformCodes(error)), { cause: error });
  };
  const exchange: Exchange = {
    url,
    request,
    restartTimer,
    stopTimer,
    failure,
    async response() {
      let response: IncomingMessage;
      try {
        response = await arrival;
      } catch (error) {
        throw failure(error);
      }
      const status = response.statusCode ?? 0;
      if (status >= 200 && status < 300) {
        const coding = response.headers['content-encoding'] ?? 'identity';
        if (coding === 'identity') return response;
        request.destroy();
        throw new StorageError(
          'unavailable',
          `${url} sent a ${coding} answer that nobody asked for. Configure the proxy before the server not to compress it.`,
        );
      }
      const json = await jsonOf(bodyOf(exchange, response)).catch(() => undefined);
      request.destroy();
      throw new StatusError(url, response, json);
    },
  };
  return exchange;
}

/** The body of an answer. If it ends early, the error is `unavailable`. */
async function* bodyOf(
  { url, request, restartTimer, stopTimer, failure }: Exchange,
  response: IncomingMessage,
): AsyncGenerator<Uint8Array> {
  let bytes = 0;
  try {
    restartTimer();
    for await (const chunk of response as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      // While the chunk is processed, the server owes nothing.
      stopTimer();
      yield chunk;
      restartTimer();
    }
  } catch (error) {
    const known = failure(error);
    const isCut =
      (error as NodeJS.ErrnoException).code === 'ECONNRESET' &&
      known instanceof StorageError &&
      known.code === 'unavailable';
    if (!isCut) throw known;
    throw new StorageError(
      'unavailable',
      `${url} closed the connection after ${bytes} bytes of its answer. Check that the server still runs, and try again.`,
      { cause: error },
    );
  } finally {
    stopTimer();
    request.destroy();
  }
}

async function objectOf({ url }: Connection, body: AsyncIterable<Uint8Array>): Promise<JsonObject> {
  const json = await jsonOf(body);
  if (json === undefined) throw strangerError(url, 'something other than a JSON object');
  return json;
}

/** The object of a short body; `undefined` if it is something else. */
async function jsonOf(body: AsyncIterable<Uint8Array>): Promise<JsonObject | undefined> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    bytes += chunk.length;
    if (bytes > MAX_JSON_BYTES) return undefined;
    chunks.push(chunk);
  }
  try {
    const json: unknown = JSON.parse(Buffer.concat(chunks).toString());
    return isObject(json) ? json : undefined;
  } catch {
    return undefined;
  }
}
