/**
 * One HTTP exchange with a storage server: JSON in, JSON out, within a time limit that includes all attempts.
 *
 * ky sends, pauses, repeats, and ends what takes too long. This file decides which answers are believed: an answer is believed by its
 * body, not only by its status, because proxies answer 200 and 404 with HTML of their own. An answer whose body was cut is none.
 * Redirects are refused, because a redirected PUT may arrive as a GET, or at another server.
 *
 * Spec: RFC 9110, RFC 6750.
 */
import ky, { isTimeoutError } from 'ky';
import { closedError, StorageError } from '../core/errors.ts';
import { isObject, type JsonObject } from '../core/json.ts';
import { isToken, type Token } from '../core/options.ts';
import {
  type BackOff,
  backOffMs,
  type Deadline,
  remainingMs,
  retryAfterMs,
  withTimeLimit,
} from '../core/time.ts';
import { codeOf, ofSilence, ofStatus, ofTimeout, platformCodes, strangerError } from './errors.ts';

/** One request. */
export interface HttpRequest<T> {
  readonly method: 'GET' | 'PUT' | 'POST' | 'DELETE';
  /** Path below the base URL, without a leading slash. */
  readonly path: string;
  /** JSON text. */
  readonly body?: string | undefined;
  /** Milliseconds for all attempts, their pauses and bodies. Never more than the backend's, which is the default. */
  readonly timeoutMs?: number;
  /** The time limit that this request shares with others, for its error message. Default: its own. */
  readonly sharedLimitMs?: number | undefined;
  /** Default: it is sent once. */
  readonly repeats?: Repeats;
  /** Whether it is sent without the token. */
  readonly isAnonymous?: boolean;
  /** The token to send. Default: the token of the storage, read again for each attempt. */
  readonly token?: string;
  /** Is called before each attempt with its token. An attempt for which it returns a failure is not sent. */
  checkToken?(token: string, limitMs: number): Promise<Failure | undefined>;
  /**
   * What the object of a 2xx answer holds, or `undefined` if that is not a whole answer to this request.
   *
   * @param token The token that was sent.
   */
  answerOf(json: JsonObject, token: string | undefined): T | undefined;
  /** Of a request whose answer is read as it comes. */
  readonly stream?: Streaming<T>;
}

/** An answer that is read as it comes. The time limit of its request ends when `open` has settled. */
export interface Streaming<T> {
  /** The media type that is asked for. */
  readonly type: string;
  /** What the body of a 2xx answer of that type is. Rejects if it is cut. */
  open(body: ReadableStream<Uint8Array>): Promise<T>;
}

/** When an attempt that failed is repeated. Nothing is repeated for which the time limit leaves no room. */
export interface Repeats {
  /** The most repetitions. */
  readonly limit: number;
  /** The pauses, unless `Retry-After` asks for a longer one. */
  readonly pauses: BackOff;
  /** Whether to repeat after this failure. */
  after(failure: Failure): boolean;
}

/** An attempt without an answer, or with one that is refused or not believed. */
export interface Failure {
  readonly ok: false;
  /** What to reject with. `cause` is the platform's own error: it is missing where there was an answer. */
  readonly error: StorageError;
  /** `undefined` where there was no answer. */
  readonly status: number | undefined;
  /** The body, if it is a JSON object. */
  readonly json: JsonObject | undefined;
  /** What `Retry-After` asks for. */
  readonly retryAfterMs: number;
  /** `false` only where it is known that the request did not reach a server. */
  readonly isSent: boolean;
  /** Whether there was a whole 2xx answer, but of something else. */
  readonly isForeign: boolean;
}

/** What came of a request: its answer, or the failure of its last attempt. */
export type Reply<T> = { readonly ok: true; readonly answer: T } | Failure;

/** Sends one request. Never rejects. */
export type Exchange = <T>(request: HttpRequest<T>) => Promise<Reply<T>>;

/** A sender of requests below `base`, until `signal` aborts. */
export function createExchange(
  base: string,
  defaultTimeoutMs: number,
  signal: AbortSignal,
  token: Token | undefined,
): Exchange {
  return async <T>(request: HttpRequest<T>) => {
    const { method, path, body, repeats, isAnonymous = false, checkToken, stream } = request;
    const given = isAnonymous ? undefined : (request.token ?? token);
    const timeoutMs = Math.min(request.timeoutMs ?? defaultTimeoutMs, defaultTimeoutMs);
    // The requests before it have taken all the time of their call.
    if (timeoutMs <= 0)
      return failed(new StorageError('timeout', ofTimeout(base, request.sharedLimitMs ?? defaultTimeoutMs)), {
        isSent: false,
      });
    const deadline = performance.now() + timeoutMs;
    /** The attempt that is under way, or that was the last. */
    const last: { reply?: Reply<T> | undefined; isSent: boolean } = { isSent: false };
    let pauseMs = 0;

    async function attempt(sending: Request): Promise<Reply<T>> {
      let bearer: string | undefined;
      if (given !== undefined) {
        try {
          bearer = await askToken(given, deadline - performance.now(), signal);
        } catch (error) {
          return failed(error as StorageError, { isSent: false });
        }
        const failure = await checkToken?.(bearer, deadline - performance.now());
        if (failure) return { ...failure, isSent: false };
        sending.headers.set('authorization', `Bearer ${bearer}`);
      }
      last.isSent = true;
      try {
        // ky copies a request before each attempt. The body is added here, so that it is never copied.
        return await replyOf(await fetch(sending, body === undefined ? {} : { body }), request, base, bearer);
      } catch (error) {
        const codes = platformCodes(error);
        return failed(new StorageError('unavailable', ofSilence(base, codes), { cause: error }), {
          isSent: !codes.some((code) => NOT_CONNECTED.test(code)),
        });
      }
    }

    try {
      await ky(base + path, {
        method,
        signal,
        redirect: 'manual',
        credentials: 'omit',
        // Only where there is something to cache: a request past the cache is one past a page's remembered preflights too.
        ...(method === 'GET' && { cache: 'no-store' }),
        headers: {
          accept: stream?.type ?? 'application/json',
          ...(body !== undefined && { 'content-type': 'application/json' }),
        },
        timeout: false,
        totalTimeout: timeoutMs,
        // To ky an attempt is a fetch that includes the body. It rejects unless the answer is believed.
        async fetch(sending) {
          last.reply = undefined;
          last.isSent = false;
          const reply = await attempt(sending as Request);
          // Then the time limit has passed, or the storage was closed.
          (sending as Request).signal.throwIfAborted();
          last.reply = reply;
          if (reply.ok) return new Response();
          throw reply.error;
        },
        retry: {
          limit: repeats?.limit ?? 0,
          methods: [method.toLowerCase() as 'get'],
          shouldRetry({ retryCount }) {
            const { reply } = last;
            if (!reply || reply.ok || !repeats?.after(reply)) return false;
            pauseMs = Math.max(reply.retryAfterMs, backOffMs(retryCount, repeats.pauses));
            return performance.now() + pauseMs < deadline;
          },
          delay: () => pauseMs,
        },
      });
    } catch (cause) {
      const { isSent } = last;
      if (signal.aborted) return failed(closedError(), { isSent });
      // Where the limit passes during a pause, the failure before it says more.
      if (!last.reply)
        return isTimeoutError(cause)
          ? failed(
              new StorageError('timeout', ofTimeout(base, request.sharedLimitMs ?? timeoutMs), { cause }),
              { isSent },
            )
          : failed(new StorageError('unavailable', ofSilence(base, []), { cause }), { isSent });
    }
    return last.reply as Reply<T>;
  };
}

/** An exchange for one call. Until its first request is answered, its requests have one limit together: `deadline`. */
export function exchangeBy(exchange: Exchange, deadline: Deadline | undefined): Exchange {
  let by = deadline;
  return async (request) => {
    const reply = await exchange({ ...request, ...(by !== undefined && { timeoutMs: remainingMs(by) }) });
    if (reply.ok || reply.status !== undefined) by = undefined;
    return reply;
  };
}

/** What an answer is worth. Rejects where its body is cut. */
async function replyOf<T>(
  response: Response,
  { answerOf, stream }: HttpRequest<T>,
  base: string,
  token: string | undefined,
): Promise<Reply<T>> {
  const { ok, status, headers } = response;
  const type = headers.get('content-type')?.split(';')[0]?.trim() || 'nothing';
  if (ok && stream?.type === type && response.body) return { ok, answer: await stream.open(response.body) };
  // The status of a refusal says enough where its body cannot be read.
  const text = await (ok ? response.text() : response.text().catch(() => ''));
  const found = objectOf(text, type);
  if (ok) {
    if (typeof found === 'string')
      return failed(strangerError(base, found), { isForeign: found !== INCOMPLETE });
    const answer = answerOf(found, token);
    if (answer !== undefined) return { ok, answer };
    return failed(strangerError(base, 'JSON of an unexpected shape'), { isForeign: true });
  }
  const json = typeof found === 'string' ? undefined : found;
  return failed(new StorageError(codeOf(status, json), ofStatus(base, { status, type, json })), {
    status,
    json,
    retryAfterMs: retryAfterMs(headers.get('retry-after')),
  });
}

/** A failure. Without more, it is one without an answer. */
export const failed = (error: StorageError, more?: Partial<Failure>): Failure => ({
  ok: false,
  error,
  status: undefined,
  json: undefined,
  retryAfterMs: 0,
  isSent: true,
  isForeign: false,
  ...more,
});

/**
 * The token of a request. If an app gave a function for it, the function is called, and may take as long as a request.
 *
 * @throws {StorageError} `timeout`, `forbidden`, `invalid-option`, `closed`: nothing was sent.
 */
export async function askToken(token: Token, limitMs: number, signal: AbortSignal): Promise<string> {
  if (typeof token === 'string') return token;
  if (signal.aborted) throw closedError();
  const asked = (async () => token())().catch((cause) => {
    throw new StorageError('forbidden', `token() failed, so no request was sent: ${cause}`, { cause });
  });
  const given = await withTimeLimit(
    asked,
    limitMs,
    (aborted) => {
      if (aborted) throw closedError();
      throw new StorageError('timeout', `token() returned nothing within ${Math.round(limitMs)} ms.`);
    },
    signal,
  );
  if (isToken(given)) return given;
  throw new StorageError(
    'forbidden',
    'token() returned no token, so no request was sent: it must return a string of visible ASCII characters without spaces.',
  );
}

/** The codes of Node.js for a connection that was never made. Browsers do not tell. */
const NOT_CONNECTED = /^(ECONNREFUSED|ENOTFOUND|EAI_AGAIN|E(HOST|NET)UNREACH|UND_ERR_CONNECT_TIMEOUT)$/;

const INCOMPLETE = 'a text that is not complete JSON';

/** The object that a body is, or what it is instead, in words. */
function objectOf(text: string, type: string): JsonObject | string {
  if (!/[/+]json$/i.test(type)) return `${type}, not JSON`;
  try {
    const json: unknown = JSON.parse(text);
    return isObject(json) ? json : 'JSON that is not an object';
  } catch {
    return INCOMPLETE;
  }
}
