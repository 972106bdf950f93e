/**
 * HTTP as the command needs it: bodies of any size as streams, in flat memory, in both directions.
 *
 * The time limit is on silence, not on the whole: a transfer may take hours as long as something moves. Redirects are not
 * followed. What can be asked again without harm is, twice, while not a byte of an answer has come.
 *
 * Spec: RFC 9110, RFC 6750.
 */
import { type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { setTimeout as delay } from 'node:timers/promises';
import { ofSilence, ofStatus, ofStranger, ofTimeout } from '../backends/flask-explain.ts';
import { codeOf, isObject, type JsonObject } from '../backends/flask-http.ts';
import { StorageError } from '../core/errors.ts';

/** Where requests go, and how. */
export interface Connection {
  /** Base URL with a trailing slash. */
  readonly url: string;
  readonly token: string | undefined;
  /** Milliseconds that the server may be silent. */
  readonly timeout: number;
  /** Ends what is under way. */
  readonly signal: AbortSignal;
}

/** A request with a body. `body` is called once for each attempt. */
export interface Upload {
  readonly path: string;
  readonly type: string;
  readonly body: () => AsyncIterable<Uint8Array>;
  /** Whether it does no harm when it arrives twice. */
  readonly repeatable: boolean;
}

/** An answer that says no. */
export class Refused extends StorageError {
  readonly status: number;
  /** The body, where it is a JSON object. */
  readonly json: JsonObject | undefined;
  /** Milliseconds that `Retry-After` asks for. */
  readonly retryAfterMs: number;

  constructor(subject: string, response: IncomingMessage, json: JsonObject | undefined) {
    const status = response.statusCode ?? 0;
    const type = mediaType(response);
    super(codeOf(status, json), ofStatus(subject, { status, type, json }));
    this.status = status;
    this.json = json;
    const asked = response.headers['retry-after'] ?? '';
    const ms = /^\d+$/.test(asked) ? Number(asked) * 1000 : Date.parse(asked) - Date.now();
    this.retryAfterMs = ms > 0 ? ms : 0;
  }
}

/** Attempts at one request. */
const ATTEMPTS = 3;
/** Milliseconds before the second attempt; twice that before the third. */
const PAUSE = 500;
/** Milliseconds that the command waits because a server asks for it. */
const LONGEST_PAUSE = 60_000;
/** Bytes of an answer that is read as a whole. */
const MOST_JSON = 1024 * 1024;

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
    try {
      for await (const chunk of body()) {
        if (early) break;
        sent.moved();
        if (sent.request.write(chunk)) continue;
        const drained = new Promise<void>((resolve) => sent.request.once('drain', resolve));
        // A server that has answered may read no more.
        await Promise.race([drained, answered]);
      }
      if (!early) sent.request.end();
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

interface Sent {
  readonly request: ClientRequest;
  /** Something moved: the limit on silence begins anew. */
  moved(): void;
  /** Nothing is waited for. */
  rest(): void;
  /** The answer, if it is a 2xx. */
  response(subject: string): Promise<IncomingMessage>;
  /** What a failure of the connection is. */
  failure(subject: string, error: unknown): Error;
}

function send(
  { url, token, timeout, signal }: Connection,
  method: string,
  path: string,
  headers: Record<string, string> = {},
): Sent {
  const open = url.startsWith('https:') ? httpsRequest : httpRequest;
  const request = open(url + path, {
    method,
    // A connection each: one that a server closes while it idles is no failure then.
    agent: false,
    signal,
    headers: {
      accept: 'application/json, application/x-ndjson',
      ...headers,
      ...(token !== undefined && { authorization: `Bearer ${token}` }),
    },
  });
  let late = false;
  const giveUp = (): void => {
    late = true;
    request.destroy();
  };
  let timer = setTimeout(giveUp, timeout);
  const rest = (): void => clearTimeout(timer);
  const moved = (): void => {
    rest();
    timer = setTimeout(giveUp, timeout);
  };
  request.on('close', rest);
  const arrival = new Promise<IncomingMessage>((resolve, reject) => {
    request.once('response', resolve);
    request.on('error', reject);
    request.once('close', () => reject(new Error('closed')));
  });
  arrival.catch(() => {});
  const failure = (subject: string, error: unknown): Error => {
    if (signal.aborted) return signal.reason;
    if (late) return new StorageError('timeout', `${ofTimeout(subject, timeout)} --timeout allows more.`);
    const { code } = error as NodeJS.ErrnoException;
    return new StorageError('unavailable', ofSilence(subject, code === undefined ? [] : [code]), {
      cause: error,
    });
  };
  return {
    request,
    moved,
    rest,
    failure,
    async response(subject) {
      let response: IncomingMessage;
      try {
        response = await arrival;
      } catch (error) {
        throw failure(subject, error);
      }
      const status = response.statusCode ?? 0;
      if (status >= 200 && status < 300) return response;
      const json = await jsonOf(bodyOf({ request, moved, rest, failure }, response, subject)).catch(
        () => undefined,
      );
      request.destroy();
      throw new Refused(subject, response, json);
    },
  };
}

async function* bodyOf(
  { request, moved, rest, failure }: Omit<Sent, 'response'>,
  response: IncomingMessage,
  subject: string,
): AsyncGenerator<Uint8Array> {
  let bytes = 0;
  try {
    moved();
    for await (const chunk of response as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      // While the chunk is dealt with, nobody waits for the server.
      rest();
      yield chunk;
      moved();
    }
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'ECONNRESET') throw failure(subject, error);
    const known = failure(subject, error);
    throw (known as StorageError).code === 'unavailable'
      ? new StorageError(
          'unavailable',
          `The answer to ${subject} ended early, after ${bytes} bytes: the server went away.`,
          {
            cause: error,
          },
        )
      : known;
  } finally {
    rest();
    request.destroy();
  }
}

/** The object that a short body is. */
async function jsonOf(body: AsyncIterable<Uint8Array>): Promise<JsonObject | undefined> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    bytes += chunk.length;
    if (bytes > MOST_JSON) return undefined;
    chunks.push(chunk);
  }
  try {
    const json: unknown = JSON.parse(Buffer.concat(chunks).toString());
    return isObject(json) ? json : undefined;
  } catch {
    return undefined;
  }
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

const mediaType = ({ headers }: IncomingMessage): string =>
  headers['content-type']?.split(';')[0]?.trim() || 'nothing';
