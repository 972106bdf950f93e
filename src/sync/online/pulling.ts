/**
 * Keeps the mirror current: with what has changed at the server by now, or with what changes while it is followed.
 */
import type { StorageError } from '../../core/errors.ts';
import { type BackOff, backOffMs } from '../../core/time.ts';
import type { FlaskBackend } from '../../remote/backend.ts';
import { OtherAccountError } from '../../remote/errors.ts';
import { changesSince, createFeedFollower, type Feed } from '../../remote/level1/changes.ts';
import type { Level1 } from '../../remote/level1/protocol.ts';
import type { SyncDatabase } from '../database.ts';
import { pull } from '../mirror/pull.ts';
import { isUnreachable } from '../outbox/stop.ts';
import { isOfOtherAccount } from '../rules/state.ts';
import type { Account } from './account.ts';
import type { ServerConnection } from './connection.ts';

/** What pulling needs. */
export interface PullingParts {
  readonly flask: FlaskBackend;
  readonly database: SyncDatabase;
  readonly serverConnection: ServerConnection;
  readonly account: Account;
  readonly signal: AbortSignal;
  /** Milliseconds for a request. */
  readonly timeout: number;
  /** Is called when changes were stored. */
  stored(): Promise<void>;
}

/** Pulls changes into the mirror. Nothing here rejects. */
export interface Pulling {
  /** Stores what has changed by now. */
  now(): Promise<void>;
  /**
   * Stores what changes, until the server or `until` ends it.
   *
   * @returns Milliseconds until it is to be called again; `undefined` if the server cannot be followed.
   */
  follow(until: AbortSignal): Promise<number | undefined>;
}

/** When the disk is tried again that had no room for the mirror. */
const FULL: BackOff = { firstMs: 20_000, longestMs: 600_000, jitter: 'equal' };

export function createPulling(parts: PullingParts): Pulling {
  const { flask, database, serverConnection, account, signal, timeout, stored } = parts;
  /** How often in a row the disk had no room for the mirror, and until when nothing is pulled after that. */
  let fullCount = 0;
  let pullsAgainAt = Number.NEGATIVE_INFINITY;
  const follower = createFeedFollower(timeout);

  async function fill(feedAt: (level1: Level1, since: string) => Feed): Promise<number | undefined> {
    const level1 = flask.level1();
    const meta = await database.read((transaction) => transaction.meta());
    if (!level1?.tellsChanges || !meta || isOfOtherAccount(meta, { account: level1.account() })) {
      await stored();
      return undefined;
    }
    const found = await pull(
      database,
      level1,
      meta,
      (since) => feedAt(level1, since),
      () => void stored(),
    );
    if (!found.isSameEpoch) await serverConnection.connect();
    return found.changes;
  }
  let filling: Promise<number | undefined> | undefined;
  async function pullBy(feedAt: (level1: Level1, since: string) => Feed): Promise<number | undefined> {
    if (performance.now() < pullsAgainAt) return undefined;
    try {
      const changes = await fill(feedAt);
      fullCount = 0;
      return changes;
    } catch (thrown) {
      const error = thrown as StorageError;
      if (error instanceof OtherAccountError) await account.changed(error);
      if (error.code === 'quota') {
        fullCount += 1;
        pullsAgainAt = performance.now() + backOffMs(fullCount, FULL);
      }
      if (isUnreachable(error) && !signal.aborted) serverConnection.lost(error);
      return undefined;
    }
  }

  return {
    async now() {
      filling = pullBy(changesSince);
      await filling;
    },
    async follow(until) {
      // It is continued after the first filling, which would otherwise be read twice.
      await filling;
      const changes = await pullBy((level1, since) => follower.follow(level1, since, until));
      return changes === undefined ? undefined : follower.pauseMs(changes);
    },
  };
}
