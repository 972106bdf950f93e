/**
 * A server that is there: met, compared with what was seen of it, and brought up to date, by one tab at a time.
 */

import { StorageError } from '../../core/errors.ts';
import type { FlaskBackend } from '../../remote/backend.ts';
import { OtherAccountError } from '../../remote/errors.ts';
import type { Level1 } from '../../remote/level1/protocol.ts';
import type { ReadTransaction, SyncDatabase } from '../database.ts';
import { checkAccount, heldError } from '../mirror/account.ts';
import type { MirrorObserver } from '../mirror/observer.ts';
import { compareAll, pull, pullLevel0 } from '../mirror/pull.ts';
import { type Merge, replay } from '../outbox/replay.ts';
import { replayFull } from '../outbox/replay-full.ts';
import { replayLevel0 } from '../outbox/replay-level0.ts';
import type { Stop } from '../outbox/stop.ts';
import { inAccount, isOfOtherAccount } from '../rules/account.ts';
import { INITIAL_META, inNextGeneration, isClientExpired, isRestored, type Meta } from '../rules/state.ts';
import type { TabLock } from '../tabs/lock.ts';

/** What there is to bring a server up to date with. */
export interface Sides {
  readonly flask: FlaskBackend;
  readonly database: SyncDatabase;
  readonly mirrorObserver: MirrorObserver;
  readonly lock: TabLock;
  readonly merge: Merge;
  /** Milliseconds for a request without operations. */
  readonly handshakeMs: number;
  readonly progress: () => void;
  readonly signal: AbortSignal;
}

/** The server, as sync uses it. */
export interface ServerSide {
  /**
   * Meet the server: detect it, and compare it with what was seen of it. Sends nothing of the outbox.
   *
   * @throws {OtherAccountError} if the token is for another account, and this device holds writes or conflicts of the one before.
   * @throws {StorageError} where it is away, or lets this caller do nothing.
   */
  establish(): Promise<Meta>;
  /** Meet the server where nothing can be kept here. */
  handshakeOnly(): Promise<void>;
  /** Send what waits at the beginning. Returns why some of it still waits. */
  replayOutbox(): Promise<Stop | undefined>;
  /** Whether the server lets this caller do nothing at all. */
  isAccessDenied(limitMs: number): Promise<boolean>;
  /** Go on filling the mirror. Returns whether the server is still the one that was met. */
  pull(): Promise<boolean>;
}

/** So often the server may turn out to be another one while it is met. */
const ROUNDS = 3;
/** Milliseconds to wait for another tab that is sending: calls of the app wait for the first, nobody for the second. */
const HANDSHAKE_LOCK_MS = 1000;
const REPLAY_LOCK_MS = 10_000;

/** The server behind `flask`. */
export function createServerSide({
  flask,
  database,
  mirrorObserver,
  lock,
  handshakeMs,
  ...work
}: Sides): ServerSide {
  const { signal } = work;

  /** The same database, for what calls wait for: if it does not answer soon, the server is used without it. */
  const inTime: SyncDatabase = {
    ...database,
    read: (work) => database.withPatience(database.read(work)),
    write: (work, strict) => database.withPatience(database.write(work, strict)),
  };

  /** The server as it was met last: on a full disk there is no room to note that down. */
  let lastMeta = INITIAL_META;

  /** What is known of a server of level 1, now that it has answered. */
  async function handshake(level1: Level1, rounds = ROUNDS): Promise<Meta> {
    // What it answers is compared with what was known before it was asked: other tabs learn on.
    const before = (await inTime.read((transaction) => transaction.meta())) ?? INITIAL_META;
    const sent = (await flask.handshake(handshakeMs)) ?? (await level1.batch({}, [], handshakeMs));
    if (!sent.answer) throw sent.error;
    const { epoch, seq, account } = sent.answer;
    let held: OtherAccountError | undefined;
    const meta = await change(async (meta, transaction) => {
      held = undefined;
      if (isOfOtherAccount(meta, { account })) {
        const writes = await transaction.pendingCount();
        const conflicts = await transaction.count('conflict');
        if (writes + conflicts > 0) held = heldError(writes, conflicts);
        if (held) return meta;
        return { ...inAccount(meta, epoch, account), seq, level: 1, lastSyncAtMs: Date.now() };
      }
      // Another tab has met another state of the server meanwhile, and which of both is the later one is not known.
      if (meta.generation !== before.generation) return meta;
      const another = isRestored(before, epoch, seq) || meta.level === 0;
      const known = another ? inNextGeneration(meta, epoch) : meta;
      const lastSeq = Math.max(known.seq, seq);
      return { ...known, epoch, seq: lastSeq, level: 1, lastSyncAtMs: Date.now(), account };
    });
    if (held) throw held;
    if (meta.epoch === epoch && !isOfOtherAccount(meta, { account })) return meta;
    if (rounds > 1) return handshake(level1, rounds - 1);
    throw new StorageError(
      'unavailable',
      'The server answers for different states of its data in turn: is it several servers behind one address?',
    );
  }

  /** The same of a server of level 0, which tells nothing of itself. */
  const handshakeLevel0 = (announced: boolean): Promise<Meta> =>
    change((meta) => {
      // A lost answer is no downgrade: what waits would be sent without its numbers.
      if (meta.level === 1 && !announced)
        throw new StorageError(
          'unavailable',
          'The server, which was of level 1, has not said what it is now.',
        );
      const known = meta.level === 1 ? inNextGeneration(meta, '') : meta;
      return { ...known, needsComparison: false, level: 0, lastSyncAtMs: Date.now() };
    });

  /** Stores what is known of the server. What another account has left is deleted in the same transaction. */
  async function change(
    to: (meta: Meta, transaction: ReadTransaction) => Meta | Promise<Meta>,
  ): Promise<Meta> {
    let isOther = false;
    const next = async (transaction: ReadTransaction): Promise<Meta> => {
      const before = await transaction.meta();
      lastMeta = await to(before ?? lastMeta, transaction);
      isOther = isOfOtherAccount(before, { account: lastMeta.account });
      return lastMeta;
    };
    try {
      return await inTime.write(async (writing) => {
        const meta = await next(writing);
        if (isOther) writing.erase();
        writing.setMeta(meta);
        return meta;
      }, true);
    } catch (error) {
      if ((error as StorageError).code !== 'quota') throw error;
      const meta = await inTime.read(next);
      // On a full disk as well the data of another account must not stay.
      if (isOther)
        await inTime.write(async (writing) => {
          await next(writing);
          if (isOther) writing.erase();
        });
      database.remember(meta);
      return meta;
    }
  }

  // What comes to wait meanwhile is left to the next time: there may be no end of it, and other tabs wait for their turn.
  async function send(signal: AbortSignal, before: Meta): Promise<Stop | undefined> {
    const level1 = flask.level1();
    const all = { ...work, database, signal };
    if (!level1) return replayLevel0(all, flask, before.lastOrder);
    // A write that was rejected, and may still arrive, must not overtake these.
    await flask.settle();
    return replay({ ...all, level1 }, before.lastOrder).catch((error: StorageError) => {
      if (error.code !== 'quota') throw error;
      return replayFull({ ...all, level1 }, lastMeta, before.lastOrder, error);
    });
  }

  async function replayOutbox(): Promise<Stop | undefined> {
    let hasLock = false;
    try {
      return await lock(async (signal) => {
        hasLock = true;
        const before = (await database.read((transaction) => transaction.meta())) ?? lastMeta;
        checkAccount(before, flask.level1() && { account: flask.level1()?.account() });
        const stop = await send(signal, before);
        // What was seen of it orders nothing any more.
        if (stop?.why === 'restored') await begin(before);
        return stop;
      }, REPLAY_LOCK_MS);
    } catch (error) {
      // The server is there. What came of it could not be noted down here, or it is another tab that sends.
      if (!(error instanceof StorageError) || error.code === 'closed') throw error;
      return { why: hasLock ? 'refused' : 'busy', error };
    }
  }

  /** Does something under the lock, or leaves it out where that cannot be had now: it is done when the server is met again. */
  async function soon<T>(task: () => Promise<T>): Promise<T | undefined> {
    let hasLock = false;
    try {
      return await lock(() => {
        hasLock = true;
        return task();
      }, HANDSHAKE_LOCK_MS);
    } catch (error) {
      if (hasLock || (error as StorageError).code === 'closed') throw error;
      return undefined;
    }
  }

  /** A new era, unless another tab has begun one. */
  const begin = (before: Meta): Promise<Meta> =>
    change((now) =>
      now.generation === before.generation && now.epoch === before.epoch
        ? inNextGeneration(now, now.epoch)
        : now,
    );

  /** Whether the server still knows the mutations that it has answered. */
  async function remembers(level1: Level1): Promise<boolean> {
    if (mirrorObserver.takeLostMutations()) return false;
    const meta = await inTime.read((transaction) => transaction.meta());
    if (meta?.client === undefined || isClientExpired(meta, Date.now())) return true;
    const sent = await level1.batch({ client: meta.client }, [], handshakeMs);
    if (!sent.answer) throw sent.error;
    return sent.answer.top > 0;
  }

  return {
    async handshakeOnly() {
      await flask.open();
      // Should the database be usable later, while the server is away: what it does not hold is not missing.
      database.remember({ ...lastMeta, level: flask.level1() ? 1 : 0 });
      const sent = await flask.handshake(handshakeMs);
      if (sent?.error) throw sent.error;
    },
    replayOutbox,
    async establish() {
      await flask.open();
      const level1 = flask.level1();
      // There is a server with data, also where it lets nobody read it: what is not known of that is not missing.
      const known = await inTime.read((transaction) => transaction.meta());
      if (known?.level === undefined) database.remember({ ...INITIAL_META, ...known, level: level1 ? 1 : 0 });
      let meta = level1
        ? await handshake(level1)
        : await handshakeLevel0(flask.detected()?.isHealthRead ?? false);
      mirrorObserver.begin(meta);
      // The handshake has replaced it if the token is for another account.
      const current = flask.level1();
      if (current && !(await remembers(current))) {
        meta = await begin(meta);
        mirrorObserver.begin(meta);
      }
      if (meta.needsComparison)
        await soon(() => compareAll(database, flask, meta, mirrorObserver.whenUpdated));
      if (!level1) await soon(() => pullLevel0(database, flask, meta));
      return meta;
    },
    async isAccessDenied(limitMs) {
      const level1 = flask.level1();
      const sent = await level1?.batch({}, [], Math.min(limitMs, handshakeMs));
      if (sent?.error instanceof OtherAccountError) return false;
      const code = sent
        ? sent.error?.code
        : await flask
            .run([{ type: 'get', key: '_health_check' }], { deadline: performance.now() + limitMs })
            .then(
              ([outcome]) => (outcome?.status === 'rejected' ? outcome.reason.code : undefined),
              (error) => error.code,
            );
      return code === 'forbidden';
    },
    async pull() {
      const level1 = flask.level1();
      const meta = await database.read((transaction) => transaction.meta());
      if (!level1?.tellsChanges || !meta || isOfOtherAccount(meta, { account: level1.account() }))
        return true;
      return pull(database, level1, meta, signal);
    },
  };
}
