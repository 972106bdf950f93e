/**
 * One request of level 1, sent again until it has a whole answer or its time has passed (docs/contract.md, 12.4).
 *
 * This is the only place that sends something again on level 1. ky's own retries end where the headers have arrived. Here a body
 * that was cut, or that is not the server's, is a lost answer too, and what may have arrived has to be known.
 */
import type { StorageError } from '../../core/errors.ts';
import type { JsonObject } from '../../core/json.ts';
import { type BackOff, backOffMs, sleep } from '../../core/time.ts';
import { strangerError } from '../errors.ts';
import { type Exchange, type Failure, failed, type HttpRequest } from '../http.ts';

/** What a request came to, after all attempts. */
export type Settled<T> = { readonly answer: T; readonly error?: undefined } | Unanswered;

/** A request without the answer that was asked for. */
export interface Unanswered {
  readonly answer?: undefined;
  readonly error: StorageError;
  /** The status of a refusal that the server itself gave; `undefined` where the answer was lost. */
  readonly refused: number | undefined;
  /** The `type` of a refusal (9.2). */
  readonly type: unknown;
  /** Whether the server may have carried it out, or may still do so. */
  readonly inDoubt: boolean;
}

/** Sends a request of level 1. `check` returns what an answer holds, or `undefined` when it is not a whole one. */
export type Ask = <T>(
  request: HttpRequest,
  check: (json: JsonObject) => T | undefined,
) => Promise<Settled<T>>;

/** Statuses of a proxy, or of a server that has no time. They say nothing about the request. */
const LOST: ReadonlySet<number> = new Set([408, 429, 500, 502, 503, 504]);
/** After so many attempts in a row without any answer there is no server. They take about 1.5 s. */
const SILENT = 6;
/** The most attempts, however long the time limit is. */
const ATTEMPTS = 1000;
const PAUSES: BackOff = { firstMs: 50, longestMs: 1000, jitter: 'equal' };

/** A sender that gives each request `timeoutMs`, with all its attempts, pauses and bodies. */
export function createAsk(exchange: Exchange, timeoutMs: number, signal: AbortSignal): Ask {
  return async (request, check) => {
    const deadline = performance.now() + timeoutMs;
    let inDoubt = false;
    let silent = 0;
    let reason: Failure | undefined;
    for (let attempts = 1; ; attempts++) {
      const reply = await exchange({ ...request, timeoutMs: Math.max(1, deadline - performance.now()) });
      const answer = reply.ok ? check(reply.json) : undefined;
      if (answer !== undefined) return { answer };
      const failure = reply.ok
        ? failed(strangerError(`${request.method} ${request.path}`, 'JSON that is no answer to it'))
        : reply;
      if (isDefinite(failure)) {
        const { status: refused, json, error } = failure;
        return { error, refused, type: json?.type, inDoubt };
      }
      inDoubt ||= failure.isSent;
      // That the last attempt ran out of time says less than what came before it.
      if (reason === undefined || failure.error.code !== 'timeout') reason = failure;
      const { code, cause } = failure.error;
      silent = code === 'unavailable' && cause !== undefined ? silent + 1 : 0;
      const pause = Math.max(failure.retryAfterMs, backOffMs(attempts, PAUSES));
      const isOver = performance.now() + pause >= deadline || silent >= SILENT || attempts >= ATTEMPTS;
      if (isOver || signal.aborted)
        return { error: reason.error, refused: undefined, type: undefined, inDoubt };
      await sleep(pause, signal);
    }
  };
}

/** Whether a failure says that the server has understood the request and carried out nothing of it. */
function isDefinite({ error, status, json, isSent }: Failure): boolean {
  if (status === undefined) return !isSent && error.code !== 'unavailable';
  // A proxy says these without JSON: too large, and a redirect, whose status a browser shows as 0.
  if (status === 413 || status < 400) return true;
  return (
    typeof json?.error === 'string' &&
    ((status >= 400 && status < 500) || status === 507) &&
    !LOST.has(status)
  );
}
