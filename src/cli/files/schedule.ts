/** When something is done again: an interval, or a cron expression. */
import { setTimeout as delay } from 'node:timers/promises';
import { Cron } from 'croner';

/** Says when the next turn is. */
export interface Schedule {
  /**
   * The first turn after both times, in milliseconds since the epoch; `undefined` where there is none.
   *
   * @param last When the last turn was. Where the clock was set back since, that is still to come, and counts as now.
   * @param now Turns that have passed meanwhile are left out.
   */
  next(last: number, now: number): number | undefined;
}

const UNITS: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** Milliseconds that are slept at a time: a clock that was set, or a machine that slept, is noticed then. */
const NAP = 60_000;

/**
 * Read a schedule: `30s`, `15m`, `1h`, `1d`, or a cron expression of five or six fields in this machine's time.
 *
 * @throws {Error} saying what is wrong.
 */
export function parseSchedule(text: string): Schedule {
  const [, count, unit = ''] = /^([1-9]\d{0,5})([smhd])$/.exec(text.trim()) ?? [];
  if (count !== undefined) {
    const every = Number(count) * (UNITS[unit] ?? 0);
    return {
      next(last, now) {
        const from = Math.min(last, now);
        return from + every * Math.max(1, Math.ceil((now - from) / every));
      },
    };
  }
  if (!/\s/.test(text.trim()))
    throw new Error(
      'It is an interval, such as 30s, 15m, 1h or 1d, or a cron expression, such as "0 3 * * *".',
    );
  const cron = new Cron(text.trim());
  const next = (_: number, now: number): number | undefined => cron.nextRun(new Date(now))?.getTime();
  if (next(0, Date.now()) === undefined) throw new Error('It never comes.');
  return { next };
}

/**
 * Wait until a time.
 *
 * @param time Milliseconds since the epoch.
 * @param clock Tells the time.
 * @returns Whether it has come. Not where the clock was set back meanwhile: the time may be far away now.
 * @throws the signal's reason when that ends the wait.
 */
export async function waitUntil(
  time: number,
  signal: AbortSignal,
  clock: () => number = Date.now,
): Promise<boolean> {
  for (let before = clock(); ; ) {
    signal.throwIfAborted();
    const now = clock();
    if (now < before) return false;
    if (now >= time) return true;
    before = now;
    await delay(Math.min(time - now, NAP), undefined, { signal }).catch(() => {});
  }
}
