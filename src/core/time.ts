/**
 * Time limits, pauses and back-off: everything that depends on a timer.
 *
 * Every wait ends early when its signal is aborted, so no timer outlives a closed storage.
 */

/** The longest delay that `setTimeout` accepts, in milliseconds: 31 bits. */
export const LONGEST_DELAY_MS = 2 ** 31 - 1;

/** The time by which something is to be done, in the milliseconds of `performance.now()`. */
export type Deadline = number;

/** The milliseconds that are left until a deadline. */
export const remainingMs = (deadline: Deadline): number => Math.max(0, deadline - performance.now());

/** The part of its time limit that a call has for itself, however long it has waited for the calls before it. */
const OWN_PART = 0.1;

/** The deadline of a call whose turn has come: the call's own, or a later one if that has almost passed. */
export const deadlineWithOwnPart = (deadline: Deadline, timeout: number): Deadline =>
  Math.max(deadline, performance.now() + timeout * OWN_PART);

/**
 * Settles like `work`, or like `late` if the time limit ends or `signal` is aborted first.
 *
 * In the second case `work` continues, but its result is ignored. Its rejection is not reported as unhandled.
 *
 * @param limitMs The time limit in milliseconds.
 * @param late Returns or throws what the caller gets instead. `aborted` distinguishes the two cases.
 */
export function withTimeLimit<T, U = never>(
  work: Promise<T>,
  limitMs: number,
  late: (aborted: boolean) => U,
  signal?: AbortSignal,
): Promise<T | U> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let abort = (): void => {};
  const limit = new Promise<boolean>((resolve) => {
    abort = () => resolve(true);
    timer = setTimeout(resolve, Math.min(limitMs, LONGEST_DELAY_MS), false);
    if (signal?.aborted) abort();
    else signal?.addEventListener('abort', abort);
  });
  return Promise.race([work, limit.then(late)]).finally(() => {
    clearTimeout(timer);
    signal?.removeEventListener('abort', abort);
  });
}

/** Resolves after `ms` milliseconds, or as soon as `signal` is aborted. Never rejects. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  const never = new Promise<never>(() => {});
  return withTimeLimit(never, ms, () => undefined, signal);
}

/** The pauses between the attempts of an operation that is repeated. */
export interface BackOff {
  /** The pause after the first attempt, in milliseconds. */
  readonly firstMs: number;
  /** The longest pause, in milliseconds. */
  readonly longestMs: number;
  /**
   * How much of a pause is random, so that clients do not retry at the same time: all of it (`'full'`, the default), or its second
   * half (`'equal'`).
   */
  readonly jitter?: 'full' | 'equal';
}

/**
 * The pause after an attempt, in milliseconds. It doubles with each attempt and is randomized (jitter).
 *
 * @param attempt The number of the attempt, from 1.
 */
export function backOffMs(attempt: number, { firstMs, longestMs, jitter = 'full' }: BackOff): number {
  const pause = Math.min(firstMs * 2 ** (attempt - 1), longestMs);
  return pause * (jitter === 'full' ? Math.random() : 0.5 + Math.random() / 2);
}

/**
 * The delay that a `Retry-After` header asks for, in milliseconds from now; 0 if the header is missing or invalid.
 *
 * @see RFC 9110 §10.2.3: seconds, or a date.
 */
export function retryAfterMs(header: string | null | undefined): number {
  const text = header ?? '';
  const wait = /^\d+$/.test(text) ? Number(text) * 1000 : Date.parse(text) - Date.now();
  return Math.min(Math.max(wait || 0, 0), LONGEST_DELAY_MS);
}
