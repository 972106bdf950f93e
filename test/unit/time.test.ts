import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { backOffMs, LONGEST_DELAY_MS, retryAfterMs, sleep, withTimeLimit } from '../../src/core/time.ts';

const NOW = Date.UTC(2026, 0);
beforeEach(() => void vi.useFakeTimers({ now: NOW }));
afterEach(() => void vi.useRealTimers());

const never = new Promise<never>(() => {});
const fail = (aborted: boolean): never => {
  throw new Error(aborted ? 'aborted' : 'late');
};

it('work that ends in time gives its own result, and leaves no timer', async () => {
  await expect(withTimeLimit(Promise.resolve(1), 1000, fail)).resolves.toBe(1);
  await expect(withTimeLimit(Promise.reject(new Error('own')), 1000, fail)).rejects.toThrow('own');
  expect(vi.getTimerCount()).toBe(0);
});

it('work that takes longer gives what the caller has for that', async () => {
  const value = withTimeLimit(never, 1000, () => 'instead');
  const failure = expect(withTimeLimit(never, 1000, fail)).rejects.toThrow('late');
  await vi.advanceTimersByTimeAsync(1000);
  expect(await value).toBe('instead');
  await failure;
});

it('an aborted signal ends a wait at once, and is not listened to afterwards', async () => {
  const controller = new AbortController();
  const removed = vi.spyOn(controller.signal, 'removeEventListener');
  const limited = withTimeLimit(never, 1000, (aborted) => aborted, controller.signal);
  const slept = sleep(1000, controller.signal);
  controller.abort();
  expect(await limited).toBe(true);
  await slept;
  await sleep(1000, controller.signal);
  expect(await withTimeLimit(never, 1000, (aborted) => aborted, controller.signal)).toBe(true);
  expect(removed).toHaveBeenCalled();
  expect(vi.getTimerCount()).toBe(0);
});

it('a limit that no timer takes does not end at once', async () => {
  const done = vi.fn();
  void sleep(2 ** 40).then(done);
  await vi.advanceTimersByTimeAsync(1000);
  expect(done).not.toHaveBeenCalled();
});

it('back-off doubles up to its longest pause, and its jitter is all of a pause or the second half', () => {
  const pauses = { firstMs: 100, longestMs: 1000 };
  for (const [random, full, equal] of [
    [0, [0, 0, 0], [50, 100, 500]],
    [0.5, [50, 100, 500], [75, 150, 750]],
  ] as const) {
    vi.spyOn(Math, 'random').mockReturnValue(random);
    expect([1, 2, 9].map((attempt) => backOffMs(attempt, pauses))).toEqual(full);
    expect([1, 2, 9].map((attempt) => backOffMs(attempt, { ...pauses, jitter: 'equal' }))).toEqual(equal);
  }
  vi.restoreAllMocks();
});

it('Retry-After is read as seconds or as a date, and never as a time that has passed', () => {
  expect(retryAfterMs('2')).toBe(2000);
  expect(retryAfterMs(new Date(NOW + 5000).toUTCString())).toBe(5000);
  expect(retryAfterMs('99999999999')).toBe(LONGEST_DELAY_MS);
  for (const text of [null, undefined, '', 'soon', '-1', new Date(NOW - 5000).toUTCString()])
    expect(retryAfterMs(text)).toBe(0);
});
