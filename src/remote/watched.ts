/**
 * Tells the changes of a server's data where there is no IndexedDB: the writes of this storage, and the changes of the server's feed. It
 * tells each change once.
 *
 * The feed brings this storage's own writes too. They are known by their sequence numbers: the changes of the feed are told when the
 * calls under way have settled, which tell their writes before. A write whose answer was lost is told as the feed brings it.
 */
import type { Operation, Outcome } from '../core/backend.ts';
import {
  type Commit,
  changesOf,
  type KeySnapshot,
  type SessionChange,
  type Watched,
  type WatchedKeys,
} from '../core/changes.ts';
import type { StorageError } from '../core/errors.ts';
import { decodeAt } from '../core/json.ts';
import { backOffMs, sleep } from '../core/time.ts';
import { snapshot } from '../core/values.ts';
import type { FlaskBackend } from './backend.ts';
import { entryOf, errorOf } from './level1/batches.ts';
import { type Changes, changesSince, createFeedFollower, position } from './level1/changes.ts';
import { isWrite, type Level1, type Observer, type Result, seqOf } from './level1/protocol.ts';

/** What the changes are learned from. */
export interface RemoteWatchedParts {
  backend(): FlaskBackend;
  readonly timeout: number;
  /** The server answers, or why it does not. */
  heard(error?: StorageError): void;
  log(level: 'warn', text: string): void;
}

/** The changes of a server's data. */
export interface RemoteWatched extends Pick<Watched, 'watch' | 'snapshot'> {
  /** Tells the writes that a server of level 1 answers. */
  readonly observer: Observer;
  /** Names a call that may write. */
  began(call: Promise<unknown>): void;
  /** Follows the feed of another account from now on. */
  restart(): void;
  /** Tells the writes of a batch that a server of level 0 has answered. */
  tell(operations: readonly Operation[], outcomes: readonly Outcome[]): void;
}

/** A change at the server, in the order of its change feed. */
interface RemoteChange {
  /** The key; empty for a clear. */
  readonly key: string;
  readonly rev: number;
  /** The value; `undefined` if there is none now. */
  readonly value: { readonly json: unknown } | undefined;
}

/** When a feed is asked for again that could not be followed. */
const AWAY = { firstMs: 500, longestMs: 10_000 };

export function createRemoteWatched({ backend, timeout, heard, log }: RemoteWatchedParts): RemoteWatched {
  const follower = createFeedFollower(timeout);
  const listeners = new Set<(commit: Commit | undefined) => void>();
  let following = new AbortController();
  /** Own writes that the feed has not brought yet: their sequence numbers, by key; with the empty key, that of a clear. */
  const own = new Map<string, number>();
  const underWay = new Set<Promise<unknown>>();

  const publish = (commit: Commit | undefined): void => {
    for (const listener of listeners) listener(commit);
  };
  const feedOf = (level1 = backend().level1()): Level1 | undefined =>
    level1?.tellsChanges ? level1 : undefined;

  /** Changes as they are told. A value that cannot be decoded is left out. */
  const decoded = (changes: readonly RemoteChange[], epoch: string, source: 'local' | 'remote') =>
    Promise.all(
      changes.map(async ({ key, rev, value }): Promise<SessionChange | undefined> => {
        if (key === '') return { type: 'clear', source };
        if (!value) return { type: 'delete', key, source };
        try {
          return {
            type: 'set',
            key,
            value: await decodeAt(key, value.json),
            revision: `${epoch}.${rev}`,
            source,
          };
        } catch (error) {
          log('warn', `cannot tell a change: ${error}`);
          return undefined;
        }
      }),
    );

  /** Tells a page of the feed, unless the following has ended by then. */
  async function take({ epoch, changes, seq }: Changes, until: AbortSignal): Promise<void> {
    const told = await decoded(changes, epoch, 'remote');
    await Promise.allSettled([...underWay]);
    if (until.aborted) return;
    for (const [i, { key, rev }] of changes.entries()) {
      const change = told[i];
      if (change && Math.max(own.get(key) ?? 0, own.get('') ?? 0) < rev)
        publish({ number: rev, changes: [change] });
    }
    for (const [key, rev] of own) if (rev <= seq) own.delete(key);
  }

  /** @param isFirst Whether nothing was followed before, so that no change was missed. */
  async function follow(level1: Level1, until: AbortSignal, isFirst: boolean): Promise<void> {
    let cursor: string | undefined;
    let hasMissed = !isFirst;
    for (let failures = 0; !until.aborted; ) {
      try {
        if (cursor === undefined) own.clear();
        if (cursor === undefined || failures > 0) {
          const now = await position(level1);
          heard();
          if (cursor === undefined && hasMissed) publish(undefined);
          cursor ??= now;
          hasMissed = true;
        }
        let count = 0;
        const feed = follower.follow(level1, cursor, until);
        for (let next = await feed.next(); !until.aborted; next = await feed.next()) {
          if (next.done) {
            if (next.value) cursor = undefined;
            break;
          }
          await take(next.value, until);
          cursor = `${next.value.epoch}.${next.value.seq}`;
          count += next.value.changes.length;
          failures = 0;
        }
        await feed.return(undefined);
        await sleep(follower.pauseMs(count), until);
      } catch (error) {
        failures += 1;
        if (!until.aborted) heard(error as StorageError);
        await sleep(backOffMs(failures, AWAY), until);
      }
    }
  }

  function start(isFirst: boolean): void {
    following.abort();
    following = new AbortController();
    const level1 = feedOf();
    if (level1 && listeners.size > 0) void follow(level1, following.signal, isFirst);
  }

  /** What the server holds with a prefix, and the position of the feed after that. */
  async function listed(level1: Level1, prefix: string): Promise<KeySnapshot> {
    const found = new Map<string, RemoteChange>();
    const feed = changesSince(level1, undefined);
    let last: Changes | undefined;
    for (let next = await feed.next(); !next.done; next = await feed.next()) {
      last = next.value;
      for (const change of last.changes)
        if (change.key === '') found.clear();
        else if (!change.value) found.delete(change.key);
        else if (change.key.startsWith(prefix)) found.set(change.key, change);
    }
    const told = await decoded([...found.values()], last?.epoch ?? '', 'remote');
    return { number: last?.seq, entries: told.filter((change) => change?.type === 'set') };
  }

  /** What a server of level 1 holds, and up to which change. */
  async function snapshotOf(level1: Level1, keys: WatchedKeys): Promise<KeySnapshot> {
    if ('prefix' in keys) return listed(level1, keys.prefix);
    const { key } = keys;
    const { answer, error } = await level1.batch({}, [{ op: 'get', key }]);
    if (!answer) throw error;
    const [result] = answer.results as [Result];
    const entry = await entryOf(key, result);
    if (!entry && result.status !== 404) throw errorOf(key, result);
    return { number: answer.seq, entries: entry ? [{ key, ...entry }] : [] };
  }

  return {
    watch(listener) {
      listeners.add(listener);
      if (listeners.size === 1) start(true);
      return () => {
        listeners.delete(listener);
        if (listeners.size === 0) following.abort();
      };
    },
    restart: () => start(false),
    async snapshot(keys) {
      const level1 = feedOf();
      if (level1) return snapshotOf(level1, keys);
      const entries: Array<KeySnapshot['entries'][number]> = [];
      if ('key' in keys) {
        const { key } = keys;
        const outcomes = await backend().run([
          { type: 'has', key },
          { type: 'get', key },
        ]);
        const [has, value] = outcomes.map((outcome) => {
          if (outcome.status === 'rejected') throw outcome.reason;
          return outcome.value;
        });
        if (has) entries.push({ key, value, revision: undefined });
      } else
        for await (const page of backend().entries(keys))
          for (const [key, value] of page) entries.push({ key, value, revision: undefined });
      return { number: undefined, entries };
    },
    observer: {
      asksLater: false,
      asking: () => 0,
      async answered(ops, { results, epoch }) {
        if (listeners.size === 0) return;
        const written = new Map<string, RemoteChange>();
        for (const [i, op] of ops.entries()) {
          const { status, revision } = results[i] as Result;
          if (status !== 200 || !isWrite(op) || op.op === 'check') continue;
          const rev = seqOf(revision);
          const key = 'key' in op ? op.key : '';
          if (key === '') written.clear();
          if (feedOf()) own.set(key, rev);
          written.delete(key);
          written.set(key, { key, rev, value: op.op === 'put' ? { json: JSON.parse(op.text) } : undefined });
        }
        const changes = [...written.values()];
        for (const [i, change] of (await decoded(changes, epoch, 'local')).entries())
          if (change) publish({ number: changes[i]?.rev, changes: [change] });
      },
    },
    began(call) {
      underWay.add(call);
      const end = (): void => void underWay.delete(call);
      call.then(end, end);
    },
    tell(operations, outcomes) {
      if (listeners.size === 0 || backend().level1()) return;
      // The app may change what a call has returned.
      const changes = changesOf(operations, outcomes, ({ value }) => snapshot(value).value).map(
        (change): SessionChange =>
          change.type === 'set'
            ? { type: 'set', key: change.key, value: change.stored, revision: undefined, source: 'local' }
            : { ...change, source: 'local' },
      );
      publish({ number: undefined, changes });
    },
  };
}
