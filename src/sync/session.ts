/**
 * Sync: a backend around the Flask backend that goes on while the server is away.
 *
 * While it is there, calls go to it, and the mirror learns from its answers. Where it is away, reads come from the outbox over the
 * mirror, and writes go into the outbox, which is sent when it is back (outbox/replay.ts). What a call promised holds in both cases: a
 * write resolves when the server has answered 2xx, or when the outbox is on the disk.
 */
import {
  type Backend,
  type Delete,
  type Outcome,
  outcomeOfClear,
  rejected,
  runWithClears,
  type SyncState,
} from '../core/backend.ts';
import { StorageError } from '../core/errors.ts';
import { hash } from '../core/hash.ts';
import { isHidden, onNetworkBack, unref } from '../core/platform.ts';
import { type ServerSessionOptions, type Session, type StorageStatus, statusOf } from '../core/session.ts';
import { type Deadline, remainingMs, withTimeLimit } from '../core/time.ts';
import { createConnection, deleteDatabase } from '../indexeddb/connection.ts';
import { createFlaskBackend } from '../remote/backend.ts';
import { OtherAccountError } from '../remote/errors.ts';
import { askToken } from '../remote/http.ts';
import type { KnownAccount } from '../remote/level1/protocol.ts';
import { createSyncDatabase, isLocal } from './database.ts';
import { checkAccount } from './mirror/account.ts';
import { localKeys } from './mirror/local-lists.ts';
import { createMirrorObserver } from './mirror/observer.ts';
import { createAccount } from './online/account.ts';
import { type Called, createCalls, marksOf } from './online/calls.ts';
import { createServerConnection } from './online/connection.ts';
import { createServerSide } from './online/handshake.ts';
import { createLimits } from './online/limits.ts';
import { createLists } from './online/lists.ts';
import { createLocal } from './outbox/append.ts';
import { listConflicts, resolveConflicts } from './outbox/conflicts.ts';
import { DATABASE_PREFIX } from './outbox/entries.ts';
import { mergeBy } from './outbox/merge.ts';
import { isUnreachable, type Stop } from './outbox/stop.ts';
import type { SentAs } from './rules/state.ts';
import { createTabs } from './tabs/channel.ts';
import { createTabLock } from './tabs/lock.ts';

/** Milliseconds between looks at what others have changed. */
const PULL = 30_000;
/** Milliseconds for a request without operations, as for those of the detection. */
const HANDSHAKE = 2000;
/** Operations of the outbox in one transaction: other tabs wait for its end. */
const PART = 100;
/** So often the server may turn out to be restored while the outbox is sent, before there is a pause. */
const RESTORES = 3;

/** The version of the records. Another one has another name, so that no tab reads what it does not understand. */
const FORMAT = 2;

/** Sync with the server at `serverUrl`. */
export function createSyncedSession(options: ServerSessionOptions): Session {
  const { serverUrl, timeout, token, log } = options;
  const owner = { serverUrl, database: options.database };
  const controller = new AbortController();
  const { signal } = controller;
  const name = `${DATABASE_PREFIX}${hash(`${serverUrl}\n${owner.database}`, FORMAT).toString(36)}`;
  const connection = createConnection(name, timeout, undefined, () => void refresh(false));
  const limits = createLimits(timeout, () => counts.pending > 0);
  const database = createSyncDatabase(connection, owner, {
    patienceMs: limits.databaseMs,
    deleted: () => void repeatHandshake(),
    recovered: () => void repeatHandshake(),
  });
  const lock = createTabLock(name, database, signal);
  let counts: Pick<StorageStatus, 'level' | 'pending' | 'conflicts' | 'lastSyncAtMs'> = {
    level: undefined,
    pending: 0,
    conflicts: 0,
    lastSyncAtMs: undefined,
  };
  /** Whether the log says that the mirror cannot be written. */
  let isWarned = false;

  const mirrorObserver = createMirrorObserver(
    database,
    () => void serverConnection.connect(),
    (error) => {
      if (!isWarned)
        log('warn', `cannot keep what the server answers for when it is away: ${(error as Error).message}`);
      isWarned = true;
    },
  );
  const flask = createFlaskBackend(serverUrl, limits.serverMs, token, mirrorObserver);
  const account = createAccount({
    state: () => serverConnection.state(),
    connect: (deadline = performance.now() + timeout) => connectBy(deadline),
    hint: () => serverConnection.hint(),
    readToken: async () =>
      typeof token === 'function' ? askToken(token, Math.min(HANDSHAKE, timeout), signal) : undefined,
  });
  const server = createServerSide({
    flask,
    database,
    mirrorObserver,
    lock,
    merge: mergeBy(options.conflict, timeout, signal, (key, error) =>
      log(
        'warn',
        `keeps the server's value of ${key}: the function given as option conflict failed: ${error}`,
      ),
    ),
    handshakeMs: Math.min(HANDSHAKE, limits.serverMs),
    progress: () => void refresh(true),
    signal,
  });

  let refreshing: Promise<void> = Promise.resolve();
  /** Count again what the status tells: one after the other, so that no count replaces a later one. */
  function refresh(tell: boolean): Promise<void> {
    if (tell) tabs.tell('changed');
    refreshing = refreshing.then(() => count(tell));
    return refreshing;
  }

  async function count(tell: boolean): Promise<void> {
    const read = database.read(async (transaction) => {
      const meta = await transaction.meta();
      if (meta?.account !== undefined && !account.known()) account.use({ account: meta.account });
      return {
        level: meta?.level,
        pending: await transaction.pendingCount(),
        conflicts: await transaction.count('conflict'),
        lastSyncAtMs: meta?.lastSyncAtMs,
      };
    });
    const next = await database.withPatience(read).catch(() => counts);
    const grown = next.conflicts - counts.conflicts;
    const same = JSON.stringify(next) === JSON.stringify(counts);
    counts = next;
    if (same || signal.aborted) return;
    if (grown > 0 && tell)
      log('warn', `has kept ${grown} values that the server did not take: see conflicts()`);
    options.changed();
  }

  /** Why nothing can be kept on this device; nothing where it can. */
  let unusable: StorageError | undefined;
  /** Whether the browser lets this site keep nothing, as where all cookies are blocked: then nothing waits here. */
  const isForbidden = (): boolean => (unusable?.cause as Error | undefined)?.name === 'SecurityError';
  /** Why the last attempt to send the outbox has left something there. */
  let stopped: StorageError | undefined;
  const reason = (): string => {
    const blocked = account.blocked();
    if (blocked) return blocked.message;
    if (serverConnection.state() !== 'online') return serverConnection.reason();
    if (unusable) return `nothing can be kept for when it is away: ${unusable.message}`;
    if (stopped && counts.pending > 0) return `writes wait, because ${stopped.message}`;
    return flask.detected()?.reason ?? '';
  };

  /** Meet the server, with the database of this device. */
  async function establish(): Promise<void> {
    await database.withPatience(database.read((transaction) => transaction.meta()));
    account.use({ account: (await server.establish()).account });
    unusable = undefined;
    isWarned = false;
    await refresh(true);
    tabs.tell('online');
  }

  /** What was kept here is gone, or it can be kept again: the mirror is filled anew. Calls go on meanwhile. */
  async function repeatHandshake(): Promise<void> {
    if (serverConnection.state() !== 'online' || signal.aborted) return;
    try {
      await establish();
      await replayOutbox();
      pullSoon();
    } catch (error) {
      if (error instanceof OtherAccountError) account.block(error);
      else if (!isUnreachable(error as StorageError) || signal.aborted) return;
      serverConnection.lost(error as StorageError);
    }
  }

  /** The state that the log knows of. */
  let said: SyncState | undefined;
  const serverConnection = createServerConnection(
    {
      askedToWaitMs: flask.askedToWaitMs,
      signal,
      async establish() {
        try {
          await establish();
        } catch (error) {
          if (error instanceof OtherAccountError) account.block(error);
          if (!isLocal(error)) throw error;
          unusable = error as StorageError;
          await server.handshakeOnly();
          account.use({ account: flask.level1()?.account() });
          // It may only have been slow.
          void database.read((transaction) => transaction.meta()).then(repeatHandshake, () => undefined);
        }
      },
      changed(state, reason) {
        // A try is no news, and neither is a second reason for the same.
        if (state !== 'reconnecting' && state !== said) {
          if (state === 'online') log('info', `uses the Flask backend at ${serverUrl}`);
          else if (account.blocked()) log('warn', `rejects every call: ${account.blocked()?.message}`);
          else log('warn', `uses IndexedDB, because ${reason}`);
          said = state;
        }
        options.changed();
        // The mirror is filled after that, so that it has what was sent.
        if (state === 'online') void (counts.pending > 0 ? replayOutbox() : Promise.resolve()).then(pullSoon);
      },
    },
    serverUrl,
  );

  const tabs = createTabs(name, (message) => {
    if (message === 'online' && serverConnection.state() !== 'online') void serverConnection.connect();
    if (message === 'forgotten') options.forgotten();
    if (message !== 'changed') return;
    void refresh(false).then(() => {
      // Whoever has put something there sends it, unless it is gone.
      if (counts.pending > 0) serverConnection.soon(() => void replayOutbox());
    });
  });
  /** Whether a disk that is full has kept the mirror from being filled. */
  let full = false;
  const pullSoon = (): void => {
    if (full) return;
    void server
      .pull()
      .then((same) => (same ? refresh(false) : serverConnection.connect()))
      .catch((error: StorageError) => {
        if (error instanceof OtherAccountError) return account.changed(error);
        full = error.code === 'quota';
        if (isUnreachable(error) && !signal.aborted) serverConnection.lost(error);
      });
  };
  const pulling = unref(
    setInterval(() => {
      if (serverConnection.state() === 'online' && !isHidden()) pullSoon();
    }, PULL),
  );

  let replaying: Promise<void> | undefined;
  /** What is sent now of what waits. */
  let round: Promise<Stop | undefined> = Promise.resolve(undefined);
  let again = false;
  /** Send what waits. Never rejects. */
  function replayOutbox(): Promise<void> {
    again = replaying !== undefined;
    replaying ??= replayRounds().finally(() => {
      replaying = undefined;
    });
    return replaying;
  }

  async function replayRounds(): Promise<void> {
    let restores = 0;
    do {
      again = false;
      round = sendRound();
      const stop = await round;
      if (signal.aborted) return;
      stopped = stop?.error;
      options.changed();
      if (stop?.why === 'restored' && restores < RESTORES) {
        restores += 1;
        await serverConnection.connect();
        again = serverConnection.state() === 'online';
      } else if (stop) return give(stop);
      again ||= await database.read((transaction) => transaction.hasWrites()).catch(() => false);
    } while (again && !signal.aborted);
  }

  /** Send what waits at the beginning. The status has counted what came of it. */
  async function sendRound(): Promise<Stop | undefined> {
    try {
      return await server.replayOutbox();
    } catch (error) {
      return { why: 'unreachable', error: error as StorageError };
    } finally {
      await refresh(true);
    }
  }

  /** Leave what waits to a later time. */
  async function give({ why, error }: Stop): Promise<void> {
    if (error instanceof OtherAccountError) return account.changed(error);
    const isLost =
      why === 'unreachable' ||
      why === 'restored' ||
      (why === 'refused' && (await server.isAccessDenied(HANDSHAKE)));
    if (signal.aborted) return;
    if (isLost) serverConnection.lost(error);
    else serverConnection.later(() => void replayOutbox());
  }

  /** Something was put into the outbox. The status counts it, unless the database is slow. */
  async function appended(limitMs: number): Promise<void> {
    if (serverConnection.state() === 'online') void replayOutbox();
    await withTimeLimit(refresh(true), limitMs, () => undefined);
  }

  const local = createLocal(database, mirrorObserver.unstored);
  const localInTime: Called['local'] = (operations, known, limitMs, doubts) => {
    let isOver = false;
    const carriedOut = local(operations, known, doubts, () => isOver);
    return database.withPatience(carriedOut, limitMs).finally(() => {
      isOver = true;
    });
  };
  const calls = createCalls({
    flask,
    database,
    local: inParts(localInTime, timeout),
    limits,
    mirrorObserver,
    serverConnection,
    writesHere: options.ack === 'local',
    isAccessDenied: server.isAccessDenied,
    appended,
    account: account.known,
    async verifyAccount(limitMs) {
      await flask
        .level1()
        ?.verify(Math.min(HANDSHAKE, limitMs))
        .catch((error) => {
          if (error instanceof OtherAccountError) throw error;
        });
    },
  });

  /** Whether the call under way has opened the session: it has tried to connect then, and need not do so twice. */
  let isJustOpened = false;
  /** Connects, for a call that needs the server. The attempt goes on after the limit of the call. */
  async function connectAgain(deadline: Deadline): Promise<void> {
    const hasTried = isJustOpened;
    isJustOpened = false;
    if (serverConnection.state() !== 'online' && !hasTried) await connectBy(deadline);
  }

  const connectBy = (deadline: Deadline): Promise<void> =>
    withTimeLimit(
      serverConnection.connect(),
      remainingMs(limits.serverDeadline(deadline)),
      () => undefined,
      signal,
    );

  /** How many writes up to a number are in the outbox. */
  const countUpTo = (last: number): Promise<number> =>
    database.read(
      async (transaction) =>
        (await transaction.keys<number>('order')).filter((order) => order <= last).length,
    );

  async function flush(): Promise<void> {
    if (isForbidden()) return;
    const connected = connectAgain(performance.now() + timeout);
    const last = await database.read(async (transaction) => (await transaction.meta())?.lastOrder ?? 0);
    await connected;
    // What is under way may fail for what was so before this call.
    let isUnderWay = replaying !== undefined;
    if (serverConnection.state() === 'online') void replayOutbox();
    for (let left = await countUpTo(last); left > 0; ) {
      const stop = await round;
      const before = left;
      left = await countUpTo(last);
      // Later writes keep it busy, and there may be no end of them.
      if (left === 0 || replaying !== undefined) continue;
      // Another tab that sends is waited for as long as these writes become fewer.
      const isTriedAgain =
        serverConnection.state() === 'online' && (isUnderWay || (stop?.why === 'busy' && left < before));
      if (!isTriedAgain) throw whyPending();
      isUnderWay = false;
      void replayOutbox();
    }
  }

  const whyPending = (): StorageError =>
    new StorageError(
      serverConnection.state() === 'auth-required' ? 'forbidden' : 'unavailable',
      `Writes still wait: ${reason()}`,
    );

  const run: Backend['run'] = (operations, { deadline = performance.now() + timeout } = {}) => {
    isJustOpened = false;
    return runWithClears(
      operations,
      (part) => calls.run(part, deadline),
      (prefix) => clearPrefix(prefix, deadline),
    );
  };

  /** Deletes the keys with a prefix: at the server, after the writes that wait for it, or those that are known here. */
  async function clearPrefix(prefix: string, deadline: Deadline): Promise<Outcome> {
    const known = account.known();
    if (serverConnection.state() !== 'online') return clearPrefixHere(prefix, known, deadline);
    const by = limits.serverDeadline(deadline);
    const isPending = await database
      .withPatience(
        database.read((transaction) => transaction.hasWrites()),
        limits.databaseMs(deadline),
      )
      .catch(() => false);
    // What cannot be sent now is deleted by the outbox after it has been sent.
    if (isPending && !(await isDoneBy(flush(), by))) return clearPrefixHere(prefix, known, deadline);
    let deletes: readonly Delete[] = [];
    try {
      deletes = await flask.deletesOf(prefix, by);
      const outcomes = await flask.run(deletes, { deadline: by });
      if (!flask.level1()) await mirrorObserver.outcomes(deletes, outcomes);
      const outcome = outcomeOfClear(outcomes);
      if (outcome.status === 'rejected') throw outcome.reason;
      return outcome;
    } catch (error) {
      const doubt = mirrorObserver.takeDoubt();
      let isNoted = false;
      try {
        if (!isUnreachable(error as StorageError)) throw error;
        serverConnection.lost(error as StorageError);
        const marks = doubt && marksOf(doubt);
        const outcome = await clearPrefixHere(
          prefix,
          known,
          deadline,
          new Map(deletes.flatMap((one) => [[one.key, marks?.get(one)] as const])),
        );
        isNoted = true;
        return outcome;
      } finally {
        doubt?.settle(isNoted);
      }
    }
  }

  /**
   * The outbox has no entry for this: each key that is known is deleted, in one transaction.
   *
   * @param marks Of deletes that may have arrived.
   */
  async function clearPrefixHere(
    prefix: string,
    known: KnownAccount | undefined,
    deadline: Deadline,
    marks: ReadonlyMap<string, SentAs | undefined> = new Map(),
  ): Promise<Outcome> {
    const limitMs = limits.leftMs(deadline);
    const keys = await database.withPatience(localKeys(database, known, { prefix }), limitMs);
    const deletes = keys.map((key): Delete => ({ type: 'delete', key }));
    const doubts = deletes.flatMap((one) => {
      const sentAs = marks.get(one.key);
      return sentAs ? [[one, { sentAs }] as const] : [];
    });
    const outcomes = await localInTime(deletes, known, limitMs, new Map(doubts));
    await appended(limits.leftMs(deadline));
    return outcomeOfClear(outcomes);
  }

  const lists = createLists({
    flask,
    database,
    limits,
    serverConnection,
    run,
    account: account.known,
    isAccessDenied: server.isAccessDenied,
  });

  /** @throws {OtherAccountError} if another tab has made this database that of another account. */
  const checkStored = async (): Promise<void> =>
    checkAccount(await database.read((transaction) => transaction.meta()), account.known());

  const ignoreNetwork = onNetworkBack(() => {
    if (serverConnection.state() !== 'online') void serverConnection.connect();
  });

  const status = (): StorageStatus => {
    const { level, ...counted } = counts;
    const found = flask.detected()?.level;
    const state = serverConnection.state();
    return statusOf({
      state,
      ...counted,
      level: state === 'online' ? found : (level ?? found),
      reason: reason(),
    });
  };

  return {
    get type() {
      return status().backend;
    },
    status,
    account: () => (account.blocked() ? undefined : account.known()?.account),
    async open(deadline) {
      await refresh(false);
      await connectBy(deadline ?? performance.now() + timeout);
      isJustOpened = true;
      setTimeout(() => {
        isJustOpened = false;
      });
    },
    async ready(opened, deadline) {
      const wasOnline = serverConnection.state() === 'online';
      await connectAgain(deadline);
      // Whoever asks again wants to know whether it answers now.
      if (wasOnline && !opened)
        await flask.open(limits.serverDeadline(deadline)).catch(serverConnection.lost);
      const blocked = account.blocked();
      if (blocked) throw blocked;
      if (serverConnection.state() !== 'online')
        await database.withPatience(connection.open(), limits.leftMs(deadline));
    },
    run: (operations, options) => account.run(() => run(operations, options), options?.deadline),
    atomic(parts, deadline = performance.now() + timeout) {
      isJustOpened = false;
      return account.call(() => calls.atomic(parts, deadline), deadline);
    },
    keys: (range, deadline) => account.list(() => lists.keys(range, deadline), deadline),
    entries: (range) => account.pages(() => lists.entries(range)),
    stats: (deadline) => account.list(() => lists.stats(deadline), deadline),
    count: (range, deadline) => account.list(() => lists.count(range, deadline), deadline),
    async check(key, value) {
      if (serverConnection.state() === 'online') await flask.check(key, value);
    },
    flush: () => account.call(flush),
    conflicts: () =>
      account.list(async () => {
        if (isForbidden()) return [];
        await checkStored();
        return listConflicts(database);
      }),
    async forget(discardPending) {
      const isErased = await database.write(async (writing) => {
        // In one transaction: no other tab can put a write into the outbox in between.
        if (!discardPending && (await writing.hasWrites())) return false;
        writing.erase();
        return true;
      }, true);
      if (!isErased)
        throw new StorageError(
          'pending',
          `${counts.pending} writes are not on the server yet: call flush() first, or forget({ discardPending: true }) to lose them. Nothing was deleted.`,
        );
      tabs.tell('forgotten');
      connection.close();
      // It is empty. A tab that is suspended may keep the rest of it for a while.
      await deleteDatabase(name, timeout);
    },
    async resolve(key, choice) {
      await account.call(async () => {
        await checkStored();
        await resolveConflicts(database, key, choice);
      });
      await refresh(true);
      // Its result is waited for, but not for the end of a long outbox.
      if (serverConnection.state() === 'online')
        await withTimeLimit(replayOutbox(), timeout, () => undefined, signal);
    },
    async close() {
      controller.abort();
      ignoreNetwork();
      clearInterval(pulling);
      tabs.close();
      await flask.close();
      await replaying;
      await mirrorObserver.whenUpdated();
      connection.close();
    },
  };
}

/** Whether something succeeds before a deadline. */
const isDoneBy = (work: Promise<void>, deadline: Deadline): Promise<boolean> =>
  withTimeLimit(
    work.then(
      () => true,
      () => false,
    ),
    remainingMs(deadline),
    () => false,
  );

/** Carries batches out in transactions of bounded length. What is stored when one of them fails stays stored. */
const inParts =
  (local: Called['local'], timeout: number): Called['local'] =>
  async (operations, known, limitMs, doubts) => {
    const outcomes: Outcome[] = [];
    for (let from = 0; from < operations.length; from += PART) {
      const part = operations.slice(from, from + PART);
      try {
        outcomes.push(...(await local(part, known, from === 0 ? limitMs : timeout, doubts)));
      } catch (error) {
        if (from === 0) throw error;
        while (outcomes.length < operations.length) outcomes.push(rejected(error));
      }
    }
    return outcomes;
  };
