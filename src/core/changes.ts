/**
 * Changes that are committed, in the form in which sessions publish them and tabs send them to each other.
 */
import { isRead, type Operation, type Outcome, type Snapshot } from './backend.ts';
import { snapshot } from './values.ts';

/** Where a change was made: in this tab, in another tab of this origin, or by another client of the server. */
export type ChangeSource = 'local' | 'tab' | 'remote';

/** A change of one key, or of all keys. Survives structured clone. */
export type StoredChange =
  | {
      readonly type: 'set';
      readonly key: string;
      /** The value in the form of the database. */
      readonly stored: unknown;
      readonly revision?: string | undefined;
      readonly isRemote?: boolean;
    }
  | { readonly type: 'delete'; readonly key: string; readonly isRemote?: boolean }
  | { readonly type: 'clear'; readonly isRemote?: boolean };

/** A change as a session tells it. */
export type SessionChange =
  | {
      readonly type: 'set';
      readonly key: string;
      readonly value: unknown;
      readonly revision: string | undefined;
      readonly source: ChangeSource;
    }
  | { readonly type: 'delete'; readonly key: string; readonly source: ChangeSource }
  | { readonly type: 'clear'; readonly source: ChangeSource };

/** What was committed together. */
export interface Commit {
  /** Its number among the commits; `undefined` if it has taken none. */
  readonly number: number | undefined;
  readonly changes: readonly SessionChange[];
}

/** The keys that are watched: one, or those that begin with a text. */
export type WatchedKeys = { readonly key: string } | { readonly prefix: string };

/** What keys hold at one moment. */
export interface KeySnapshot {
  /** The number of the last commit that it contains; `undefined` if that is not known. */
  readonly number: number | undefined;
  readonly entries: ReadonlyArray<Omit<Extract<SessionChange, { type: 'set' }>, 'type' | 'source'>>;
}

/** Something whose changes can be watched. */
export interface Watched {
  /**
   * Calls `listener` with each commit, in their order; with `undefined` if commits may have been missed. Returns what ends that.
   */
  watch(listener: (commit: Commit | undefined) => void): () => void;
  /**
   * Reads watched keys, and which commits that contains.
   *
   * @param heard The revision of what was heard last of one key. The entry has it if it is still in that state.
   */
  snapshot(keys: WatchedKeys, heard?: string): Promise<KeySnapshot>;
  /** Whether the changes of other tabs are heard too. */
  hearsOthers(): boolean;
}

/** Where a change was made. */
export function sourceOf({ isRemote }: StoredChange, isOwn: boolean): ChangeSource {
  if (isRemote) return 'remote';
  return isOwn ? 'local' : 'tab';
}

/**
 * What a batch has changed. Of several writes of a key it is the last one: they are one transaction.
 *
 * @param storedOf The form of the database.
 * @param existing The keys that existed before the batch, among those that a `clear-prefix` of it deletes.
 */
export function changesOf(
  operations: readonly Operation[],
  outcomes: readonly Outcome[],
  storedOf: (value: Snapshot) => unknown,
  existing: readonly string[] = [],
): StoredChange[] {
  const changes = new Map<string, StoredChange>();
  const cleared: StoredChange[] = [];
  const add = (key: string, change: StoredChange): void => {
    // The order of a batch is that of its last writes.
    changes.delete(key);
    changes.set(key, change);
  };
  for (const [i, operation] of operations.entries()) {
    const outcome = outcomes[i];
    if (isRead(operation) || outcome?.status !== 'fulfilled') continue;
    if (operation.type === 'clear') {
      changes.clear();
      cleared[0] = { type: 'clear' };
    } else if (operation.type === 'clear-prefix') {
      for (const key of [...existing, ...changes.keys()])
        if (key.startsWith(operation.prefix)) add(key, { type: 'delete', key });
    } else {
      const { type, key } = operation;
      if (type === 'delete') add(key, { type: 'delete', key });
      else if (type === 'put') add(key, { type: 'set', key, stored: storedOf(operation) });
      // The caller has the value of an update: it may change it.
      else add(key, { type: 'set', key, stored: storedOf(snapshot(outcome.value, key)) });
    }
  }
  return [...cleared, ...changes.values()];
}
