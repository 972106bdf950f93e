/**
 * Follows the server's change feed while somebody watches, so that changes of other clients are heard at once.
 *
 * One tab of the origin asks, under a lock, and the server holds its answer back until there is a change (docs/contract.md, 7.3). The
 * tab says every few seconds that it is still there. A tab that was suspended does not, so a visible tab takes the lock from it.
 *
 * Spec: W3C Web Locks API.
 */
import { findLocks, isHidden, unref } from '../../core/platform.ts';
import { sleep } from '../../core/time.ts';

/** What following needs. */
export interface FollowingParts {
  readonly name: string;
  readonly signal: AbortSignal;
  /** Milliseconds for which the server is asked to hold an answer back. */
  readonly holdMs: number;
  isOnline(): boolean;
  /**
   * Stores what has changed at the server. Never rejects.
   *
   * @returns How many changes there were; `undefined` if the server cannot be followed now.
   */
  pull(holdMs: number): Promise<number | undefined>;
  /** Tells the other tabs that this one follows. */
  tell(): void;
  /** Whether the other tabs can be heard. */
  hearsOthers(): boolean;
}

/** Follows the server. */
export interface Following {
  /** Returns what ends it. */
  start(): () => void;
  /** Another tab follows. */
  heard(): void;
}

/** Milliseconds between signs of life, and after which a tab counts as suspended. */
const BEAT_MS = 3000;
const SILENCE_MS = 10_000;
/** Milliseconds until the next request: while there are changes, after an answer that was not held back, and where nothing is to be had. */
const PAUSE_MS = 50;
const UNHELD_MS = 1000;
const AWAY_MS = 1000;
const UNFOLLOWED_MS = 30_000;

/** Follows the server of the tabs that share `name`. */
export function createFollowing(parts: FollowingParts): Following {
  const { name, signal, holdMs, pull } = parts;
  let heardAt = performance.now();

  async function follow(until: AbortSignal): Promise<void> {
    while (!until.aborted) {
      if (!parts.isOnline()) {
        await sleep(AWAY_MS, until);
        continue;
      }
      const askedAt = performance.now();
      const changes = await pull(holdMs);
      const wasHeld = performance.now() - askedAt > holdMs / 2;
      if (changes === undefined) await sleep(parts.isOnline() ? UNFOLLOWED_MS : AWAY_MS, until);
      else await sleep(changes > 0 || wasHeld ? PAUSE_MS : UNHELD_MS, until);
    }
  }

  /** Waits for the lock and follows, until `ended` aborts or another tab takes the lock. */
  async function lead(locks: LockManager, ended: AbortSignal, options: LockOptions): Promise<void> {
    const leading = new AbortController();
    const stop = (): void => leading.abort();
    ended.addEventListener('abort', stop);
    const beat = (): void => {
      heardAt = performance.now();
      parts.tell();
    };
    const work = async (): Promise<void> => {
      if (ended.aborted) return;
      beat();
      const beating = unref(setInterval(beat, BEAT_MS));
      await follow(leading.signal).finally(() => clearInterval(beating));
    };
    await locks.request(`${name}#following`, options, work).catch(() => undefined);
    stop();
    ended.removeEventListener('abort', stop);
  }

  /** Leads, or waits until the tab that leads ends or is silent. */
  async function takePart(locks: LockManager, ended: AbortSignal): Promise<void> {
    const isSilent = (): boolean =>
      performance.now() - heardAt > SILENCE_MS && !isHidden() && parts.hearsOthers();
    for (let steal = false; !ended.aborted; ) {
      const waiting = new AbortController();
      const stop = (): void => waiting.abort();
      ended.addEventListener('abort', stop);
      const looking = unref(setInterval(() => isSilent() && stop(), BEAT_MS));
      // A request that takes the lock away cannot be given up.
      await lead(locks, ended, steal ? { steal } : { signal: waiting.signal });
      clearInterval(looking);
      ended.removeEventListener('abort', stop);
      steal = isSilent();
      // Locks that cannot be used reject at once.
      await sleep(PAUSE_MS, ended);
    }
  }

  return {
    heard() {
      heardAt = performance.now();
    },
    start() {
      const controller = new AbortController();
      const stop = (): void => controller.abort();
      if (signal.aborted) stop();
      else signal.addEventListener('abort', stop);
      const locks = findLocks();
      heardAt = performance.now();
      void (locks ? takePart(locks, controller.signal) : follow(controller.signal));
      return () => {
        stop();
        signal.removeEventListener('abort', stop);
      };
    },
  };
}
