/**
 * Requests as level 0 speaks them: one answer that says no is an answer.
 *
 * Retried are only requests that may be sent twice (RFC 9110 §9.2.2), and only after a status that says the server did not do it:
 * 429, 503, and 500, which an old server answers when it loses a race on INSERT.
 */
import { StorageError } from '../../core/errors.ts';
import type { JsonObject } from '../../core/json.ts';
import type { Exchange, HttpRequest } from '../http.ts';

/** An answer: 2xx with its object, or `missing`, the 404 that says that there is no such key. */
export type Answer = { readonly missing: false; readonly json: JsonObject } | { readonly missing: true };

/**
 * Send one request.
 *
 * @throws {StorageError} `unavailable` (with `cause` only when there was no answer at all), `timeout`, `too-large`,
 * `quota`, `forbidden`, `refused`, `closed`.
 */
export type Http = (request: HttpRequest) => Promise<Answer>;

/** Up to twice, where there was an answer. */
export const RETRIED: NonNullable<HttpRequest['retry']> = {
  limit: 2,
  methods: ['get', 'put', 'post', 'delete'],
  statusCodes: [429, 500, 503],
  maxRetryAfter: 5000,
  shouldRetry: ({ error }) => ('response' in error ? undefined : false),
};

const KEY_NOT_FOUND = 'Key not found';

/** Speak so over `exchange`. */
export function createHttp(exchange: Exchange): Http {
  return async (request) => {
    const reply = await exchange(request);
    if (reply.ok) return { missing: false, json: reply.json };
    if (reply.status === 404 && reply.json?.error === KEY_NOT_FOUND) return { missing: true };
    throw await reply.error();
  };
}

/** Whether there was no answer at all: then nothing else will be answered right now either. */
export const isConnectionFailure = (error: unknown): boolean =>
  error instanceof StorageError &&
  (error.code === 'timeout' ||
    error.code === 'closed' ||
    (error.code === 'unavailable' && error.cause !== undefined));
