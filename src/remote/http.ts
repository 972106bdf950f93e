/**
 * HTTP as the Flask backend needs it: JSON in, JSON out, every request within its time limit.
 *
 * An answer is believed by its body, not only by its status: proxies answer 200 and 404 with HTML of their own.
 * Redirects are refused, because a redirected PUT may arrive as a GET, or at another server.
 *
 * Spec: RFC 9110, RFC 6750.
 */
import ky, { isHTTPError, isTimeoutError, type RetryOptions } from 'ky';
import { closedError, StorageError, type StorageErrorCode } from '../core/errors.ts';
import { isObject, type JsonObject } from '../core/json.ts';
import { load } from '../core/load.ts';
import type { Token } from '../core/token.ts';

/** One request. */
export interface HttpRequest {
  readonly method: 'GET' | 'PUT' | 'POST' | 'DELETE';
  /** Path below the base URL, without a leading slash. */
  readonly path: string;
  /** JSON text. */
  readonly body?: string;
  /** Milliseconds, instead of the backend's. */
  readonly timeout?: number;
  /** When it may be sent again; each attempt has the time limit then. */
  readonly retry?: RetryOptions;
  /** Sent without the token. */
  readonly anonymous?: boolean;
}

/** A request that did not come to a 2xx with a JSON object. */
export interface Failure {
  readonly ok: false;
  readonly code: StorageErrorCode;
  /** The platform's own error; there is none where there was an answer. */
  readonly cause: unknown;
  /** `undefined` where there was no answer. */
  readonly status: number | undefined;
  /** The body, where it is a JSON object. */
  readonly json: JsonObject | undefined;
  /** What `Retry-After` asks for. */
  readonly retryAfterMs: number;
  /** `false` only where it is known that the request did not reach a server. */
  readonly sent: boolean;
  /** What to reject with. */
  error(): Promise<StorageError>;
}

/** What came of one request. */
export type Reply = { readonly ok: true; readonly json: JsonObject } | Failure;

/** Send one request. Never throws. */
export type Exchange = (request: HttpRequest) => Promise<Reply>;

/** A sender of requests below `base`, until `signal` aborts. */
export function createExchange(
  base: string,
  timeout: number,
  signal: AbortSignal,
  token: Token | undefined,
): Exchange {
  return async ({ method, path, body, retry, anonymous = false, ...options }) => {
    const limit = options.timeout ?? timeout;
    const subject = `${method} ${base}${path}`;
    let bearer = token;
    if (anonymous) bearer = undefined;
    else if (typeof token === 'function') {
      try {
        bearer = await (await load(import('./token.ts'))).askToken(token, limit, signal);
      } catch (error) {
        return { ...failed(error as StorageError), sent: false };
      }
    }
    // A request that is never retried here has its limit as a whole, its body included.
    const late = AbortSignal.timeout(Math.ceil(limit));
    try {
      const answer = ky(base + path, {
        method,
        signal: retry ? signal : AbortSignal.any([signal, late]),
        timeout: retry ? limit : false,
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
      return typeof found === 'string' ? strange(subject, found) : { ok: true, json: found };
    } catch (error) {
      if (signal.aborted) return failed(closedError());
      if ((!retry && late.aborted) || isTimeoutError(error))
        return unexplained('timeout', subject, ({ ofTimeout }) => ofTimeout(subject, limit), error);
      if (!isHTTPError(error)) {
        const codes = platformCodes(error);
        return {
          ...unexplained('unavailable', subject, ({ ofSilence }) => ofSilence(subject, codes), error),
          sent: !codes.some((code) => NOT_CONNECTED.test(code)),
        };
      }
      const { status, headers } = error.response;
      const type = mediaType(error.response);
      const json = isJson(type) && isObject(error.data) ? error.data : undefined;
      return {
        ...unexplained(codeOf(status, json), subject, ({ ofStatus }) =>
          ofStatus(subject, { status, type, json }),
        ),
        status,
        json,
        retryAfterMs: retryAfterMs(headers),
      };
    }
  };
}

type Explain = (explanations: typeof import('./messages.ts')) => string;

/** Milliseconds that the words of an error may take to load. */
const EXPLAIN_TIME = 1000;

/** An error in words, or, where those cannot be loaded now, with what failed and the code. */
export async function explained(
  code: StorageErrorCode,
  subject: string,
  text: Explain,
  cause?: unknown,
): Promise<StorageError> {
  const loading = import('./recovery.ts').then(text).catch(() => undefined);
  const message = (await within(EXPLAIN_TIME, loading)) ?? `${subject} failed (${code}).`;
  return new StorageError(code, message, cause === undefined ? {} : { cause });
}

/** What `work` resolves with, or `undefined` when the time is over first, or `signal` aborts. */
export function within<T>(ms: number, work: Promise<T>, signal?: AbortSignal): Promise<T | undefined> {
  return new Promise((resolve, reject) => {
    const giveUp = (): void => done(undefined);
    const timer = setTimeout(giveUp, ms);
    const done = (value: T | undefined): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', giveUp);
      resolve(value);
    };
    signal?.addEventListener('abort', giveUp);
    work.then(done, reject);
  });
}

const failure = (code: StorageErrorCode, cause: unknown, error: Failure['error']): Failure => ({
  ok: false,
  code,
  cause,
  status: undefined,
  json: undefined,
  retryAfterMs: 0,
  sent: true,
  error,
});

const failed = (error: StorageError): Failure => failure(error.code, error.cause, async () => error);

const unexplained = (code: StorageErrorCode, subject: string, text: Explain, cause?: unknown): Failure =>
  failure(code, cause, () => explained(code, subject, text, cause));

/** An answer that no storage server gives. */
export const strange = (subject: string, answered: string): Failure =>
  unexplained('unavailable', subject, ({ ofStranger }) => ofStranger(subject, answered));

const mediaType = (response: Response): string =>
  response.headers.get('content-type')?.split(';')[0]?.trim() || 'nothing';

/** What a status of a request, or of one operation of a batch, stands for. */
export function codeOf(status: number, json: unknown): StorageErrorCode {
  if (status === 413) return 'too-large';
  if (status === 507) return 'quota';
  if (status === 401 || status === 403) return 'forbidden';
  const definite = status >= 400 && status < 500 && status !== 429 && status !== 408 && status !== 404;
  return definite && json !== undefined ? 'refused' : 'unavailable';
}

/** Seconds or a date (RFC 9110 §10.2.3), as milliseconds from now; 0 where there is nothing to read. */
function retryAfterMs(headers: Headers): number {
  const text = headers.get('retry-after') ?? '';
  const wait = /^\d+$/.test(text) ? Number(text) * 1000 : Date.parse(text) - Date.now();
  return Math.min(Math.max(wait || 0, 0), LONGEST_WAIT);
}

/** setTimeout takes no more than 31 bits. */
const LONGEST_WAIT = 2 ** 31 - 1;

/** What Node.js calls a connection that never was. Browsers do not tell. */
const NOT_CONNECTED = /^(ECONNREFUSED|ENOTFOUND|EAI_AGAIN|E(HOST|NET)UNREACH|UND_ERR_CONNECT_TIMEOUT)$/;

/** The platform's codes, as far as it tells: Node.js hides them two causes deep, browsers tell nothing. */
function platformCodes(error: unknown): string[] {
  const codes: string[] = [];
  for (let inner = error; inner instanceof Error; inner = inner.cause) {
    const { code } = inner as Error & { code?: unknown };
    if (typeof code === 'string') codes.push(code);
  }
  return codes;
}

/** Whether a media type is one of JSON. */
const isJson = (type: string): boolean => /[/+]json$/i.test(type);

/** The object that a body is, or what it is instead, in words. */
function objectOf(text: string, type: string): JsonObject | string {
  if (!isJson(type)) return `${type}, not JSON`;
  try {
    const json: unknown = JSON.parse(text);
    return isObject(json) ? json : 'JSON that is no object';
  } catch {
    return 'something that is no whole JSON text';
  }
}
