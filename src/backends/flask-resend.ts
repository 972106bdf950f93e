/**
 * One request of level 1, sent again until it has a whole answer or its time has passed (docs/contract.md, 12.4).
 *
 * This is the only place that sends something again on level 1. ky's own retries end where the headers have arrived; here
 * a body that was cut, or that is not the server's, is a lost answer too, and what may have arrived has to be known.
 */
import type { StorageError } from '../core/errors.ts';
import { type Exchange, type Failure, type HttpRequest, type JsonObject, notOurs } from './flask-http.ts';

/** What a request came to, all its resends included. */
export type Sent<T> = { readonly answer: T; readonly error?: undefined } | Unanswered;

/** A request without the answer that was asked for. */
export interface Unanswered {
  readonly answer?: undefined;
  readonly error: StorageError;
  /** The status of a refusal that the server itself gave; `undefined` where the answer was lost. */
  readonly refused: number | undefined;
  /** The name of a refusal (9.2), such as `op-gap`. */
  readonly problem: string | undefined;
  /** Whether the server may have carried it out, or may still do so. */
  readonly inDoubt: boolean;
}

/** Sends requests of level 1. `check` returns what an answer holds, or `undefined` when it is not a whole one. */
export type Ask = <T>(request: HttpRequest, check: (json: JsonObject) => T | undefined) => Promise<Sent<T>>;

/** Statuses that say nothing about what was asked: somebody on the way, or a server that has no time. */
const LOST: ReadonlySet<number> = new Set([408, 429, 500, 502, 503, 504]);
/** So many attempts in a row without any answer, and nothing is there. They take about 1.5 s. */
const SILENT = 6;
/** However long the time limit is. */
const ATTEMPTS = 1000;
const FIRST_PAUSE = 50;
const LONGEST_PAUSE = 1000;

/** A sender that gives each request `timeout` ms, all its resends, pauses and bodies included. */
export function createAsk(exchange: Exchange, timeout: number, signal: AbortSignal): Ask {
  return async (request, check) => {
    const deadline = performance.now() + timeout;
    let inDoubt = false;
    let silent = 0;
    let reason: StorageError | undefined;
    for (let attempt = 1; ; attempt++) {
      const limit = Math.max(1, deadline - performance.now());
      const reply = await exchange({ ...request, timeout: limit });
      const answer = reply.ok ? check(reply.json) : undefined;
      if (answer !== undefined) return { answer };
      const failure = reply.ok ? implausible(request) : reply;
      if (isDefinite(failure)) {
        const { error, status: refused, json } = failure;
        return { error, refused, problem: nameOf(json?.type), inDoubt };
      }
      inDoubt ||= failure.sent;
      // That the last attempt ran out of time says less than what came before it.
      if (reason === undefined || failure.error.code !== 'timeout') reason = failure.error;
      silent = failure.error.code === 'unavailable' && failure.error.cause !== undefined ? silent + 1 : 0;
      const pause = Math.max(failure.retryAfterMs, pauseAfter(attempt));
      const over = performance.now() + pause >= deadline || silent >= SILENT || attempt >= ATTEMPTS;
      // A closed storage waits for nothing.
      if (over || signal.aborted) return { error: reason, refused: undefined, problem: undefined, inDoubt };
      await sleep(pause, signal);
    }
  };
}

/** Whether a failure says that the server has understood the request and carried out nothing of it. */
function isDefinite({ error, status, json, sent }: Failure): boolean {
  if (status === undefined) return !sent && error.code !== 'unavailable';
  // A proxy says these without JSON: too large, and a redirect, whose status a browser shows as 0.
  if (status === 413 || status < 400) return true;
  return (
    typeof json?.error === 'string' &&
    ((status >= 400 && status < 500) || status === 507) &&
    !LOST.has(status)
  );
}

const implausible = ({ method, path }: HttpRequest): Failure => ({
  ok: false,
  error: notOurs(`${method} ${path}`, 'JSON that is no answer to it'),
  status: undefined,
  json: undefined,
  retryAfterMs: 0,
  sent: true,
});

/** `urn:codeforge-storage:op-gap` → `op-gap`. */
export const nameOf = (type: unknown): string | undefined =>
  typeof type === 'string' ? /^urn:codeforge-storage:(.+)$/.exec(type)?.[1] : undefined;

/** Doubled each time, between a half and the whole of it, so that clients do not come back together. */
const pauseAfter = (attempt: number): number =>
  Math.min(FIRST_PAUSE * 2 ** (attempt - 1), LONGEST_PAUSE) * (0.5 + Math.random() / 2);

function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener('abort', done);
  });
}
