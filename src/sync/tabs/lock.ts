/**
 * The tab lock: one tab at a time sends the outbox.
 *
 * It is a Web Lock. If the API is missing, as on plain-http pages, it is a lease in the database. The holder renews a heartbeat in the
 * database. A suspended tab does not, so another tab takes the lock from it after a while, and the signal of its work is aborted when
 * it continues. Two tabs may send at once for a moment; the rules allow that (rules/sent.ts).
 *
 * Spec: W3C Web Locks API.
 */
import { closedError, StorageError } from '../../core/errors.ts';
import { findLocks } from '../../core/platform.ts';
import { sleep, withTimeLimit } from '../../core/time.ts';
import type { SyncDatabase } from '../database.ts';

/**
 * Runs `work` while no other tab holds the lock of the same name.
 *
 * @param work Its signal is aborted when the storage is closed, and when another tab has taken the lock.
 * @param waitMs Milliseconds to wait for another tab that holds it.
 * @throws {StorageError} `timeout` if they have passed, or `closed`. Then `work` was not called.
 */
export type TabLock = <T>(work: (signal: AbortSignal) => Promise<T>, waitMs: number) => Promise<T>;

/** Milliseconds after which a tab without a heartbeat counts as suspended, between heartbeats, and between looks at them. */
const LEASE = 6000;
const RENEWAL = 1500;
const RETRY = 250;
/** A longer time between two looks counts as this: the waiting tab may have been suspended too. */
const LONGEST_LOOK = 1000;

/** A lock among the tabs that share a database. */
export function createTabLock(name: string, database: SyncDatabase, signal: AbortSignal): TabLock {
  const holder = Math.random().toString(36).slice(2);
  const locks = findLocks();
  return locks ? byLock(locks) : byLease;

  function byLock(locks: LockManager): TabLock {
    const beat = (): Promise<void> =>
      database.write(async (writing) => writing.setLease({ holder, untilMs: Date.now() + LEASE }));
    return async (work, waitMs) => {
      const waiting = new AbortController();
      const taken = new AbortController();
      let working: ReturnType<typeof work> | undefined;
      let begin = (): void => {};
      let refuse = (_: StorageError): void => {};
      const begun = new Promise<void>((resolve, reject) => {
        begin = resolve;
        refuse = reject;
      });
      begun.catch(() => undefined);
      // Rejects if waiting has ended, if another tab takes the lock, or if the work rejects.
      const request = (options: LockOptions): Promise<unknown> =>
        locks
          .request(name, options, () => {
            working = hold(work, taken, beat);
            begin();
            return working;
          })
          .catch((error) => {
            taken.abort();
            // Firefox forbids Web Locks if the page may not store data.
            refuse(new StorageError('unavailable', `Web Locks cannot be used: ${error}`, { cause: error }));
          });
      void request({ signal: waiting.signal });
      let last: string | undefined;
      let silentMs = 0;
      const look = async (passedMs: number): Promise<boolean> => {
        await withTimeLimit(begun, RETRY, () => undefined, signal);
        if (working) return true;
        const heartbeat = await heartbeatOf(database, signal);
        silentMs = heartbeat === last ? silentMs + passedMs : 0;
        last = heartbeat;
        return working !== undefined || silentMs >= LEASE;
      };
      const isOver = await waitFor(look, waitMs, signal).finally(() => waiting.abort());
      if (isOver && !working) void request({ steal: true });
      if (isOver) await begun;
      if (!working) throw busy();
      return working;
    };
  }

  async function byLease<T>(work: (signal: AbortSignal) => Promise<T>, waitMs: number): Promise<T> {
    const take = (until: (now: number) => number): Promise<boolean> =>
      database.write(async (writing) => {
        const lease = await writing.lease();
        const now = Date.now();
        // A lease that ends too late was made before the clock was set back.
        const isHeld =
          lease && lease.holder !== holder && lease.untilMs > now && lease.untilMs <= now + LEASE;
        if (!isHeld) writing.setLease({ holder, untilMs: until(now) });
        return !isHeld;
      });
    const renewed = (now: number): number => now + LEASE;
    const look = async (): Promise<boolean> => {
      if (await take(renewed)) return true;
      await sleep(RETRY, signal);
      return false;
    };
    if (!(await waitFor(look, waitMs, signal))) throw busy();
    const taken = new AbortController();
    const renew = async (): Promise<void> => {
      if (!(await take(renewed))) taken.abort();
    };
    return hold(work, taken, renew).finally(() => take(() => 0).catch(() => false));
  }

  /** Runs `work`, with a heartbeat. */
  async function hold<T>(
    work: (signal: AbortSignal) => Promise<T>,
    taken: AbortController,
    beat: () => Promise<void>,
  ): Promise<T> {
    const abort = (): void => taken.abort();
    signal.addEventListener('abort', abort);
    const beating = setInterval(() => void beat().catch(() => undefined), RENEWAL);
    try {
      return await work(taken.signal);
    } finally {
      clearInterval(beating);
      signal.removeEventListener('abort', abort);
    }
  }
}

/**
 * Looks until `look` says that waiting is over, or `waitMs` have passed. Resolves with whether it was over.
 *
 * @throws {StorageError} `closed`
 */
async function waitFor(
  look: (passedMs: number) => Promise<boolean>,
  waitMs: number,
  signal: AbortSignal,
): Promise<boolean> {
  let waitedMs = 0;
  let passedMs = 0;
  for (let last = performance.now(); ; ) {
    if (signal.aborted) throw closedError();
    if (await look(passedMs)) return true;
    if (waitedMs >= waitMs) return false;
    const now = performance.now();
    passedMs = Math.min(now - last, LONGEST_LOOK);
    waitedMs += passedMs;
    last = now;
  }
}

/** A text that changes with every heartbeat. `undefined` if the database does not answer. */
async function heartbeatOf(database: SyncDatabase, signal: AbortSignal): Promise<string | undefined> {
  const read = database.read((transaction) => transaction.lease()).catch(() => undefined);
  const lease = await withTimeLimit(read, LONGEST_LOOK, () => undefined, signal);
  return lease && `${lease.holder} ${lease.untilMs}`;
}

/** Another tab has the lock. */
export const busy = (): StorageError =>
  new StorageError('timeout', 'Another tab of this app is still sending its writes.');
