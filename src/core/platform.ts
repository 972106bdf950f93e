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

/** Listens for events, if the platform has their target. Returns what ends that. */
function listen<E extends Event>(
  target: () => EventTarget,
  listener: (event: E) => void,
  ...types: readonly string[]
): () => void {
  const forAll = (method: 'addEventListener' | 'removeEventListener'): void =>
    available(() => {
      for (const type of types) target()[method](type, listener as (event: Event) => void);
    });
  forAll('addEventListener');
  return () => forAll('removeEventListener');
}
const here = (): EventTarget => globalThis;

/**
 * Calls `leave` when this page ends or goes into the back/forward cache, and `back` when it returns from there. Returns what ends that.
 *
 * In the cache nothing runs. Firefox does not let a page into it that holds a lock or has a request under way. Browsers remove a page from
 * it that is sent a message, or whose lock another tab asks for. Spec: HTML, 7.4.6.2 The `PageTransitionEvent` interface.
 */
export const onAway = (leave: () => void, back: () => void): (() => void) =>
  listen(
    here,
    ({ type, persisted }: PageTransitionEvent) => {
      if (type === 'pagehide') leave();
      else if (persisted) back();
    },
    'pagehide',
    'pageshow',
  );

/** A channel to the other tabs of this origin. Spec: HTML, 9.5 Broadcasting to other browsing contexts. */
export type Channel = BroadcastChannel;

export const openChannel = <M>(name: string, heard: (message: M) => void): Channel | undefined =>
  available(() => {
    const channel = new BroadcastChannel(name);
    channel.onmessage = ({ data }) => heard(data);
    // In Node.js an open channel keeps the program from ending.
    return unref(channel);
  });

/** Sends a message, if the channel is open and the message can be sent. */
export const post = (channel: Channel | undefined, message: unknown): void =>
  available(() => channel?.postMessage(message));

/** The address of this page or worker. */
export const findLocation = (): Location | undefined => available(() => globalThis.location);

/** What a relative URL of this page or worker is relative to. */
export const findBaseUrl = (): string | undefined =>
  available(() => globalThis.document?.baseURI) ?? findLocation()?.href;

/** Whether this is a page that nobody sees now. */
export const isHidden = (): boolean => available(() => document.visibilityState) === 'hidden';

/** Calls `listener` when this page becomes visible, also when it comes back from the back/forward cache. Returns what ends that. */
export const onShown = (listener: () => void): (() => void) =>
  listen(
    () => document,
    () => isHidden() || listener(),
    'visibilitychange',
  );

/** Calls `listener` when the browser says that the network is back. Returns what ends that. */
export const onNetworkBack = (listener: () => void): (() => void) => listen(here, listener, 'online');

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
