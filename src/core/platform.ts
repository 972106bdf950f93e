/**
 * The browser's globals that may be missing, or that throw when they are touched.
 *
 * This is the only file that looks them up. Where one cannot be used the answer is `undefined`: Firefox, for example, throws a
 * SecurityError for `new BroadcastChannel()` when all cookies are blocked, and pages on plain http have no Web Locks.
 * Each is looked up when it is needed, so that a simulation can replace the globals themselves.
 */

/** What `look` finds, or `undefined` where the platform throws. */
function available<T>(look: () => T): T | undefined {
  try {
    return look() ?? undefined;
  } catch {
    return undefined;
  }
}

/** The databases of this origin. Spec: W3C Indexed Database API 3.0. */
export const findIndexedDb = (): IDBFactory | undefined => available(() => globalThis.indexedDB);

/** The locks of this origin. Spec: W3C Web Locks API. */
export const findLocks = (): LockManager | undefined => available(() => globalThis.navigator?.locks);

/** A channel to the other tabs of this origin. Spec: HTML, 9.5 Broadcasting to other browsing contexts. */
export const openChannel = (name: string): BroadcastChannel | undefined =>
  available(() => {
    const channel = new BroadcastChannel(name);
    // In Node.js an open channel keeps the program from ending.
    (channel as { unref?: () => void }).unref?.();
    return channel;
  });

/** The address of this page or worker. */
export const findLocation = (): Location | undefined => available(() => globalThis.location);

/** What a relative URL of this page or worker is relative to. */
export const findBaseUrl = (): string | undefined =>
  available(() => globalThis.document?.baseURI) ?? findLocation()?.href;

/** Whether this is a page that nobody sees now. */
export const isHidden = (): boolean => available(() => document.visibilityState) === 'hidden';

/** Calls `listener` when this page becomes visible, or comes back from the back/forward cache. Returns what ends that. */
export function onShown(listener: () => void): () => void {
  const look = (): void => {
    if (!isHidden()) listener();
  };
  const add = (): void => {
    document.addEventListener('visibilitychange', look);
    globalThis.addEventListener('pageshow', look);
  };
  const remove = (): void => {
    document.removeEventListener('visibilitychange', look);
    globalThis.removeEventListener('pageshow', look);
  };
  available(add);
  return () => available(remove);
}

/** Calls `listener` when the browser says that the network is back. Returns what ends that. */
export function onNetworkBack(listener: () => void): () => void {
  available(() => globalThis.addEventListener('online', listener));
  return () => available(() => globalThis.removeEventListener('online', listener));
}

/** Whether the browser says that there is no network. */
const isOffline = (): boolean => available(() => navigator.onLine) === false;

/** Milliseconds after which a platform without `requestIdleCallback` counts as idle. */
const IDLE = 1000;

/** Calls `work` in a page or worker when the browser has nothing else to do, if there is a network then. Never throws. */
export function whenIdle(work: () => void): void {
  const loadOnline = (): void => {
    if (!isOffline()) work();
  };
  // Node.js has every part on its disk.
  if (findLocation() === undefined) return;
  if (available(() => requestIdleCallback(loadOnline)) === undefined) setTimeout(loadOnline, IDLE);
}

/** A timer that does not keep a program of Node.js from ending. */
export function unref<Timer>(timer: Timer): Timer {
  (timer as { unref?: () => void }).unref?.();
  return timer;
}
