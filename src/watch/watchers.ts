/**
 * The listeners of `watch()`: which changes of the session each of them hears, and in which order.
 *
 * A listener first hears what it has asked for about the present, and then every later commit. Where commits may have been missed, it
 * hears what the keys hold now. Both are snapshots that name the last commit which they contain: commits up to that one are not told.
 */
import type { Commit, KeySnapshot, SessionChange, Watched, WatchedKeys } from '../core/changes.ts';
import { unref } from '../core/platform.ts';

/** What a listener is told: a change whose key is without the prefix of its namespace, and the value before it, if that is known. */
export type ToldChange = SessionChange & { readonly previous?: unknown };

/** A listener, and what it watches. */
export interface Watcher {
  readonly keys: WatchedKeys;
  /** The length of the prefix that its keys are told without. */
  readonly prefixLength: number;
  listener(change: ToldChange): void;
  /** Is called if what its keys hold cannot be read. */
  onError(error: unknown): void;
}

/** All listeners of a storage. */
export interface Watchers {
  /**
   * Adds a listener. Returns what removes it.
   *
   * @param isImmediate Whether it first hears the current value of its key.
   * @param opening Rejects if the session cannot be opened.
   */
  add(watcher: Watcher, isImmediate: boolean, opening: Promise<unknown>): () => void;
  /** Watches another session from now on. Its data may differ. */
  attach(session: Watched): void;
  close(): void;
}

/** The state of a listener. */
interface Listening extends Watcher {
  /** Commits that were heard while a snapshot is read. */
  held: Array<Commit | undefined> | undefined;
  /** Commits up to this number are contained in what it has heard. */
  from: number;
  /** What it has heard last, if it watches one key. */
  last: ToldChange | undefined;
}

/** Milliseconds until what could not be read is read again. */
const AGAIN_MS = 10_000;

/** @param failed Is called with what a listener throws. */
export function createWatchers(failed: (error: unknown) => void): Watchers {
  const all = new Set<Listening>();
  let session: Watched | undefined;
  let stop = (): void => {};

  function tell(watcher: Listening, change: SessionChange): void {
    const { keys, prefixLength, last } = watcher;
    if (change.type !== 'clear') {
      if ('key' in keys ? change.key !== keys.key : !change.key.startsWith(keys.prefix)) return;
      // The key that equals the prefix of a namespace is not part of it.
      if (change.key.length === prefixLength && prefixLength > 0) return;
    }
    const told = {
      ...change,
      ...(change.type !== 'clear' && { key: change.key.slice(prefixLength) }),
      ...('key' in keys && last?.type === 'set' && { previous: last.value }),
    };
    if ('key' in keys) watcher.last = told;
    try {
      watcher.listener(Object.freeze(told));
    } catch (error) {
      failed(error);
    }
  }

  function unread(watcher: Listening, error: unknown): void {
    if (all.has(watcher)) watcher.onError(error);
  }

  function hear(watcher: Listening, commit: Commit | undefined): void {
    if (watcher.held) watcher.held.push(commit);
    else if (commit === undefined) void catchUp(watcher, false);
    else if (commit.number === undefined || commit.number > watcher.from)
      for (const change of commit.changes) tell(watcher, change);
  }

  /** Tells a listener what its keys hold now, and then what it has heard meanwhile. */
  async function catchUp(watcher: Listening, isFirst: boolean, isAgain = false): Promise<void> {
    watcher.held = [];
    const asked = session;
    const { last } = watcher;
    const snapshot = await session
      ?.snapshot(watcher.keys, last?.type === 'set' ? last.revision : undefined)
      .catch((error) => {
        if (!isAgain) unread(watcher, error);
      })
      .catch(failed);
    if (!all.has(watcher) || session !== asked) return;
    const { held } = watcher;
    watcher.held = undefined;
    if (snapshot) {
      watcher.from = snapshot.number ?? watcher.from;
      tellSnapshot(watcher, snapshot, isFirst);
    } else unref(setTimeout(() => void readAgain(watcher, asked), AGAIN_MS));
    for (const commit of held) hear(watcher, commit);
  }

  /** Reads what could not be read before, unless it is being read, or the keys are those of another session by now. */
  async function readAgain(watcher: Listening, asked: Watched | undefined): Promise<void> {
    if (all.has(watcher) && session === asked && !watcher.held) await catchUp(watcher, false, true);
  }

  function tellSnapshot(watcher: Listening, { entries }: KeySnapshot, isFirst: boolean): void {
    const { keys, last } = watcher;
    const [entry] = entries;
    const source = isFirst ? 'local' : 'tab';
    if (!('key' in keys)) {
      tell(watcher, { type: 'clear', source });
      for (const one of entries) tell(watcher, { type: 'set', ...one, source });
    } else if (!entry) {
      if (isFirst || last?.type === 'set' || !last) tell(watcher, { type: 'delete', key: keys.key, source });
    } else if (
      isFirst ||
      last?.type !== 'set' ||
      last.revision === undefined ||
      last.revision !== entry.revision
    )
      tell(watcher, { type: 'set', ...entry, source });
  }

  function disconnect(): void {
    stop();
    stop = () => {};
  }
  function connect(): void {
    disconnect();
    if (session && all.size > 0)
      stop = session.watch((commit) => {
        for (const watcher of all) hear(watcher, commit);
      });
  }

  return {
    add(given, isImmediate, opening) {
      const watcher: Listening = { ...given, held: undefined, from: 0, last: undefined };
      all.add(watcher);
      if (all.size === 1) connect();
      // Without a session its snapshot is read when there is one.
      if (isImmediate) watcher.held = [];
      if (isImmediate && session) void catchUp(watcher, true);
      opening.catch((error) => isImmediate && unread(watcher, error)).catch(failed);
      return () => {
        if (all.delete(watcher) && all.size === 0) disconnect();
      };
    },
    attach(next) {
      if (next === session) return;
      const isFirst = session === undefined;
      session = next;
      connect();
      for (const watcher of all) {
        watcher.from = 0;
        if (!isFirst || watcher.held) void catchUp(watcher, isFirst);
      }
    },
    close() {
      disconnect();
      all.clear();
    },
  };
}
