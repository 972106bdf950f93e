/**
 * The change feed of an origin: every tab tells the others what it has committed, and every tab hears the changes in the order in which
 * they were committed.
 *
 * Messages of different tabs may overtake each other. So each transaction takes the next number inside the database, and a tab tells
 * number 8 after number 7. If a number is missing for longer than a moment, as when its tab was killed between the commit and the
 * message, listeners are told that they may have missed changes. Numbers cost two requests, so a transaction takes one only if somebody
 * watches: a tab that watches says so, and holds a shared lock.
 *
 * Spec: HTML, Broadcasting to other browsing contexts; W3C Web Locks API.
 */
import type { StoredChange } from './changes.ts';
import { type Channel, findLocks, onAway, onShown, openChannel, post, unref } from './platform.ts';

/** Changes that were committed together, or `undefined` if changes may have been missed. */
export type Heard =
  | {
      readonly number: number | undefined;
      readonly changes: readonly StoredChange[];
      readonly isOwn: boolean;
      /** Whose data it is, if the server has named an account. */
      readonly account: string | undefined;
    }
  | undefined;

/** The changes of one database, in all tabs. */
export interface ChangeFeed {
  /** Whether somebody watches, in this tab or in another. Otherwise no change needs to be published. */
  isWatched(): boolean;
  /** Whether other tabs can be heard, as far as that was tried. */
  hearsOthers(): boolean;
  /**
   * Tells the changes of a transaction that is committed, here and in the other tabs.
   *
   * @param number The number that the transaction has taken. Without one the changes are told at once.
   * @param changes `undefined` if everything may have changed.
   * @param account Whose data it is, if the server has named an account.
   */
  publish(number: number | undefined, changes: readonly StoredChange[] | undefined, account?: string): void;
  /** Calls `listener` with each transaction's changes, in the order of the commits. Returns what ends that. */
  subscribe(listener: (heard: Heard) => void): () => void;
  close(): void;
}

/** That the sender watches, or what it has committed. */
type Message =
  | 'watching'
  | {
      readonly number: number | undefined;
      readonly changes: readonly StoredChange[] | undefined;
      readonly account: string | undefined;
    };

/** Milliseconds to wait for a number that is missing. */
const PATIENCE_MS = 1000;
/** Milliseconds for which it counts that another tab was watching. */
const LOOK_MS = 10_000;

/**
 * The feed of the database `name`.
 *
 * @param lastNumber Reads the number that was taken last; 0 if none was.
 */
export function createChangeFeed(name: string, lastNumber: () => Promise<number>): ChangeFeed {
  const feedName = `${name}#changes`;
  const listeners = new Set<(heard: Heard) => void>();
  /** What was heard before its turn, by number. */
  const early = new Map<number, Heard>();
  /** The number up to which everything was told; `undefined` until it is read. */
  let told: number | undefined;
  let patience: ReturnType<typeof setTimeout> | undefined;
  let channel: Channel | undefined;
  let isOpen = false;
  let isClosed = false;
  /** Whether another tab may be watching. */
  let isHeard = true;
  let lookedAt = 0;
  /** How often another tab has said that it watches. */
  let signs = 0;
  let hasLock = false;
  let letGo = (): void => {};
  let ignoreShown = (): void => {};
  let ignorePage = (): void => {};

  function open(): void {
    if (isOpen || isClosed) return;
    isOpen = true;
    connect();
    ignorePage = onAway(disconnect, connect);
    ignoreShown = onShown(() => void check());
    isHeard = channel !== undefined;
    if (channel) void look();
  }
  function connect(): void {
    channel = openChannel<Message>(feedName, (message) => {
      if (message === 'watching') {
        signs += 1;
        isHeard = true;
      } else take(message.number, message.changes && { ...message, changes: message.changes, isOwn: false });
    });
    if (listeners.size > 0) hold();
  }
  function disconnect(): void {
    letGo();
    channel?.close();
  }

  /** Holds the lock that says that this tab watches, until `letGo` is called. */
  function hold(): void {
    const say = (): void => post(channel, 'watching');
    const done = new Promise<void>((resolve) => {
      letGo = resolve;
    });
    const locks = findLocks();
    if (!locks) say();
    locks
      ?.request(feedName, { mode: 'shared' }, () => {
        hasLock = true;
        say();
        return done;
      })
      .catch(say)
      .finally(() => {
        hasLock = false;
      });
  }

  /** Finds out whether another tab is watching. Where there are no locks, one may always be. */
  async function look(): Promise<void> {
    lookedAt = performance.now();
    const before = signs;
    try {
      const { held = [] } = (await findLocks()?.query()) ?? {};
      const watching = held.filter((lock) => lock.name === feedName).length;
      // A tab says that it watches when it has its lock: it may have done both meanwhile.
      if (findLocks()) isHeard = watching > (hasLock ? 1 : 0) || signs > before;
    } catch {
      // Firefox forbids it in a page that may store nothing.
    }
  }

  const tell = (heard: Heard): void => {
    for (const listener of listeners) listener(heard);
  };

  /** Reads where the feed is. */
  function begin(): void {
    told = undefined;
    const isCurrent = (): boolean => !isClosed && listeners.size > 0;
    lastNumber().then(
      (number) => {
        if (!isCurrent()) return;
        // What was committed before the first listener has come needs not be told, but it may have been published since.
        told = Math.min(number, ...[...early.keys()].map((heard) => heard - 1));
        advance();
      },
      () => {
        if (!isCurrent()) return;
        told = Math.max(0, ...early.keys());
        for (const number of [...early.keys()].sort((a, b) => a - b)) tell(early.get(number));
        early.clear();
      },
    );
  }

  function take(number: number | undefined, heard: Heard): void {
    if (listeners.size === 0) return;
    if (number === undefined) {
      tell(heard);
    } else {
      early.set(number, heard);
      advance();
    }
  }

  function advance(): void {
    if (told === undefined) return;
    const before = told;
    while (early.has(told + 1)) {
      told += 1;
      const heard = early.get(told);
      early.delete(told);
      tell(heard);
    }
    // While a number is missing, what is heard after it does not prolong the wait for it.
    if (early.size === 0 || told > before) {
      clearTimeout(patience);
      patience = undefined;
    }
    if (early.size > 0) patience ??= unref(setTimeout(missed, PATIENCE_MS));
  }

  /** A number did not come, or the database was deleted and counts anew. */
  function missed(): void {
    patience = undefined;
    early.clear();
    begin();
    tell(undefined);
  }

  /** Nobody in this tab watches any more. */
  function rest(): void {
    letGo();
    clearTimeout(patience);
    patience = told = undefined;
    early.clear();
  }

  /** A page that is seen again may have been suspended, so that messages were lost. */
  async function check(): Promise<void> {
    const number = await lastNumber().catch(() => told);
    if (told === undefined || number === undefined || number === told) return;
    // Messages may be on their way.
    patience ??= unref(setTimeout(() => (told === number ? undefined : missed()), PATIENCE_MS));
  }

  return {
    isWatched() {
      open();
      if (listeners.size > 0) return true;
      if (isHeard && performance.now() - lookedAt > LOOK_MS) void look();
      return isHeard;
    },
    hearsOthers: () => !isOpen || channel !== undefined,
    publish(number, changes, account) {
      if (number === undefined && changes?.length === 0) return;
      if (isHeard) post(channel, { number, changes, account });
      take(number, changes && { number, changes, isOwn: true, account });
    },
    subscribe(listener) {
      open();
      listeners.add(listener);
      if (listeners.size === 1) {
        hold();
        begin();
      }
      return () => {
        if (!listeners.delete(listener) || listeners.size > 0) return;
        rest();
      };
    },
    close() {
      isClosed = true;
      listeners.clear();
      rest();
      ignorePage();
      ignoreShown();
      channel?.close();
    },
  };
}
