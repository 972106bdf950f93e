/**
 * One HTTP request and its answer, as streams, each with a limit on how long nothing may move.
 *
 * Spec: RFC 9110, RFC 6750.
 */
import { type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { StorageError } from '../../core/errors.ts';
import { isObject, type JsonObject } from '../../core/json.ts';
import { codeOf, ofSilence, ofStatus, ofTimeout } from '../../remote/errors.ts';

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

/** Bytes of an answer that is read as a whole. */
const MOST_JSON = 1024 * 1024;

/** A request that is under way. */
export interface Sent {
  readonly request: ClientRequest;
  /**
   * Something moved: the limit on silence begins anew.
   *
   * @param more Milliseconds that the next silence may last longer.
   */
  moved(more?: number): void;
  /** Nothing is waited for. */
  rest(): void;
  /** The answer, if it is a 2xx. */
  response(subject: string): Promise<IncomingMessage>;
  /** What a failure of the connection is. */
  failure(subject: string, error: unknown): Error;
}

/** Begin a request. Its body is to be written, and ended. */
export function send(
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
      // Without it a proxy may compress as it likes (RFC 9110, 12.5.3).
      'accept-encoding': 'identity',
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
  const moved = (more = 0): void => {
    rest();
    timer = setTimeout(giveUp, timeout + more);
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
      if (status >= 200 && status < 300) {
        const coding = response.headers['content-encoding'] ?? 'identity';
        if (coding === 'identity') return response;
        request.destroy();
        throw new StorageError(
          'unavailable',
          `The answer to ${subject} comes as ${coding}, which was not asked for: have the proxy in between leave it as it is.`,
        );
      }
      const json = await jsonOf(bodyOf({ request, moved, rest, failure }, response, subject)).catch(
        () => undefined,
      );
      request.destroy();
      throw new Refused(subject, response, json);
    },
  };
}

/** The body of an answer. One that ends early is `unavailable`. */
export async function* bodyOf(
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
export async function jsonOf(body: AsyncIterable<Uint8Array>): Promise<JsonObject | undefined> {
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

const mediaType = ({ headers }: IncomingMessage): string =>
  headers['content-type']?.split(';')[0]?.trim() || 'nothing';
