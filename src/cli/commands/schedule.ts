/** When a task runs again: at an interval, or by a cron expression. */
import { Cron } from 'croner';
import { sleep } from '../../core/time.ts';

/** Tells when the next run is. */
export interface Schedule {
  /**
   * The next run, in milliseconds since the epoch; `undefined` if there is none.
   *
   * @param last The time of the last run. If the clock was set back and this is in the future, it counts as now.
   * @param now Runs before this time are skipped.
   */
  next(last: number, now: number): number | undefined;
}

const UNITS: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** The longest sleep. Afterwards, a clock that was set or a machine that was suspended is noticed. */
const LONGEST_SLEEP_MS = 60_000;

/**
 * Parses a schedule: `30s`, `15m`, `1h`, `1d`, or a cron expression of five or six fields in this machine's time zone.
 *
 * @throws {Error} that says what is wrong.
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
      'It must be an interval, such as 30s, 15m, 1h or 1d, or a cron expression, such as "0 3 * * *".',
    );
  const cron = new Cron(text.trim());
  const next = (_: number, now: number): number | undefined => cron.nextRun(new Date(now))?.getTime();
  if (next(0, Date.now()) === undefined) throw new Error('This time never comes.');
  return { next };
}

/**
 * Waits until a time.
 *
 * @param time Milliseconds since the epoch.
 * @param clock Returns the current time.
 * @returns `true` at that time; `false` if the clock was set back meanwhile, because the time may now be far away.
 * @throws the reason of `signal` when it aborts.
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
    await sleep(Math.min(time - now, LONGEST_SLEEP_MS), signal);
  }
}
