/**
 * Follows the server's change feed while somebody watches, so that changes of other clients are heard at once.
 *
 * One tab of the origin does, under a lock, and says every few seconds that it is still there. A tab that was suspended does not, so a
 * visible tab takes the lock from it.
 *
 * Spec: W3C Web Locks API.
 */
import { findLocks, isHidden, onAway, unref } from '../../core/platform.ts';
import { LONGEST_DELAY_MS, sleep } from '../../core/time.ts';

/** What following needs. */
export interface FollowingParts {
  readonly name: string;
  readonly signal: AbortSignal;
  isOnline(): boolean;
  /**
   * Follows the server for some time, at most until `until` aborts. Never rejects.
   *
   * @returns Milliseconds until it is to be called again; `undefined` if the server cannot be followed now.
   */
  follow(until: AbortSignal): Promise<number | undefined>;
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
  /** Whether a tab follows. */
  isFollowed(): boolean;
}

/** Milliseconds between signs of life, and after which a tab counts as suspended. */
const BEAT_MS = 3000;
const SILENCE_MS = 10_000;
/** Milliseconds until the lock is asked for again, and until the server is: while it is away, and where it cannot be followed. */
const PAUSE_MS = 50;
const AWAY_MS = 1000;
const UNFOLLOWED_MS = 30_000;

/** Follows the server of the tabs that share `name`. */
export function createFollowing(parts: FollowingParts): Following {
  const { name, signal } = parts;
  let heardAt = Number.NEGATIVE_INFINITY;
  const isFollowed = (): boolean => performance.now() - heardAt < SILENCE_MS;

  const beat = (): void => {
    heardAt = performance.now();
    parts.tell();
  };

  async function follow(until: AbortSignal): Promise<void> {
    beat();
    const beating = unref(setInterval(beat, BEAT_MS));
    while (!until.aborted) {
      const pauseMs = parts.isOnline() ? await parts.follow(until) : AWAY_MS;
      await sleep(pauseMs ?? (parts.isOnline() ? UNFOLLOWED_MS : AWAY_MS), until);
    }
    clearInterval(beating);
  }

  /** Waits for the lock and follows, until `ended` aborts or another tab takes the lock. */
  async function lead(locks: LockManager, ended: AbortSignal, options: LockOptions): Promise<void> {
    const leading = new AbortController();
    const stop = (): void => leading.abort();
    ended.addEventListener('abort', stop);
    const work = async (): Promise<void> => {
      // At its end the lock is released at once: where the page goes into the back/forward cache, nothing else is done before.
      if (!ended.aborted)
        await Promise.race([follow(leading.signal), sleep(LONGEST_DELAY_MS, leading.signal)]);
    };
    await locks.request(`${name}#following`, options, work).catch(() => undefined);
    stop();
    ended.removeEventListener('abort', stop);
  }

  /** Leads, or waits until the tab that leads ends or is silent. */
  async function takePart(locks: LockManager, ended: AbortSignal): Promise<void> {
    const isSilent = (): boolean => !isFollowed() && !isHidden() && parts.hearsOthers();
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
    isFollowed,
    heard() {
      heardAt = performance.now();
    },
    start() {
      let controller = new AbortController();
      const stop = (): void => controller.abort();
      const begin = (): void => {
        controller = new AbortController();
        if (signal.aborted) stop();
        const locks = findLocks();
        heardAt = performance.now();
        void (locks ? takePart(locks, controller.signal) : follow(controller.signal));
      };
      begin();
      signal.addEventListener('abort', stop);
      const ignorePage = onAway(stop, begin);
      return () => {
        stop();
        ignorePage();
        signal.removeEventListener('abort', stop);
      };
    },
  };
}
