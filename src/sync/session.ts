/**
 * Sync: a session around a server's backend that goes on while the server does not answer.
 *
 * While it answers, calls go to it, and the mirror is updated from its answers (online/, mirror/). While it does not, reads come from
 * the outbox over the mirror, and writes go into the outbox, which is replayed later (outbox/). A write resolves when the server has
 * answered 2xx, or when the write is in the outbox on disk.
 */
import { type Backend, runWithClears, type SyncState } from '../core/backend.ts';
import { createChangeFeed } from '../core/change-feed.ts';
import { StorageError } from '../core/errors.ts';
import { hash } from '../core/hash.ts';
import { isHidden, onNetworkBack, unref } from '../core/platform.ts';
import { type ServerSessionOptions, type Session, type StorageStatus, statusOf } from '../core/session.ts';
import { type Deadline, remainingMs, withTimeLimit } from '../core/time.ts';
import { lastNumberIn } from '../indexeddb/commits.ts';
import { createConnection, deleteDatabase } from '../indexeddb/connection.ts';
import { createFlaskBackend } from '../remote/backend.ts';
import { OtherAccountError } from '../remote/errors.ts';
import { askToken } from '../remote/http.ts';
import { createSyncDatabase, isLocal } from './database.ts';
import { checkAccount } from './mirror/account.ts';
import { commitOf } from './mirror/commit.ts';
import { createMirrorObserver } from './mirror/observer.ts';
import { snapshotOf } from './mirror/snapshot.ts';
import { createAccount } from './online/account.ts';
import { createCalls } from './online/calls.ts';
import { createServerConnection } from './online/connection.ts';
import { createFollowing } from './online/following.ts';
import { createHandshake } from './online/handshake.ts';
import { createLimits } from './online/limits.ts';
import { createLists } from './online/lists.ts';
import { createPulling } from './online/pulling.ts';
import { createSending } from './online/sending.ts';
import { createLocalCalls } from './outbox/append.ts';
import { listConflicts, resolveConflicts } from './outbox/conflicts.ts';
import { createOutboxCounts } from './outbox/counts.ts';
import { DATABASE_PREFIX } from './outbox/entries.ts';
import { mergeBy } from './outbox/merge.ts';
import { isUnreachable } from './outbox/stop.ts';
import { isOfOtherAccount } from './rules/state.ts';
import { createTabs } from './tabs/channel.ts';
import { createTabLock } from './tabs/lock.ts';

/** Milliseconds between requests for the changes of others, while no tab follows them. */
const POLL_MS = 30_000;
/** The most milliseconds for a request without operations, as for those of the detection. */
const REQUEST_MS = 2000;
/** The version of the records. Another version has another database, so no tab reads records that it does not understand. */
const FORMAT = 2;

/** Sync with the server at `serverUrl`. */
export function createSyncedSession(options: ServerSessionOptions): Session {
  const { serverUrl, timeout, token, log } = options;
  const owner = { serverUrl: options.givenUrl ?? serverUrl, database: options.database };
  const controller = new AbortController();
  const { signal } = controller;
  const name = `${DATABASE_PREFIX}${hash(`${serverUrl}\n${owner.database}`, FORMAT).toString(36)}`;
  const connection = createConnection(name, timeout, undefined, () => void counts.refresh(false));
  const limits = createLimits(
    timeout,
    () => counts.current.pending > 0,
    () => database.isSilent(),
  );
  const feed = createChangeFeed(name, () => connection.readInSteps(lastNumberIn));
  const database = createSyncDatabase(
    connection,
    owner,
    {
      patienceMs: limits.databaseMs,
      deleted() {
        isMirrorBehind = true;
        void repeatHandshake();
      },
      recovered: () => void repeatHandshake(),
    },
    feed,
  );
  const lock = createTabLock(name, database, signal);
  const counts = createOutboxCounts(database, (now, before, isOwn) => {
    if (now.account !== undefined && !account.known()) account.use({ account: now.account });
    if (signal.aborted) return;
    const more = now.conflicts - before.conflicts;
    if (more > 0 && isOwn)
      log('warn', `has kept ${more} values that the server did not accept: see conflicts()`);
    options.changed();
  });
  /** Counts again after this tab has changed the database. */
  function refresh(): Promise<void> {
    tabs.tell('changed');
    return counts.refresh(true);
  }

  /** Whether the log says that the mirror cannot be written. */
  let isMirrorFailureLogged = false;
  /** Whether the mirror lacks answers, so that it cannot be said what the next ones change. */
  let isMirrorBehind = false;
  /** Listeners hear something of this device. If it has never reached its server, it shows everything as empty. */
  const hearsDevice = (): void => {
    isMirrorBehind ||= counts.current.level === undefined;
  };
  const mirrorObserver = createMirrorObserver(
    database,
    () => void serverConnection.connect(),
    (error) => {
      if (!isMirrorFailureLogged)
        log('warn', `cannot store the server's answers on this device: ${(error as Error).message}`);
      isMirrorFailureLogged = isMirrorBehind = true;
    },
  );
  const flask = createFlaskBackend(serverUrl, limits.serverMs, token, mirrorObserver);
  const account = createAccount({
    state: () => serverConnection.state(),
    connect: (deadline = deadlineFromNow()) => connectBy(deadline),
    hint: () => serverConnection.hint(),
    readToken: async () =>
      typeof token === 'function' ? askToken(token, Math.min(REQUEST_MS, timeout), signal) : undefined,
  });
  const handshake = createHandshake({
    flask,
    database,
    mirrorObserver,
    lock,
    requestMs: Math.min(REQUEST_MS, limits.serverMs),
  });

  /** Why nothing can be stored on this device. */
  let unusable: StorageError | undefined;
  /** Whether the browser lets this site store nothing, for example because all cookies are blocked. Then nothing is queued. */
  const isStorageForbidden = (): boolean => (unusable?.cause as Error | undefined)?.name === 'SecurityError';

  /** The handshake, with the database of this device. */
  async function establish(): Promise<void> {
    await database.withPatience(database.read((transaction) => transaction.meta()));
    account.use({ account: (await handshake.establish()).account });
    unusable = undefined;
    isMirrorFailureLogged = false;
    await refresh();
    tabs.tell('online');
  }

  /** The database was deleted, or it can be used again: the mirror is filled anew. Calls go on meanwhile. */
  async function repeatHandshake(): Promise<void> {
    if (!isOnline() || signal.aborted) return;
    try {
      await establish();
      await sending.start();
      pullSoon();
    } catch (error) {
      if (error instanceof OtherAccountError) account.block(error);
      else if (!isUnreachable(error as StorageError) || signal.aborted) return;
      serverConnection.lost(error as StorageError);
    }
  }

  let loggedState: SyncState | undefined;
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
          await handshake.establishWithoutDatabase();
          account.use({ account: flask.level1()?.account() });
          // It may only have been slow.
          void database.read((transaction) => transaction.meta()).then(repeatHandshake, () => undefined);
        }
      },
      changed(state, reason) {
        // Retries are not logged, and neither is another reason for the same state.
        if (state !== 'reconnecting' && state !== loggedState) {
          if (state === 'online') log('info', `uses the Flask backend at ${serverUrl}`);
          else if (account.blocked()) log('warn', `rejects every call: ${account.blocked()?.message}`);
          else log('warn', `uses IndexedDB, because ${reason}`);
          loggedState = state;
        }
        options.changed();
        // The mirror is filled after the replay, so that it contains what was sent.
        if (state === 'online')
          void (counts.current.pending > 0 ? sending.start() : Promise.resolve()).then(pullSoon);
      },
    },
    serverUrl,
  );
  const isOnline = (): boolean => serverConnection.state() === 'online';

  const sending = createSending({
    flask,
    database,
    lock,
    handshake,
    serverConnection,
    signal,
    merge: mergeBy(options.conflict, timeout, signal, (key, error) =>
      log(
        'warn',
        `keeps the server's value of ${key}, because the function of option conflict failed: ${error}`,
      ),
    ),
    progress: () => void refresh(),
    accountChanged: account.changed,
    replayed: refresh,
    changed: options.changed,
  });

  const tabs = createTabs(name, (message) => {
    if (message === 'online' && !isOnline()) void serverConnection.connect();
    if (message === 'forgotten') options.forgotten();
    if (message === 'following') following.heard();
    if (message !== 'changed') return;
    void counts.refresh(false).then(() => {
      // The tab that has queued writes sends them, unless it is gone.
      if (counts.current.pending > 0) serverConnection.soon(() => void sending.start());
    });
  });

  const pulling = createPulling({
    flask,
    database,
    serverConnection,
    signal,
    timeout,
    account,
    stored() {
      if (isMirrorBehind) feed.publish(undefined, undefined);
      isMirrorBehind = false;
      return counts.refresh(false);
    },
  });
  const pullSoon = (): void => void pulling.now();
  const following = createFollowing({
    name,
    signal,
    isOnline: () => isOnline() && !account.blocked(),
    follow: pulling.follow,
    tell: () => tabs.tell('following'),
    hearsOthers: feed.hearsOthers,
  });
  let watching = 0;
  let stopFollowing = (): void => {};
  const polling = unref(
    setInterval(() => {
      if (isOnline() && !isHidden() && !following.isFollowed()) pullSoon();
    }, POLL_MS),
  );
  const ignoreNetwork = onNetworkBack(() => {
    if (!isOnline()) void serverConnection.connect();
  });

  /** Whether the call under way has opened the session, and has tried to connect by that. */
  let isJustOpened = false;
  /** Connects, for a call that needs the server. The attempt goes on after the limit of the call. */
  async function connectAgain(deadline: Deadline): Promise<void> {
    const hasTried = isJustOpened;
    isJustOpened = false;
    if (!isOnline() && !hasTried) await connectBy(deadline);
  }
  const connectBy = (deadline: Deadline): Promise<void> =>
    withTimeLimit(
      serverConnection.connect(),
      remainingMs(limits.serverDeadline(deadline)),
      () => undefined,
      signal,
    );
  const deadlineFromNow = (): Deadline => performance.now() + timeout;

  const reason = (): string => {
    const blocked = account.blocked();
    if (blocked) return blocked.message;
    if (!isOnline()) return serverConnection.reason();
    if (unusable) return `nothing can be stored on this device: ${unusable.message}`;
    const stopped = sending.stopped();
    if (stopped && counts.current.pending > 0)
      return `writes are still in the outbox, because ${stopped.message}`;
    return flask.detected()?.reason ?? '';
  };

  async function flush(deadline = deadlineFromNow()): Promise<void> {
    if (isStorageForbidden()) return;
    await sending.flush({
      calledAt: deadline - timeout,
      databaseMs: () => limits.leftMs(deadline),
      connect: () => connectAgain(deadline),
      reason,
    });
  }

  const calls = createCalls({
    flask,
    database,
    local: createLocalCalls(database, timeout, mirrorObserver.unstored),
    limits,
    mirrorObserver,
    serverConnection,
    isLocalFirst: options.ack === 'local',
    isAccessDenied: handshake.isAccessDenied,
    answersOthers: handshake.answersOthers,
    // The status counts them, unless the database is slow.
    async appended(limitMs) {
      if (isOnline()) void sending.start();
      await withTimeLimit(refresh(), limitMs, () => undefined);
    },
    flush,
    account: account.known,
    async verifyAccount(limitMs) {
      await flask
        .level1()
        ?.verify(Math.min(REQUEST_MS, limitMs))
        .catch((error) => {
          if (error instanceof OtherAccountError) throw error;
        });
    },
  });
  const run: Backend['run'] = (operations, { deadline = deadlineFromNow() } = {}) => {
    isJustOpened = false;
    return runWithClears(
      operations,
      (part) => calls.run(part, deadline),
      (prefix) => calls.clearPrefix(prefix, deadline),
    );
  };
  const lists = createLists({
    flask,
    database,
    limits,
    serverConnection,
    run,
    account: account.known,
    isAccessDenied: handshake.isAccessDenied,
  });

  /** @throws {OtherAccountError} if another tab has made this database that of another account. */
  const checkStored = async (): Promise<void> =>
    checkAccount(await database.read((transaction) => transaction.meta()), account.known());

  const status = (): StorageStatus => {
    const state = serverConnection.state();
    const { level, account: _, ...counted } = counts.current;
    const detected = flask.detected()?.level;
    return statusOf({
      state,
      ...counted,
      level: state === 'online' ? detected : (level ?? detected),
      reason: reason(),
    });
  };

  return {
    get type() {
      return status().backend;
    },
    status,
    account: () => (account.blocked() ? undefined : account.known()?.account),
    async open(deadline = deadlineFromNow()) {
      await counts.refresh(false);
      await connectBy(deadline);
      isJustOpened = true;
      setTimeout(() => {
        isJustOpened = false;
      });
    },
    async ready(isFirst, deadline) {
      const wasOnline = isOnline();
      await connectAgain(deadline);
      // A repeated call asks whether the server answers now.
      if (wasOnline && !isFirst)
        await flask.open(limits.serverDeadline(deadline)).catch(serverConnection.lost);
      const blocked = account.blocked();
      if (blocked) throw blocked;
      if (!isOnline()) await database.withPatience(connection.open(), limits.leftMs(deadline));
    },
    run: (operations, options) => account.run(() => run(operations, options), options?.deadline),
    atomic(parts, deadline = deadlineFromNow()) {
      isJustOpened = false;
      return account.call(() => calls.atomic(parts, deadline), deadline);
    },
    keys: (range, deadline) => account.list(() => lists.keys(range, deadline), deadline),
    entries: (range) => account.pages(() => lists.entries(range)),
    stats: (deadline) => account.list(() => lists.stats(deadline), deadline),
    count: (range, deadline) => account.list(() => lists.count(range, deadline), deadline),
    async check(key, value) {
      if (isOnline()) await flask.check(key, value);
    },
    watch(listener) {
      let telling = Promise.resolve();
      const unsubscribe = feed.subscribe((heard) => {
        // Another tab may be signed in with another account.
        if (heard && isOfOtherAccount(heard, account.known())) return;
        hearsDevice();
        const commit = heard && commitOf(heard, (error) => log('warn', `cannot tell a change: ${error}`));
        telling = telling.then(async () => listener(await commit));
      });
      watching += 1;
      if (watching === 1) stopFollowing = following.start();
      return () => {
        unsubscribe();
        watching -= 1;
        if (watching === 0) stopFollowing();
      };
    },
    async snapshot(keys, heard) {
      hearsDevice();
      return snapshotOf(database, keys, account.known, heard, (key) => run([{ type: 'get', key }]));
    },
    hearsOthers: feed.hearsOthers,
    flush: (deadline) => account.call(() => flush(deadline), deadline),
    conflicts: () =>
      account.list(async () => {
        if (isStorageForbidden()) return [];
        await checkStored();
        return listConflicts(database);
      }),
    async forget(discardPending) {
      const isErased = await database.write(async (writing) => {
        // In one transaction: no other tab can append a write in between.
        if (!discardPending && (await writing.hasWrites())) return false;
        writing.erase();
        return true;
      }, true);
      if (!isErased)
        throw new StorageError(
          'pending',
          `${counts.current.pending} writes are not on the server yet: call flush() first, or forget({ discardPending: true }) to lose them. Nothing was deleted.`,
        );
      tabs.tell('forgotten');
      connection.close();
      // It is empty. A suspended tab may delay the deletion of the database itself.
      await deleteDatabase(name, timeout);
    },
    async resolve(key, choice) {
      await account.call(async () => {
        await checkStored();
        await resolveConflicts(database, key, choice);
      });
      await refresh();
      // Waits for the result, but not for the end of a long outbox.
      if (isOnline()) await withTimeLimit(sending.start(), timeout, () => undefined, signal);
    },
    async close() {
      controller.abort();
      ignoreNetwork();
      clearInterval(polling);
      tabs.close();
      feed.close();
      await flask.close();
      await sending.idle();
      await mirrorObserver.whenUpdated();
      connection.close();
    },
  };
}
