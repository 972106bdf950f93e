/**
 * Sync: a backend around the Flask backend that goes on while the server is away.
 *
 * While it is there, calls go to it, and the mirror learns from its answers. Where it is away, reads come from the outbox over the
 * mirror, and writes go into the outbox, which is sent when it is back (replay.ts). What a call promised holds in both cases: a
 * write resolves when the server has answered 2xx, or when the outbox is on the disk.
 */
import { type Outcome, outcomeOfClear, runWithClears, type SyncState } from '../core/backend.ts';
import { StorageError } from '../core/errors.ts';
import { hash } from '../core/hash.ts';
import { isHidden, onNetworkBack, unref } from '../core/platform.ts';
import { type ServerSessionOptions, type Session, type StorageStatus, statusOf } from '../core/session.ts';
import { createConnection } from '../indexeddb/connection.ts';
import { createFlaskBackend, type Detected } from '../remote/backend.ts';
import { createCalls } from './calls.ts';
import { listConflicts, resolveConflicts } from './conflicts.ts';
import { createLearner } from './learner.ts';
import { createLink } from './link.ts';
import { createLists } from './lists.ts';
import { createLocal } from './local.ts';
import { mergeBy } from './merge.ts';
import { createServerSide } from './server-side.ts';
import { isAway, type Stop } from './stop.ts';
import { createTables } from './tables.ts';
import { createTabs } from './tabs.ts';
import { createTurn } from './turn.ts';

/** Milliseconds between looks at what others have changed. */
const PULL = 30_000;

/** Sync with the server at `serverUrl`. */
export function createSyncedSession(options: ServerSessionOptions): Session {
  const { serverUrl, database, timeout, token, log } = options;
  const controller = new AbortController();
  const { signal } = controller;
  const name = `codeforge-sync:${hash(`${serverUrl}\n${database}`, 1).toString(36)}`;
  const connection = createConnection(name, timeout);
  const tables = createTables(connection);
  const turn = createTurn(name, tables, signal);
  let counts: Pick<StorageStatus, 'pending' | 'conflicts' | 'lastSyncAtMs'> = {
    pending: 0,
    conflicts: 0,
    lastSyncAtMs: undefined,
  };

  const learner = createLearner(
    tables,
    () => void link.connect(),
    (error) =>
      log('warn', `cannot keep what the server answers for when it is away: ${(error as Error).message}`),
  );
  const flask = createFlaskBackend(serverUrl, timeout, token, learner);
  const server = createServerSide({
    flask,
    tables,
    learner,
    turn,
    merge: mergeBy(options.conflict, timeout, signal, (key, error) =>
      log(
        'warn',
        `keeps the server's value of ${key}: the function given as option conflict failed: ${error}`,
      ),
    ),
    progress: () => void refresh(true),
    signal,
  });

  /** Count again what the status tells. */
  async function refresh(tell: boolean): Promise<void> {
    if (tell) tabs.tell('changed');
    const next = await tables
      .read(async (reading) => ({
        pending: await reading.count('order'),
        conflicts: await reading.count('conflict'),
        lastSyncAtMs: (await reading.meta())?.lastSyncAtMs,
      }))
      .catch(() => counts);
    const grown = next.conflicts - counts.conflicts;
    const same = JSON.stringify(next) === JSON.stringify(counts);
    counts = next;
    if (same || signal.aborted) return;
    if (grown > 0 && tell)
      log('warn', `has kept ${grown} values that the server did not take: see conflicts()`);
    options.changed();
  }

  /** The level at which the server was last in use. */
  let met: Detected['level'] | undefined;
  /** Where `/health` got lost a server looks like one of level 0 until it is met. */
  const level = (): Detected['level'] | undefined => {
    const found = flask.detected()?.level;
    return found === 0 && link.state() !== 'online' ? met : found;
  };

  /** The state that the log knows of. */
  let said: SyncState | undefined;
  const link = createLink(
    {
      askedToWaitMs: flask.askedToWaitMs,
      signal,
      async establish() {
        const unusable = await connection.open().then(
          () => undefined,
          (error: StorageError) => error,
        );
        if (unusable) {
          await server.meetOnly();
          return `nothing can be kept for when it is away: ${unusable.message}`;
        }
        const paused = await server.establish();
        if (paused) link.later(() => void drain());
        met = flask.detected()?.level;
        await refresh(true);
        tabs.tell('online');
        if (counts.pending > 0 && !paused) link.soon(() => void drain());
        pullSoon();
        return paused ? `writes wait, because ${paused.message}` : (flask.detected()?.reason ?? '');
      },
      changed(state, reason) {
        // A try is no news, and neither is a second reason for the same.
        if (state !== 'reconnecting' && state !== said) {
          if (state === 'online') log('info', `uses the Flask backend at ${serverUrl}`);
          else log('warn', `uses IndexedDB, because ${reason}`);
          said = state;
        }
        options.changed();
      },
    },
    serverUrl,
  );

  const tabs = createTabs(name, (message) => {
    if (message === 'online' && link.state() !== 'online') void link.connect();
    if (message !== 'changed') return;
    void refresh(false).then(() => {
      // Whoever has put something there sends it, unless it is gone.
      if (counts.pending > 0) link.soon(() => void drain());
    });
  });
  /** Whether a disk that is full has kept the mirror from being filled. */
  let full = false;
  const pullSoon = (): void => {
    if (full) return;
    void server
      .pull()
      .then((same) => (same ? refresh(false) : link.connect()))
      .catch((error: StorageError) => {
        full = error.code === 'quota';
        if (isAway(error) && !signal.aborted) link.lost(error);
      });
  };
  const pulling = unref(
    setInterval(() => {
      if (link.state() === 'online' && !isHidden()) pullSoon();
    }, PULL),
  );

  let draining: Promise<void> | undefined;
  /** What is sent now of what waits. */
  let round: Promise<Stop | undefined> = Promise.resolve(undefined);
  let again = false;
  /** Send what waits. Never rejects. */
  function drain(): Promise<void> {
    again = draining !== undefined;
    draining ??= (async () => {
      do {
        again = false;
        round = server.drain().catch((error: StorageError) => ({ why: 'away' as const, error }));
        const stop = await round;
        if (stop?.why === 'rewound') await link.connect();
        else if (stop?.why === 'away' && !signal.aborted) link.lost(stop.error);
        else if (stop && (await server.isShutOut())) link.lost(stop.error);
        else if (stop) link.later(() => void drain());
        if (stop) break;
        const left = await tables.read((reading) => reading.waits()).catch(() => false);
        again ||= left;
      } while (again && !signal.aborted);
    })().finally(() => {
      draining = undefined;
    });
    return draining;
  }

  const local = createLocal(tables);
  const run = createCalls({
    flask,
    tables,
    local,
    learner,
    link,
    writesHere: options.ack === 'local',
    isShutOut: server.isShutOut,
    async appended() {
      if (link.state() === 'online') void drain();
      await refresh(true);
    },
  });

  async function flush(): Promise<void> {
    const last = await tables.read(async (reading) => (await reading.meta())?.rows ?? 0);
    if (link.state() !== 'online') await link.connect();
    if (link.state() === 'online') void drain();
    for (;;) {
      await round;
      const [first] = await tables.read((reading) => reading.first(1));
      if (!first || first.n > last) return;
      // Others go on writing, and there may be no end of that.
      if (!draining) break;
    }
    const code = link.state() === 'auth-required' ? 'forbidden' : 'unavailable';
    throw new StorageError(code, `Writes still wait: ${link.reason()}`);
  }

  /** Deletes the keys with a prefix at the server, after the writes that wait for it. The outbox has no entry for this. */
  async function clearPrefix(prefix: string): Promise<Outcome> {
    if (link.state() !== 'online')
      throw new StorageError(
        'unsupported',
        `clear({ prefix }) needs the server, which is not reachable (${link.reason()}). Nothing was deleted. Call it again when status().state is 'online', or delete the keys with deleteMany().`,
      );
    if (await tables.read((reading) => reading.waits()).catch(() => false)) await flush();
    try {
      const deletes = await flask.deletesOf(prefix);
      const outcomes = await flask.run(deletes);
      if (!flask.level1()) await learner.outcomes(deletes, outcomes);
      const outcome = outcomeOfClear(outcomes);
      if (outcome.status === 'rejected') throw outcome.reason;
      return outcome;
    } catch (error) {
      // The deletes may still arrive. They are not in the outbox, so the client uses up their numbers before its next write.
      learner.takeDoubt()?.settle(false);
      if (isAway(error as StorageError)) link.lost(error as StorageError);
      throw error;
    }
  }

  const lists = createLists({ flask, tables, link, run, isShutOut: server.isShutOut });

  const ignoreNetwork = onNetworkBack(() => {
    if (link.state() !== 'online') void link.connect();
  });

  const status = (): StorageStatus =>
    statusOf({ state: link.state(), level: level(), ...counts, reason: link.reason() });

  return {
    get type() {
      return status().backend;
    },
    status,
    async open() {
      await refresh(false);
      await link.connect();
    },
    async ready(opened) {
      if (link.state() !== 'online') await link.connect();
      // Whoever asks again wants to know whether it answers now.
      else if (!opened) await flask.open().catch(link.lost);
      if (link.state() !== 'online') await connection.open();
    },
    run: (operations) => runWithClears(operations, run, clearPrefix),
    ...lists,
    async check(key, value) {
      if (link.state() === 'online') await flask.check(key, value);
    },
    flush,
    conflicts: () => listConflicts(tables),
    async resolve(key, choice) {
      await resolveConflicts(tables, key, choice);
      await refresh(true);
      if (link.state() === 'online') await drain();
    },
    async close() {
      controller.abort();
      ignoreNetwork();
      clearInterval(pulling);
      tabs.close();
      await flask.close();
      await draining;
      await learner.learned();
      connection.close();
    },
  };
}
