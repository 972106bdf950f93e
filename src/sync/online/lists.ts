/**
 * Keys, entries and counts: those of the server with queued writes applied, or those of the mirror if the server does not answer.
 */

import type { Backend, Operation, Page, StorageStats } from '../../core/backend.ts';
import type { StorageError } from '../../core/errors.ts';
import { encodeAt } from '../../core/json.ts';
import { utf8Length } from '../../core/keys.ts';
import { isUnbounded, type KeyRange, restOf } from '../../core/order.ts';
import type { Deadline } from '../../core/time.ts';
import { snapshot } from '../../core/values.ts';
import type { FlaskBackend } from '../../remote/backend.ts';
import { OtherAccountError } from '../../remote/errors.ts';
import type { KnownAccount } from '../../remote/level1/protocol.ts';
import type { SyncDatabase } from '../database.ts';
import { localKeys, localStats, withPending } from '../mirror/local-lists.ts';
import { isUnreachable } from '../outbox/stop.ts';
import type { ServerConnection } from './connection.ts';
import type { Limits } from './limits.ts';

const PAGE = 500;

/** What lists need. */
export interface Listed {
  readonly flask: FlaskBackend;
  readonly database: SyncDatabase;
  readonly serverConnection: ServerConnection;
  readonly limits: Limits;
  readonly run: Backend['run'];
  /** The account that calls are for. */
  account(): KnownAccount | undefined;
  isAccessDenied(limitMs: number): Promise<boolean>;
}

type Lists = Pick<Backend, 'keys' | 'entries' | 'stats' | 'count'>;

/** Lists of a server, and of this device. */
export function createLists({
  flask,
  database,
  limits,
  serverConnection,
  run,
  account,
  isAccessDenied,
}: Listed): Lists {
  /** Reports a failure of the connection. Throws every other one. */
  async function lose(error: unknown, deadline?: Deadline): Promise<void> {
    const reason = error as StorageError;
    if (reason instanceof OtherAccountError) throw reason;
    const limitMs = limits.questionMs(deadline ?? Number.POSITIVE_INFINITY);
    if (!isUnreachable(reason) && !(reason.code === 'forbidden' && (await isAccessDenied(limitMs))))
      throw error;
    serverConnection.lost(reason);
  }

  async function either<T>(
    there: (deadline?: Deadline) => Promise<T>,
    here: () => Promise<T>,
    deadline?: Deadline,
  ): Promise<T> {
    if (serverConnection.state() === 'online') {
      try {
        return await there(deadline && limits.serverDeadline(deadline));
      } catch (error) {
        await lose(error, deadline);
      }
    } else serverConnection.hint();
    return deadline === undefined ? here() : database.withPatience(here(), limits.leftMs(deadline));
  }

  const keys = (range: KeyRange, deadline?: Deadline): Promise<string[]> =>
    either(
      (by) =>
        withPending(
          database,
          account(),
          (range) => flask.keys(range, by),
          range,
          limits.databaseMs(deadline),
        ),
      () => localKeys(database, account(), range),
      deadline,
    );

  const isPending = (deadline?: Deadline): Promise<boolean> =>
    database
      .withPatience(
        database.read((transaction) => transaction.hasWrites()),
        limits.databaseMs(deadline),
      )
      .catch(() => false);

  /** The entries of keys, without those that were deleted since they were listed. */
  async function entriesOf(
    page: readonly string[],
    deadline?: Deadline,
  ): Promise<Array<readonly [string, unknown]>> {
    const found = await run(
      page.flatMap((key): Operation[] => [
        { type: 'has', key },
        { type: 'get', key },
      ]),
      { deadline },
    );
    const values = found.map((outcome) => {
      if (outcome.status === 'rejected') throw outcome.reason;
      return outcome.value;
    });
    return page.flatMap((key, i) => (values[2 * i] ? [[key, values[2 * i + 1]] as const] : []));
  }

  /** The entries of a range with the writes of the outbox. Each page after the first has a limit of its own. */
  async function* mergedEntries(range: KeyRange, deadline?: Deadline): AsyncGenerator<Page> {
    const all = await keys(range, deadline);
    for (let from = 0; from < all.length; from += PAGE)
      yield await entriesOf(all.slice(from, from + PAGE), from === 0 ? deadline : undefined);
  }

  const lists: Lists = {
    keys,
    async *entries(range) {
      let rest = range;
      if (serverConnection.state() === 'online' && !(await isPending())) {
        try {
          for await (const page of flask.entries(range)) {
            rest = restOf(rest, page);
            yield page;
          }
          return;
        } catch (error) {
          await lose(error);
        }
      }
      // The rest, if the server went away in the middle.
      yield* mergedEntries(rest);
    },
    async stats(deadline) {
      const counted = (await isPending(deadline))
        ? () => countOf(mergedEntries({}, deadline))
        : (by?: Deadline) => flask.stats(by);
      return either(counted, () => localStats(database, account()), deadline);
    },
    count: async (range, deadline) =>
      isUnbounded(range) ? (await lists.stats(deadline)).keys : (await keys(range, deadline)).length,
  };
  return lists;
}

/** Counts entries. The server cannot count queued writes. */
async function countOf(entries: ReturnType<Backend['entries']>): Promise<StorageStats> {
  let keys = 0;
  let sizeBytes = 0;
  for await (const page of entries) {
    keys += page.length;
    for (const [key, value] of page) sizeBytes += utf8Length(await encodeAt(key, snapshot(value)));
  }
  return { keys, sizeBytes };
}
