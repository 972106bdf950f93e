/**
 * One request of level 1, sent again until it has a whole answer or its time has passed (docs/contract.md, 12.4).
 *
 * This is the only place that sends something again on level 1. ky's own retries end where the headers have arrived; here
 * a body that was cut, or that is not the server's, is a lost answer too, and what may have arrived has to be known.
 */

import type { Failure } from '../http.ts';
import type { Attempt, Unanswered } from './ask.ts';

/** Statuses that say nothing about what was asked: somebody on the way, or a server that has no time. */
const LOST: ReadonlySet<number> = new Set([408, 429, 500, 502, 503, 504]);
/** So many attempts in a row without any answer, and nothing is there. They take about 1.5 s. */
const SILENT = 6;
/** However long the time limit is. */
const ATTEMPTS = 1000;
const FIRST_PAUSE = 50;
const LONGEST_PAUSE = 1000;

/**
 * Send a request again until it has an answer or its time has passed.
 *
 * @param attempt Sends it, within so many milliseconds.
 * @param first What its first attempt came to.
 * @param deadline On the clock of `performance.now()`.
 */
export async function resend<T>(
  attempt: (limit: number) => Promise<Attempt<T>>,
  first: Failure,
  deadline: number,
  signal: AbortSignal,
): Promise<{ readonly answer: T; readonly error?: undefined } | Unanswered> {
  let inDoubt = false;
  let silent = 0;
  let reason: Failure | undefined;
  let failure = first;
  for (let attempts = 1; ; attempts++) {
    if (isDefinite(failure)) {
      const { status: refused, json } = failure;
      return { error: await failure.error(), refused, type: json?.type, inDoubt };
    }
    inDoubt ||= failure.sent;
    // That the last attempt ran out of time says less than what came before it.
    if (reason === undefined || failure.code !== 'timeout') reason = failure;
    silent = failure.code === 'unavailable' && failure.cause !== undefined ? silent + 1 : 0;
    const pause = Math.max(failure.retryAfterMs, pauseAfter(attempts));
    const over = performance.now() + pause >= deadline || silent >= SILENT || attempts >= ATTEMPTS;
    // A closed storage waits for nothing.
    if (over || signal.aborted)
      return { error: await reason.error(), refused: undefined, type: undefined, inDoubt };
    await sleep(pause, signal);
    const reply = await attempt(Math.max(1, deadline - performance.now()));
    if (!('ok' in reply)) return reply;
    failure = reply;
  }
}

/** Whether a failure says that the server has understood the request and carried out nothing of it. */
function isDefinite({ code, status, json, sent }: Failure): boolean {
  if (status === undefined) return !sent && code !== 'unavailable';
  // A proxy says these without JSON: too large, and a redirect, whose status a browser shows as 0.
  if (status === 413 || status < 400) return true;
  return (
    typeof json?.error === 'string' &&
    ((status >= 400 && status < 500) || status === 507) &&
    !LOST.has(status)
  );
}

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
