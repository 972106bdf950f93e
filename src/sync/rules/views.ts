/**
 * What a transaction changes of what readers see, for the listeners of `watch()`.
 *
 * A reader sees the queued writes over the mirror. So a write is a change when it is queued, not when it is sent, and an answer of the
 * server is one if it shows another value than before.
 */
import type { StoredChange } from '../../core/changes.ts';
import {
  ALL_KEYS,
  isSame,
  type KeyState,
  lastAcknowledged,
  localView,
  type Meta,
  type QueuedWrite,
  revisionOf,
  type ServerState,
} from './state.ts';

/** Whose changes a transaction stores. */
export interface Origin {
  /** The keys that a call of the app writes; {@link ALL_KEYS} for a clear. They are told in any case. */
  readonly own?: ReadonlySet<string>;
  /** Those of them whose write may be at the server already, so that the feed may have told it. */
  readonly inDoubt?: ReadonlySet<string>;
  /** Whether the server's change feed has named the changes: then a key that was not known has changed too. */
  readonly isFeed?: boolean;
}

/** The key states of a transaction, before and after. */
export interface Views {
  seen(keyStates: ReadonlyMap<string, KeyState>): void;
  setServerState(key: string, serverState: ServerState): void;
  setWrites(key: string, writes: readonly QueuedWrite[]): void;
  /** Some server states were deleted because the server was cleared; the others are in `left`. */
  cleared(deleted: ReadonlyMap<string, ServerState>, left: ReadonlyMap<string, ServerState>): void;
  /** Everything was deleted. */
  erased(): void;
  /**
   * The changes. `undefined` if every key may have changed.
   *
   * @param clears The queued clears before and after the transaction.
   */
  changes(
    before: Meta,
    after: Meta,
    clears: { readonly before: readonly QueuedWrite[]; readonly after: readonly QueuedWrite[] },
  ): StoredChange[] | undefined;
}

/** The views of a transaction whose changes come from `origin`. */
export function createViews({ own = new Set(), inDoubt, isFeed = false }: Origin = {}): Views {
  const before = new Map<string, KeyState>();
  const now = new Map<string, KeyState>();
  /** Keys that the server has deleted, whatever the mirror knows. */
  const gone = new Set<string>();
  let left: ReadonlyMap<string, ServerState> | undefined;
  let isErased = false;
  const stateOf = (key: string): KeyState => now.get(key) ?? before.get(key) ?? { writes: [] };

  return {
    seen(keyStates) {
      for (const [key, keyState] of keyStates) if (!before.has(key)) before.set(key, keyState);
    },
    setServerState(key, serverState) {
      gone.delete(key);
      now.set(key, { ...stateOf(key), serverState });
    },
    setWrites(key, writes) {
      now.set(key, { ...stateOf(key), writes });
    },
    cleared(deleted, others) {
      left = others;
      for (const [key, serverState] of deleted) {
        if (!before.has(key)) before.set(key, { serverState, writes: [] });
        gone.add(key);
        now.set(key, { writes: stateOf(key).writes });
      }
    },
    erased() {
      isErased = true;
    },
    changes(metaBefore, metaAfter, clears) {
      if (isErased) return undefined;
      const isClearDone = clears.after.length < clears.before.length;
      // A queued write that was told may have gone before the mirror knew its key.
      const isFilledAgain =
        (metaBefore.wasComplete || metaBefore.lastOrder > 0) &&
        metaBefore.cursor === undefined &&
        metaAfter.cursor !== undefined;
      // What the queued clear has hidden was not read.
      if (isClearDone && !left) return undefined;
      const isKnownClear = isClearKnown(metaBefore, metaAfter, clears);
      const hasValue =
        [...(left?.values() ?? [])].some(({ value }) => value !== undefined) ||
        [...before.keys()].some((key) => isQueuedValue(stateOf(key), clears.after));
      const isOwnClear = own.has(ALL_KEYS) && !isKnownClear;
      const isTold = isFeed && left !== undefined && !isClearDone && !hasValue && !isKnownClear;
      const isCleared = isOwnClear || isTold;
      if (isFilledAgain && !isCleared) return undefined;
      // Values that a queued clear has hidden are seen again, and those that are newer than a clear are told after it.
      if (left && (isClearDone || isCleared)) {
        for (const [key, serverState] of left)
          if (!before.has(key)) before.set(key, { serverState, writes: [] });
        for (const [key, keyState] of before) if (!now.has(key)) now.set(key, keyState);
      }
      const changes: StoredChange[] = isCleared
        ? [{ type: 'clear', ...(!isOwnClear && { isRemote: true }) }]
        : [];
      for (const [key, keyState] of now) {
        if (key === ALL_KEYS) continue;
        const isOwn = own.has(key);
        const old = localView(before.get(key) ?? { writes: [] }, clears.before, metaBefore);
        const isGone = gone.has(key) && lastAcknowledged(keyState) === undefined;
        const view = isGone ? { value: undefined } : localView(keyState, clears.after, metaAfter);
        if (!view) continue;
        const { value } = view;
        // The clear has told it.
        if (isCleared && value === undefined) continue;
        if (!isCleared && isSameState(before.get(key), keyState)) continue;
        const isKnown = old ? isSame(old.value, value) : !isOwn && !isFeed && !isGone;
        if (isKnown && !isCleared && (!isOwn || inDoubt?.has(key) || isHidden(before.get(key), keyState)))
          continue;
        const isRemote = !isOwn && { isRemote: true };
        changes.push(
          value
            ? { type: 'set', key, stored: value.json, revision: revisionOf(keyState), ...isRemote }
            : { type: 'delete', key, ...isRemote },
        );
      }
      return changes;
    },
  };
}

const lastOrder = (writes: readonly QueuedWrite[]): number => writes.at(-1)?.order ?? 0;

/** Whether readers see a value that is queued. */
const isQueuedValue = (keyState: KeyState, clears: readonly QueuedWrite[]): boolean => {
  const last = lastAcknowledged(keyState);
  return last?.value !== undefined && last.order > lastOrder(clears);
};

/** Whether readers see a queued write before and after, such as one of another tab that does not reach the server. */
const isHidden = (before: KeyState | undefined, after: KeyState): boolean => {
  const seen = lastAcknowledged(after)?.version;
  return seen !== undefined && before !== undefined && lastAcknowledged(before)?.version === seen;
};

/** Whether the mirror had a clear before its answer came: the change feed, or a copy of the server's data, has told what it deleted. */
const isClearKnown = (
  before: Meta,
  after: Meta,
  clears: { readonly before: readonly QueuedWrite[]; readonly after: readonly QueuedWrite[] },
): boolean =>
  after.level === 1 &&
  before.generation === after.generation &&
  lastOrder(clears.after) <= lastOrder(clears.before) &&
  after.clearedAt <= Math.max(before.clearedAt, before.cursor ?? 0);

/** Whether an answer has shown a state again. The change feed may have shown it before the answer to the write itself. */
const isSameState = (before: KeyState | undefined, { serverState: now, writes }: KeyState): boolean =>
  before?.serverState !== undefined &&
  now !== undefined &&
  // Level 0 has no revisions.
  now.seq > 0 &&
  now.seq === before.serverState.seq &&
  now.generation === before.serverState.generation &&
  (now.value === undefined) === (before.serverState.value === undefined) &&
  writes.length === 0 &&
  before.writes.length === 0;
