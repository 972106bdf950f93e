/**
 * HTTP as the Flask backend needs it: JSON in, JSON out, every request within its time limit.
 *
 * An answer is believed by its body, not only by its status: proxies answer 200 and 404 with HTML of their own.
 * Redirects are refused, because a redirected PUT may arrive as a GET, or at another server.
 *
 * Spec: RFC 9110, RFC 6750. Retried here are only requests that may be sent twice (§9.2.2), and only after a status that
 * says the server did not do it: 429, 503, and 500, which an old server answers when it loses a race on INSERT.
 */
import ky, { isHTTPError, isTimeoutError } from 'ky';
import { closedError } from '../core/batch.ts';
import { StorageError } from '../core/errors.ts';
import { isToken, type Token } from '../core/token.ts';

/** A JSON object. */
export type JsonObject = Readonly<Record<string, unknown>>;

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
  /** Sent without the token. */
  readonly anonymous?: boolean;
}

/** A request that did not come to a 2xx with a JSON object. */
export interface Failure {
  readonly ok: false;
  readonly error: StorageError;
  /** `undefined` where there was no answer. */
  readonly status: number | undefined;
  /** The body, where it is a JSON object. */
  readonly json: JsonObject | undefined;
  /** What `Retry-After` asks for. */
  readonly retryAfterMs: number;
  /** `false` only where it is known that the request did not reach a server. */
  readonly sent: boolean;
}

/** What came of one request. */
export type Reply = { readonly ok: true; readonly json: JsonObject } | Failure;

/** Send one request. Never throws. */
export type Exchange = (request: HttpRequest) => Promise<Reply>;

/** An answer: 2xx with its object, or `missing`, the 404 that says that there is no such key. */
export type Answer = { readonly missing: false; readonly json: JsonObject } | { readonly missing: true };

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
export function createExchange(
  base: string,
  timeout: number,
  signal: AbortSignal,
  token: Token | undefined,
): Exchange {
  return async ({ method, path, body, retry = false, anonymous = false, ...options }) => {
    const limit = options.timeout ?? timeout;
    const subject = `${method} ${base}${path}`;
    let bearer: string | undefined;
    try {
      if (!anonymous && token !== undefined) bearer = await askToken(token, limit, signal);
    } catch (error) {
      return failure(error as StorageError, false);
    }
    try {
      const answer = ky(base + path, {
        method,
        signal,
        timeout: limit,
        // A request that is never retried here has its limit as a whole, its body included.
        ...(!retry && { totalTimeout: limit }),
        redirect: 'manual',
        credentials: 'omit',
        // Only where there is something to cache: a request past the cache is one past a page's remembered preflights too.
        ...(method === 'GET' && { cache: 'no-store' }),
        retry: retry
          ? { limit: 2, ...RETRIED, shouldRetry: ({ error }) => (isHTTPError(error) ? undefined : false) }
          : 0,
        headers: {
          accept: 'application/json',
          ...(body !== undefined && { 'content-type': 'application/json' }),
          ...(bearer !== undefined && { authorization: `Bearer ${bearer}` }),
        },
        ...(body !== undefined && { body }),
      });
      const type = mediaType(await answer);
      return { ok: true, json: parse(await answer.text(), type, subject) };
    } catch (error) {
      if (error instanceof StorageError) return failure(error);
      if (signal.aborted) return failure(closedError());
      if (isTimeoutError(error)) {
        return failure(
          new StorageError('timeout', `${subject} did not answer within ${Math.round(limit)} ms.`, {
            cause: error,
          }),
        );
      }
      if (!isHTTPError(error)) {
        const codes = platformCodes(error);
        const message = `${subject} got no answer: ${networkReason(codes)}`;
        const sent = !codes.some((code) => NOT_CONNECTED.has(code));
        return failure(new StorageError('unavailable', message, { cause: error }), sent);
      }
      const type = mediaType(error.response);
      const json = isJson(type) && isObject(error.data) ? error.data : undefined;
      return {
        ...failure(statusError(error.response, type, json, subject)),
        status: error.response.status,
        json,
        retryAfterMs: retryAfterMs(error.response),
      };
    }
  };
}

/** Requests as level 0 speaks them: one answer that says no is an answer. */
export function createHttp(exchange: Exchange): Http {
  return async (request) => {
    const reply = await exchange(request);
    if (reply.ok) return { missing: false, json: reply.json };
    if (reply.status === 404 && reply.json?.error === KEY_NOT_FOUND) return { missing: true };
    throw reply.error;
  };
}

const failure = (error: StorageError, sent = true): Failure => ({
  ok: false,
  error,
  status: undefined,
  json: undefined,
  retryAfterMs: 0,
  sent,
});

/** The token for one request; what hangs counts as a request that hangs. */
async function askToken(token: Token, limit: number, signal: AbortSignal): Promise<string> {
  if (typeof token === 'string') return token;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let giveUp = (): void => {};
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new StorageError('timeout', `token() gave none within ${Math.round(limit)} ms.`)),
      limit,
    );
    giveUp = () => reject(closedError());
    signal.addEventListener('abort', giveUp);
  });
  try {
    if (signal.aborted) throw closedError();
    const asked = (async () => token())().catch((cause) => {
      throw new StorageError('forbidden', `token() failed, so no request was sent: ${cause}`, { cause });
    });
    const given = await Promise.race([asked, late]);
    if (isToken(given)) return given;
    throw new StorageError('invalid-option', 'A token is text of visible ASCII characters without spaces.');
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', giveUp);
  }
}

/** Whether there was no answer at all: then nothing else will be answered right now either. */
export const isConnectionFailure = (error: unknown): boolean =>
  error instanceof StorageError &&
  (error.code === 'timeout' ||
    error.code === 'closed' ||
    (error.code === 'unavailable' && error.cause !== undefined));

/** Whether parsed JSON is an object. */
export const isObject = (value: unknown): value is JsonObject =>
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
  return refusal(status, subject, text) ?? unexpected(json, status, type, subject, text);
}

/** The error that a status of a request, or of one operation of a batch, stands for. */
export function refusal(status: number, subject: string, text: string): StorageError | undefined {
  if (status === 413)
    return new StorageError('too-large', `${subject} is over the server's size limit${text}`);
  if (status === 507)
    return new StorageError('quota', `${subject}: the server's disk or quota is full${text}`);
  if (status >= 500 || status === 429 || status === 408) {
    return new StorageError('unavailable', `${subject} failed at the server with status ${status}${text}`);
  }
  if (status === 401 || status === 403) {
    const advice = status === 401 ? ' Give one with the option token.' : '';
    return new StorageError(
      'forbidden',
      `${subject} is not allowed (${status})${text}${advice && `.${advice}`}`,
    );
  }
  return undefined;
}

function unexpected(
  json: JsonObject | undefined,
  status: number,
  type: string,
  subject: string,
  text: string,
): StorageError {
  if (json === undefined || status === 404) return notOurs(subject, `${status} ${type}${text}`);
  return new StorageError('refused', `${subject} was refused with status ${status}${text}`);
}

/** Seconds or a date (RFC 9110 §10.2.3), as milliseconds from now; 0 where there is nothing to read. */
function retryAfterMs(response: Response): number {
  const text = response.headers.get('retry-after') ?? '';
  const wait = /^\d+$/.test(text) ? Number(text) * 1000 : Date.parse(text) - Date.now();
  return wait > 0 ? wait : 0;
}

/** What Node.js calls a connection that never was. Browsers do not tell. */
const NOT_CONNECTED: ReadonlySet<string> = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'UND_ERR_CONNECT_TIMEOUT',
]);

/** The platform's codes, as far as it tells: Node.js hides them two causes deep, browsers tell nothing. */
function platformCodes(error: unknown): string[] {
  const codes: string[] = [];
  for (let inner = error; inner instanceof Error; inner = inner.cause) {
    const { code } = inner as Error & { code?: unknown };
    if (typeof code === 'string') codes.push(code);
  }
  return codes;
}

function networkReason(codes: readonly string[]): string {
  if (codes.includes('ECONNREFUSED')) return 'the connection was refused; nothing listens there.';
  return codes[0] ?? 'it is down, or it cannot be reached from here.';
}
