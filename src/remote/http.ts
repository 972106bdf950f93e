/**
 * One HTTP exchange with a storage server: JSON in, JSON out, within a time limit.
 *
 * An answer is believed by its body, not only by its status: proxies answer 200 and 404 with HTML of their own.
 * Redirects are refused, because a redirected PUT may arrive as a GET, or at another server.
 *
 * Spec: RFC 9110, RFC 6750.
 */
import ky, { isHTTPError, isTimeoutError, type RetryOptions } from 'ky';
import { closedError, StorageError } from '../core/errors.ts';
import { isObject, type JsonObject } from '../core/json.ts';
import { isToken, type Token } from '../core/options.ts';
import { retryAfterMs, withTimeLimit } from '../core/time.ts';
import { codeOf, ofSilence, ofStatus, ofTimeout, platformCodes, strangerError } from './errors.ts';

/** One request. */
export interface HttpRequest {
  readonly method: 'GET' | 'PUT' | 'POST' | 'DELETE';
  /** Path below the base URL, without a leading slash. */
  readonly path: string;
  /** JSON text. */
  readonly body?: string;
  /** Milliseconds, instead of the backend's. */
  readonly timeoutMs?: number;
  /** When it may be sent again; each attempt has the time limit then. */
  readonly retry?: RetryOptions;
  /** Sent without the token. */
  readonly isAnonymous?: boolean;
}

/** A request that did not come to a 2xx with a JSON object. */
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
}

/** What came of one request. */
export type Reply = { readonly ok: true; readonly json: JsonObject } | Failure;

/** Sends one request. Never rejects. */
export type Exchange = (request: HttpRequest) => Promise<Reply>;

/** A sender of requests below `base`, until `signal` aborts. */
export function createExchange(
  base: string,
  defaultTimeoutMs: number,
  signal: AbortSignal,
  token: Token | undefined,
): Exchange {
  return async ({ method, path, body, retry, isAnonymous = false, timeoutMs = defaultTimeoutMs }) => {
    const subject = `${method} ${base}${path}`;
    let bearer: string | undefined;
    if (!isAnonymous && token !== undefined)
      try {
        bearer = await askToken(token, timeoutMs, signal);
      } catch (error) {
        return failed(error as StorageError, { isSent: false });
      }
    // A request that is never retried here has its limit as a whole, its body included.
    const late = AbortSignal.timeout(Math.ceil(timeoutMs));
    try {
      const answer = ky(base + path, {
        method,
        signal: retry ? signal : AbortSignal.any([signal, late]),
        timeout: retry ? timeoutMs : false,
        redirect: 'manual',
        credentials: 'omit',
        // Only where there is something to cache: a request past the cache is one past a page's remembered preflights too.
        ...(method === 'GET' && { cache: 'no-store' }),
        retry: retry ?? 0,
        headers: {
          accept: 'application/json',
          ...(body !== undefined && { 'content-type': 'application/json' }),
          ...(bearer !== undefined && { authorization: `Bearer ${bearer}` }),
        },
        ...(body !== undefined && { body }),
      });
      const type = mediaType(await answer);
      // The promise's own text() has ky's time limit, the response's has none.
      const found = objectOf(await answer.text(), type);
      return typeof found === 'string' ? failed(strangerError(subject, found)) : { ok: true, json: found };
    } catch (error) {
      if (signal.aborted) return failed(closedError());
      if ((!retry && late.aborted) || isTimeoutError(error))
        return failed(new StorageError('timeout', ofTimeout(base, timeoutMs), { cause: error }));
      if (!isHTTPError(error)) {
        const codes = platformCodes(error);
        return failed(new StorageError('unavailable', ofSilence(base, codes), { cause: error }), {
          isSent: !codes.some((code) => NOT_CONNECTED.test(code)),
        });
      }
      const { status, headers } = error.response;
      const type = mediaType(error.response);
      const json = isJson(type) && isObject(error.data) ? error.data : undefined;
      return failed(new StorageError(codeOf(status, json), ofStatus(base, { status, type, json }, subject)), {
        status,
        json,
        retryAfterMs: retryAfterMs(headers.get('retry-after')),
      });
    }
  };
}

/** A failure. Without more, it is one without an answer. */
export const failed = (error: StorageError, more?: Partial<Failure>): Failure => ({
  ok: false,
  error,
  status: undefined,
  json: undefined,
  retryAfterMs: 0,
  isSent: true,
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
    'invalid-option',
    'token() must return a string of visible ASCII characters without spaces.',
  );
}

/** The codes of Node.js for a connection that was never made. Browsers do not tell. */
const NOT_CONNECTED = /^(ECONNREFUSED|ENOTFOUND|EAI_AGAIN|E(HOST|NET)UNREACH|UND_ERR_CONNECT_TIMEOUT)$/;

const mediaType = (response: Response): string =>
  response.headers.get('content-type')?.split(';')[0]?.trim() || 'nothing';

/** Whether a media type is one of JSON. */
const isJson = (type: string): boolean => /[/+]json$/i.test(type);

/** The object that a body is, or what it is instead, in words. */
function objectOf(text: string, type: string): JsonObject | string {
  if (!isJson(type)) return `${type}, not JSON`;
  try {
    const json: unknown = JSON.parse(text);
    return isObject(json) ? json : 'JSON that is not an object';
  } catch {
    return 'a text that is not complete JSON';
  }
}
