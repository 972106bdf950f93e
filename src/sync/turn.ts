/**
 * One tab at a time.
 *
 * By the Web Locks API; where that is missing, as on pages of plain http, by a lease in the database: it is renewed while work goes
 * on, and taken over when it has run out. A lease can be lost while its holder only sleeps, so two tabs may be at work at once:
 * the rules allow for that (rules.ts, marks).
 *
 * Spec: W3C Web Locks API.
 */
import { findLocks } from '../core/platform.ts';
import { sleep } from '../core/time.ts';
import type { Tables } from './tables.ts';

/** Runs `work` while no other tab is at work under that name. Rejects where it was aborted before. */
export type Turn = <T>(work: () => Promise<T>) => Promise<T>;

/** Milliseconds after which a lease that was not renewed is over, between renewals, and between tries. */
const LEASE = 6000;
const RENEWAL = 1500;
const RETRY = 250;

/** Turns among the tabs that share a database. */
export function createTurn(name: string, tables: Tables, signal: AbortSignal): Turn {
  const locks = findLocks();
  if (locks) return (work) => locks.request(name, { signal }, work) as ReturnType<typeof work>;
  const holder = Math.random().toString(36).slice(2);
  const take = (until: (now: number) => number): Promise<boolean> =>
    tables.write(async (writing) => {
      const lease = await writing.lease();
      const now = Date.now();
      // A lease that ends later than any can was made before the clock was set back.
      const held = lease && lease.holder !== holder && lease.untilMs > now && lease.untilMs <= now + LEASE;
      if (!held) writing.setLease({ holder, untilMs: until(now) });
      return !held;
    });
  return async (work) => {
    while (!(await take((now) => now + LEASE))) {
      await sleep(RETRY, signal);
      signal.throwIfAborted();
    }
    const renewal = setInterval(() => void take((now) => now + LEASE).catch(() => false), RENEWAL);
    try {
      return await work();
    } finally {
      clearInterval(renewal);
      await take(() => 0).catch(() => false);
    }
  };
}
