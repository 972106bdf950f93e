/**
 * The handshake: which server answers, at which level, and whether its data was restored since this device has seen it last.
 */

import { StorageError } from '../../core/errors.ts';
import { type FlaskBackend, probeLevel0 } from '../../remote/backend.ts';
import { OtherAccountError } from '../../remote/errors.ts';
import type { Level1 } from '../../remote/level1/protocol.ts';
import type { ReadTransaction, SyncDatabase } from '../database.ts';
import type { MirrorObserver } from '../mirror/observer.ts';
import { compareAll, pullLevel0 } from '../mirror/pull.ts';
import {
  INITIAL_META,
  inAccount,
  inNextGeneration,
  isClientExpired,
  isOfOtherAccount,
  isRestored,
  type Meta,
} from '../rules/state.ts';
import type { TabLock } from '../tabs/lock.ts';

/** What a handshake is made with. */
export interface HandshakeParts {
  readonly flask: FlaskBackend;
  readonly database: SyncDatabase;
  readonly mirrorObserver: MirrorObserver;
  readonly lock: TabLock;
  /** Milliseconds for a request without operations. */
  readonly requestMs: number;
}

/** Handshakes with one server. */
export interface Handshake {
  /**
   * Detects the server and compares it with what this device has seen of it. Sends nothing of the outbox.
   *
   * @throws {OtherAccountError} if the token is for another account, and this device holds writes or conflicts of the one before.
   * @throws {StorageError} if the server does not answer, or rejects every request of this caller.
   */
  establish(): Promise<Meta>;
  /** The same if nothing can be stored on this device. */
  establishWithoutDatabase(): Promise<void>;
  /** What the last handshake has found: on a full disk it cannot be stored. */
  lastMeta(): Meta;
  /** Begins a new generation, unless another tab has begun one since `before` was read. */
  beginGeneration(before: Meta): Promise<Meta>;
  /** Whether the server rejects every request of this caller. */
  isAccessDenied(limitMs: number): Promise<boolean>;
  /** Whether the server answers a request that changes nothing. */
  answersOthers(limitMs: number): Promise<boolean>;
}

/** How often the handshake restarts if the server's epoch changes. */
const MAX_ROUNDS = 3;
/** Milliseconds to wait for another tab that is sending: calls of the app wait that long. */
const LOCK_MS = 1000;

/** Handshakes with the server behind `flask`. */
export function createHandshake({
  flask,
  database,
  mirrorObserver,
  lock,
  requestMs,
}: HandshakeParts): Handshake {
  let lastMeta = INITIAL_META;
  /** The same database, for what calls wait for: if it does not answer soon, the server is used without it. */
  const patient: SyncDatabase = {
    ...database,
    read: (work) => database.withPatience(database.read(work)),
    write: (work, strict) => database.withPatience(database.write(work, strict)),
  };

  /** Compares the answer of a server of level 1 with what is known. */
  async function handshake(level1: Level1, rounds = MAX_ROUNDS): Promise<Meta> {
    // The answer is compared with what was known before the request: other tabs store later answers meanwhile.
    const before = (await patient.read((transaction) => transaction.meta())) ?? INITIAL_META;
    const sent = (await flask.handshake(requestMs)) ?? (await level1.batch({}, [], requestMs));
    if (!sent.answer) throw sent.error;
    const { epoch, seq, account } = sent.answer;
    let refusal: OtherAccountError | undefined;
    const meta = await change(async (meta, transaction) => {
      refusal = undefined;
      if (isOfOtherAccount(meta, { account })) {
        const writes = await transaction.pendingCount();
        const conflicts = await transaction.count('conflict');
        if (writes + conflicts > 0) {
          refusal = otherAccountDataError(writes, conflicts);
          return meta;
        }
        return { ...inAccount(meta, epoch, account), seq, level: 1, lastSyncAtMs: Date.now() };
      }
      // Another tab has found another state of the server meanwhile, and it is not known which of them is the later one.
      if (meta.generation !== before.generation) return meta;
      const another = isRestored(before, epoch, seq) || meta.level === 0;
      const known = another ? inNextGeneration(meta, epoch) : meta;
      const lastSeq = Math.max(known.seq, seq);
      return { ...known, epoch, seq: lastSeq, level: 1, lastSyncAtMs: Date.now(), account };
    });
    if (refusal) throw refusal;
    if (meta.epoch === epoch && !isOfOtherAccount(meta, { account })) return meta;
    if (rounds > 1) return handshake(level1, rounds - 1);
    throw new StorageError(
      'unavailable',
      'The server answers with different epochs in turn: check whether several servers share this address.',
    );
  }

  /** The same for a server of level 0, which has no epoch. */
  const handshakeLevel0 = (isHealthRead: boolean): Promise<Meta> =>
    change((meta) => {
      // A lost answer is not a downgrade: queued writes would be sent without their numbers.
      if (meta.level === 1 && !isHealthRead)
        throw new StorageError(
          'unavailable',
          'The server was of level 1, and its /health did not say of which level it is now.',
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
      return await patient.write(async (writing) => {
        const meta = await next(writing);
        if (isOther) writing.erase();
        writing.setMeta(meta);
        return meta;
      }, true);
    } catch (error) {
      if ((error as StorageError).code !== 'quota') throw error;
      const meta = await patient.read(next);
      // Even on a full disk the data of another account must not stay.
      if (isOther)
        await patient.write(async (writing) => {
          await next(writing);
          if (isOther) writing.erase();
        });
      database.remember(meta);
      return meta;
    }
  }

  /** Does something under the lock, or nothing if another tab holds it: the next handshake does it then. */
  async function ifLocked<T>(task: () => Promise<T>): Promise<T | undefined> {
    let hasLock = false;
    try {
      return await lock(() => {
        hasLock = true;
        return task();
      }, LOCK_MS);
    } catch (error) {
      if (hasLock || (error as StorageError).code === 'closed') throw error;
      return undefined;
    }
  }

  /** See {@link Handshake.beginGeneration}. */
  const beginGeneration = (before: Meta): Promise<Meta> =>
    change((now) =>
      now.generation === before.generation && now.epoch === before.epoch
        ? inNextGeneration(now, now.epoch)
        : now,
    );

  /** Whether the server still knows the mutations that it has answered. */
  async function remembers(level1: Level1): Promise<boolean> {
    if (mirrorObserver.takeLostMutations()) return false;
    const meta = await patient.read((transaction) => transaction.meta());
    if (meta?.client === undefined || isClientExpired(meta, Date.now())) return true;
    const sent = await level1.batch({ client: meta.client }, [], requestMs);
    if (!sent.answer) throw sent.error;
    return sent.answer.top > 0;
  }

  return {
    lastMeta: () => lastMeta,
    beginGeneration,
    async establishWithoutDatabase() {
      await flask.open();
      // If the database can be used later, while the server does not answer: a key that it lacks is not missing.
      database.remember({ ...lastMeta, level: flask.level1() ? 1 : 0 });
      const sent = await flask.handshake(requestMs);
      if (sent?.error) throw sent.error;
    },
    async establish() {
      await flask.open();
      const level1 = flask.level1();
      // There is a server with data, even if this caller may not read it: a key that was never read is not missing.
      const known = await patient.read((transaction) => transaction.meta());
      if (known?.level === undefined) database.remember({ ...INITIAL_META, ...known, level: level1 ? 1 : 0 });
      let meta = level1
        ? await handshake(level1)
        : await handshakeLevel0(flask.detected()?.isHealthRead ?? false);
      mirrorObserver.begin(meta);
      // The handshake has replaced it if the token is for another account.
      const current = flask.level1();
      if (current && !(await remembers(current))) {
        meta = await beginGeneration(meta);
        mirrorObserver.begin(meta);
      }
      if (meta.needsComparison)
        await ifLocked(() => compareAll(database, flask, meta, mirrorObserver.whenUpdated));
      if (!level1) await ifLocked(() => pullLevel0(database, flask, meta));
      return meta;
    },
    async isAccessDenied(limitMs) {
      const level1 = flask.level1();
      const sent = await level1?.batch({}, [], Math.min(limitMs, requestMs));
      if (sent?.error instanceof OtherAccountError) return false;
      const { code } = (sent ? sent.error : await probeLevel0(flask, limitMs)) ?? {};
      return code === 'forbidden';
    },
    async answersOthers(limitMs) {
      const level1 = flask.level1();
      if (!level1) return (await probeLevel0(flask, limitMs)) === undefined;
      const sent = await level1.batch({}, [], Math.min(limitMs, requestMs));
      return sent.answer !== undefined;
    },
  };
}

/** Why a device cannot be used with the token of another account. */
const otherAccountDataError = (writes: number, conflicts: number): OtherAccountError =>
  new OtherAccountError(
    `This device still holds ${[counted(writes, 'write'), counted(conflicts, 'conflict')].filter(Boolean).join(' and ')} of another account. Sign in with that account again to keep them, or call forget({ discardPending: true }) to delete them. If several users share this device, give each of them a database of their own (option database).`,
  );

const counted = (count: number, noun: string): string =>
  count === 0 ? '' : `${count} ${noun}${count === 1 ? '' : 's'}`;
