/**
 * A limit on how many requests a second one tenant makes, or, on a server without tokens, one address.
 *
 * A caller that was quiet may first make the requests of ten seconds at once. Those over the limit are refused, not delayed.
 *
 * Spec: RFC 6585 §4 (429). The rule is GCRA, the generic cell rate algorithm of ITU-T I.371: one time for each caller.
 */
import { HttpError } from '../errors.ts';

/** Seconds whose requests a quiet caller may make at once. */
const BURST = 10;

/** Callers that are remembered. Those that have been quiet for a while are forgotten first. */
const MAX_CALLERS = 10_000;

/** Counts a request of a caller. @throws {HttpError} 429 over the limit. */
export type RateLimit = (caller: string) => void;

/**
 * @param perSecond Requests of a caller.
 * @param clock Milliseconds.
 */
export function createRateLimit(perSecond: number, clock: () => number = () => performance.now()): RateLimit {
  const interval = 1000 / perSecond;
  const burst = BURST * 1000;
  /** For each caller the time from which on all of its burst is free again. */
  const free = new Map<string, number>();
  return (caller) => {
    const now = clock();
    const from = Math.max(now, free.get(caller) ?? now);
    const over = from + interval - now - burst;
    if (over > 0)
      throw new HttpError(429, `More than ${perSecond} requests a second: slow down`, {
        headers: { 'Retry-After': String(Math.ceil(over / 1000)) },
      });
    // In the order of the last request.
    free.delete(caller);
    free.set(caller, from + interval);
    for (const [oldest, time] of free) {
      if (time > now && free.size <= MAX_CALLERS) break;
      free.delete(oldest);
    }
  };
}
