/**
 * HTTP as the Flask backend needs it: JSON in, JSON out, every request within its time limit.
 *
 * An answer is believed by its body, not only by its status: proxies answer 200 and 404 with HTML of their own.
 * Redirects are refused, because a redirected PUT may arrive as a GET, or at another server.
 *
 * Spec: RFC 9110. Retried are only requests that may be sent twice (§9.2.2), and only after a status that says the
 * server did not do it: 429, 503, and 500, which an old server answers when it loses a race on INSERT.
 */
import ky, { isHTTPError, isTimeoutError } from 'ky';
import { closedError } from '../core/batch.ts';
import { StorageError } from '../core/errors.ts';

/** A JSON object. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** An answer: 2xx with its object, or `missing`, the 404 that says that there is no such key. */
export type Answer = { readonly missing: false; readonly json: JsonObject } | { readonly missing: true };

/** One request. */
export interface HttpRequest {
  readonly method: 'GET' | 'PUT' | 'POST' | 'DELETE';
  /** Path below the base URL, without a leading slash. */
  readonly path: string;
  /** JSON text. */
  readonly body?: string;
  /** Milliseconds, instead of the backend's. */
  readonly timeout?: number;
  /** Whether it may be sent again after 429, 500 or 503. */
  readonly retry?: boolean;
}

/**
 * Send one request.
 *
 * @throws {StorageError} `unavailable` (with `cause` only when there was no answer at all), `timeout`, `too-large`,
 * `quota`, `forbidden`, `refused`, `closed`.
 */
export type Http = (request: HttpRequest) => Promise<Answer>;

const KEY_NOT_FOUND = 'Key not found';
const RETRIED = {
  methods: ['get', 'put', 'post', 'delete'],
  statusCodes: [429, 500, 503],
  maxRetryAfter: 5000,
};

/** A sender of requests below `base`, until `signal` aborts. */
export function createHttp(base: string, timeout: number, signal: AbortSignal): Http {
  return async ({ method, path, body, retry = false, ...options }) => {
    const limit = options.timeout ?? timeout;
    const subject = `${method} ${base}${path}`;
    let type = '';
    try {
      const answer = ky(base + path, {
        method,
        signal,
        timeout: limit,
        redirect: 'manual',
        credentials: 'omit',
        cache: 'no-store',
        retry: retry
          ? { limit: 2, ...RETRIED, shouldRetry: ({ error }) => (isHTTPError(error) ? undefined : false) }
          : 0,
        headers: {
          accept: 'application/json',
          ...(body !== undefined && { 'content-type': 'application/json' }),
        },
        ...(body !== undefined && { body }),
      });
      type = mediaType(await answer);
      return { missing: false, json: parse(await answer.text(), type, subject) };
    } catch (error) {
      if (error instanceof StorageError) throw error;
      if (signal.aborted) throw closedError();
      if (isTimeoutError(error)) {
        throw new StorageError('timeout', `${subject} did not answer within ${limit} ms.`, { cause: error });
      }
      if (!isHTTPError(error)) {
        throw new StorageError('unavailable', `${subject} got no answer: ${networkReason(error)}`, {
          cause: error,
        });
      }
      type = mediaType(error.response);
      const json = isJson(type) && isObject(error.data) ? error.data : undefined;
      if (error.response.status === 404 && json?.error === KEY_NOT_FOUND) return { missing: true };
      throw statusError(error.response, type, json, subject);
    }
  };
}

/** Whether there was no answer at all: then nothing else will be answered right now either. */
export const isConnectionFailure = (error: unknown): boolean =>
  error instanceof StorageError &&
  (error.code === 'timeout' ||
    error.code === 'closed' ||
    (error.code === 'unavailable' && error.cause !== undefined));

/** Whether parsed JSON is an object. */
const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const mediaType = (response: Response): string =>
  response.headers.get('content-type')?.split(';')[0]?.trim() || 'nothing';

const isJson = (type: string): boolean => /[/+]json$/i.test(type);

function parse(text: string, type: string, subject: string): JsonObject {
  if (!isJson(type)) throw notOurs(subject, `${type}, not JSON`);
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw notOurs(subject, 'something that is no whole JSON text');
  }
  if (!isObject(json)) throw notOurs(subject, 'JSON that is no object');
  return json;
}

/** What an answer is called that no storage server gives. */
export const notOurs = (subject: string, what: string): StorageError =>
  new StorageError('unavailable', `${subject} answered ${what}: is this the storage server?`);

function statusError(
  response: Response,
  type: string,
  json: JsonObject | undefined,
  subject: string,
): StorageError {
  const { status } = response;
  const text = typeof json?.error === 'string' ? `: ${json.error}` : '';
  if (response.type === 'opaqueredirect' || (status >= 300 && status < 400)) {
    return new StorageError(
      'unavailable',
      `${subject} answered a redirect: give the server's final address as flaskUrl.`,
    );
  }
  if (status === 413)
    return new StorageError('too-large', `${subject} is over the server's size limit${text}`);
  if (status === 507)
    return new StorageError('quota', `${subject}: the server's disk or quota is full${text}`);
  if (status >= 500 || status === 429 || status === 408) {
    return new StorageError('unavailable', `${subject} failed at the server with status ${status}${text}`);
  }
  if (status === 401 || status === 403)
    return new StorageError('forbidden', `${subject} is not allowed (${status})${text}`);
  if (json === undefined || status === 404) return notOurs(subject, `${status} ${type}${text}`);
  return new StorageError('refused', `${subject} was refused with status ${status}${text}`);
}

/** The platform's reason, as far as it tells: Node.js hides it two causes deep, browsers tell nothing. */
function networkReason(error: unknown): string {
  const codes: string[] = [];
  for (let inner = error; inner instanceof Error; inner = inner.cause) {
    const { code } = inner as Error & { code?: unknown };
    if (typeof code === 'string') codes.push(code);
  }
  if (codes.includes('ECONNREFUSED')) return 'the connection was refused; nothing listens there.';
  return codes[0] ?? 'it is down, or it cannot be reached from here.';
}
