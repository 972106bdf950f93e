/**
 * Time limits, pauses and back-off: all that waits for a clock.
 *
 * Every wait ends early when its signal aborts, so that nothing outlives a storage that was closed.
 */

/** The longest delay that `setTimeout` takes, in milliseconds: 31 bits. */
export const LONGEST_DELAY_MS = 2 ** 31 - 1;

/**
 * Settles as `work` does, or as `late` does when the time limit is over or `signal` aborts first.
 *
 * `work` goes on unobserved then. Its rejection is not reported as unhandled.
 *
 * @param late Returns or throws what the caller gets instead. `aborted` tells both cases apart.
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

/** Resolves after so many milliseconds, or as soon as `signal` aborts. Never rejects. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  const never = new Promise<never>(() => {});
  return withTimeLimit(never, ms, () => undefined, signal);
}

/** Pauses between the attempts at one thing. */
export interface BackOff {
  /** The pause after the first attempt, in milliseconds. */
  readonly firstMs: number;
  /** The longest pause, in milliseconds. */
  readonly longestMs: number;
  /**
   * How much of a pause is random, so that clients do not return together: `'full'`, all of it (default); `'equal'`, the second
   * half of it.
   */
  readonly jitter?: 'full' | 'equal';
}

/**
 * The pause after an attempt in milliseconds: doubled each time, with jitter.
 *
 * @param attempt Counts from 1.
 */
export function backOffMs(attempt: number, { firstMs, longestMs, jitter = 'full' }: BackOff): number {
  const pause = Math.min(firstMs * 2 ** (attempt - 1), longestMs);
  return pause * (jitter === 'full' ? Math.random() : 0.5 + Math.random() / 2);
}

/**
 * What a `Retry-After` header asks for, in milliseconds from now: 0 where it is missing or unreadable.
 *
 * @see RFC 9110 §10.2.3: seconds, or a date.
 */
export function retryAfterMs(header: string | null | undefined): number {
  const text = header ?? '';
  const wait = /^\d+$/.test(text) ? Number(text) * 1000 : Date.parse(text) - Date.now();
  return Math.min(Math.max(wait || 0, 0), LONGEST_DELAY_MS);
}
