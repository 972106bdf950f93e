/**
 * When the outbox is replayed, and what follows from a replay that stops.
 *
 * One tab replays at a time, under the tab lock (tabs/lock.ts). A replay takes what is queued when it begins. If more is queued then,
 * or if the server was restored meanwhile, another replay follows.
 */
import { StorageError } from '../../core/errors.ts';
import { remainingMs, withTimeLimit } from '../../core/time.ts';
import type { FlaskBackend } from '../../remote/backend.ts';
import { OtherAccountError } from '../../remote/errors.ts';
import { type Result, seqOf } from '../../remote/level1/protocol.ts';
import { clearsOf, type SyncDatabase } from '../database.ts';
import { checkAccount } from '../mirror/account.ts';
import { type Replay, replay } from '../outbox/replay.ts';
import { replayFull } from '../outbox/replay-full.ts';
import { replayLevel0 } from '../outbox/replay-level0.ts';
import type { Stop } from '../outbox/stop.ts';
import { withOwnWrites } from '../rules/outbox.ts';
import { ALL_KEYS } from '../rules/state.ts';
import { busy, type TabLock } from '../tabs/lock.ts';
import type { ServerConnection } from './connection.ts';
import type { Handshake } from './handshake.ts';

/** What the outbox is sent with. */
export interface SendingParts extends Omit<Replay, 'level1'> {
  readonly flask: FlaskBackend;
  readonly database: SyncDatabase;
  readonly lock: TabLock;
  readonly handshake: Handshake;
  readonly serverConnection: ServerConnection;
  /** Is called after each replay: counts what is left. */
  replayed(): Promise<void>;
  /** Is called when the server says that the token is for another account. */
  accountChanged(error: OtherAccountError): Promise<void>;
  /** Is called after {@link Sending.stopped} may have changed. */
  changed(): void;
}

/** Sends the outbox. */
export interface Sending {
  /** Replays the outbox until it is empty or something stops it. Never rejects. */
  start(): Promise<void>;
  /** Resolves when nothing is being sent. */
  idle(): Promise<void>;
  /** Why the last replay has left writes in the outbox. */
  stopped(): StorageError | undefined;
  /**
   * Resolves when the writes that are queued now are sent.
   *
   * @throws {StorageError} `unavailable`, `forbidden`; `timeout` or `blocked` if the database of this device does not answer.
   */
  flush(call: FlushCall): Promise<void>;
}

/** A call of `flush()`. */
export interface FlushCall {
  /** When it was made, in the milliseconds of `performance.now()`. */
  readonly calledAt: number;
  /** Milliseconds in which the database of this device has to answer. */
  databaseMs(): number;
  connect(): Promise<void>;
  /** Why writes are not sent, in words for people. */
  reason(): string;
}

/** Milliseconds to wait for another tab that is sending. The only call of the app that waits for that is `flush()`. */
const LOCK_MS = 10_000;
/** Milliseconds for the question whether the server allows this caller anything. */
const QUESTION_MS = 2000;
/** How often the server may turn out to be restored during one sending, before there is a pause. */
const MAX_RESTORES = 3;

/** Sends the outbox to `flask`. */
export function createSending(parts: SendingParts): Sending {
  const { flask, database, lock, handshake, serverConnection, signal } = parts;
  const isOnline = (): boolean => serverConnection.state() === 'online';
  let sending: Promise<void> | undefined;
  let isRepeated = false;
  let round: Promise<Stop | undefined> = Promise.resolve(undefined);
  /** Whether it waits for another tab. */
  let isWaiting = false;
  let stopped: StorageError | undefined;

  /** One replay, under the lock. Returns why writes are left. */
  async function replayOnce(): Promise<Stop | undefined> {
    let hasLock = false;
    isWaiting = true;
    try {
      return await lock(async (signal) => {
        hasLock = true;
        isWaiting = false;
        const before = (await database.read((transaction) => transaction.meta())) ?? handshake.lastMeta();
        checkAccount(before, flask.level1() && { account: flask.level1()?.account() });
        const stop = await replayAll({ ...parts, signal }, before.lastOrder);
        // Known server states no longer say what is at the server.
        if (stop?.why === 'restored') await handshake.beginGeneration(before);
        return stop;
      }, LOCK_MS);
    } catch (error) {
      const reason = error as StorageError;
      if (!(error instanceof StorageError) || reason.code === 'closed')
        return { why: 'unreachable', error: reason };
      // The server answers. The result could not be stored on this device, or another tab is sending.
      return { why: hasLock ? 'refused' : 'busy', error: reason };
    } finally {
      isWaiting = false;
      await parts.replayed();
    }
  }

  async function replayAll(work: Omit<Replay, 'level1'>, last: number): Promise<Stop | undefined> {
    const level1 = flask.level1();
    if (!level1) return replayLevel0(work, flask, last);
    // A write whose call has rejected, and which may still arrive, must not overtake these.
    const settled = await flask.settle();
    const sendAll = async (): Promise<Stop | undefined> => {
      if (settled.length > 0) await clearSettled(settled);
      return replay({ ...work, level1 }, last);
    };
    return sendAll().catch((error: StorageError) => {
      if (error.code !== 'quota') throw error;
      return replayFull({ ...work, level1 }, handshake.lastMeta(), last, error);
    });
  }

  /** Lets queued clears delete what writes have stored whose calls have rejected. */
  const clearSettled = (settled: readonly Result[]): Promise<void> =>
    database.write(async (writing) => {
      const meta = await writing.meta();
      const clears = clearsOf(await writing.keyStates([ALL_KEYS]));
      const seqs = settled.map(({ revision }) => seqOf(revision));
      if (meta)
        writing.setWrites(
          ALL_KEYS,
          clears,
          clears.map((clear) => withOwnWrites(clear, seqs, meta)),
        );
    }, true);

  async function replayUntilEmpty(): Promise<void> {
    let restores = 0;
    do {
      isRepeated = false;
      round = replayOnce();
      const stop = await round;
      if (signal.aborted) return;
      stopped = stop?.error;
      parts.changed();
      if (stop?.why === 'restored' && restores < MAX_RESTORES) {
        restores += 1;
        await serverConnection.connect();
        isRepeated = isOnline();
      } else if (stop) return giveUp(stop);
      isRepeated ||= await database.read((transaction) => transaction.hasWrites()).catch(() => false);
    } while (isRepeated && !signal.aborted);
  }

  /** Leaves the writes to a later time. */
  async function giveUp({ why, error }: Stop): Promise<void> {
    if (error instanceof OtherAccountError) return parts.accountChanged(error);
    const isLost =
      why === 'unreachable' ||
      why === 'restored' ||
      (why === 'refused' && (await handshake.isAccessDenied(QUESTION_MS)));
    if (signal.aborted) return;
    if (isLost) serverConnection.lost(error);
    else serverConnection.later(() => void start());
  }

  /** How many writes up to a number are in the outbox. */
  const countUpTo = (last: number): Promise<number> =>
    database.read(
      async (transaction) =>
        (await transaction.keys<number>('order')).filter((order) => order <= last).length,
    );

  const pendingError = (reason: string): StorageError =>
    new StorageError(
      serverConnection.state() === 'auth-required' ? 'forbidden' : 'unavailable',
      `Writes are still in the outbox: ${reason}`,
    );

  function start(): Promise<void> {
    isRepeated = sending !== undefined;
    sending ??= replayUntilEmpty().finally(() => {
      sending = undefined;
    });
    return sending;
  }

  return {
    start,
    idle: async () => sending,
    stopped: () => stopped,
    async flush({ calledAt, databaseMs, connect, reason }) {
      // What is under way may fail for what was so before this call.
      let isUnderWay = serverConnection.isConnecting() || sending !== undefined;
      /** Until when another tab that sends is waited for: as long as these writes become fewer. */
      let waitsUntil = calledAt + LOCK_MS;
      const patiently = <T>(read: Promise<T>): Promise<T> => database.withPatience(read, databaseMs());
      const connected = connect();
      const last = await patiently(
        database.read(async (transaction) => (await transaction.meta())?.lastOrder ?? 0),
      );
      await connected;
      if (isOnline()) void start();
      for (let left = await patiently(countUpTo(last)); left > 0; ) {
        await withTimeLimit(round, remainingMs(waitsUntil), () => {
          if (isWaiting) throw pendingError(busy().message);
        });
        const stop = await round;
        const before = left;
        left = await countUpTo(last);
        if (left < before) waitsUntil = performance.now() + LOCK_MS;
        // Later writes keep it busy, possibly without end.
        if (left === 0 || sending !== undefined) continue;
        const isTriedAgain = stop?.why === 'busy' ? isOnline() && performance.now() < waitsUntil : isUnderWay;
        if (!isTriedAgain) throw pendingError(reason());
        isUnderWay = false;
        if (!isOnline()) await connect();
        if (isOnline()) void start();
      }
      // The status counts what is left, before the app reads it.
      await parts.replayed();
    },
  };
}
