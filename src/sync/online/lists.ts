/**
 * Keys, entries and counts: the server's with the writes that wait laid over them, or, where it is away, the mirror's.
 */

import type { Backend, Operation, StorageStats } from '../../core/backend.ts';
import type { StorageError } from '../../core/errors.ts';
import { encodeAt } from '../../core/json.ts';
import { utf8Length } from '../../core/keys.ts';
import { isUnbounded, type KeyRange, restOf } from '../../core/order.ts';
import { snapshot } from '../../core/values.ts';
import type { FlaskBackend } from '../../remote/backend.ts';
import type { SyncDatabase } from '../database.ts';
import { localKeys, localStats, withPending } from '../mirror/local-lists.ts';
import { isUnreachable } from '../outbox/stop.ts';
import type { ServerConnection } from './connection.ts';

const PAGE = 500;

/** What lists are made of. */
export interface Listed {
  readonly flask: FlaskBackend;
  readonly database: SyncDatabase;
  readonly serverConnection: ServerConnection;
  readonly run: Backend['run'];
  isAccessDenied(): Promise<boolean>;
}

type Lists = Pick<Backend, 'keys' | 'entries' | 'stats' | 'count'>;

/** Lists over a server and what is here of it. */
export function createLists({ flask, database, serverConnection, run, isAccessDenied }: Listed): Lists {
  /** Take note of a failure that is one of the way to the server. Throws every other one. */
  async function lose(error: unknown): Promise<void> {
    const reason = error as StorageError;
    if (!isUnreachable(reason) && !(reason.code === 'forbidden' && (await isAccessDenied()))) throw error;
    serverConnection.lost(reason);
  }

  async function either<T>(there: () => Promise<T>, here: () => Promise<T>): Promise<T> {
    if (serverConnection.state() === 'online') {
      try {
        return await there();
      } catch (error) {
        await lose(error);
      }
    } else serverConnection.hint();
    return here();
  }

  const keys = (range: KeyRange): Promise<string[]> =>
    either(
      () => withPending(database, flask.keys, range),
      () => localKeys(database, range),
    );

  /** The entries of keys, but of those that were deleted since they were listed. */
  async function entriesOf(page: readonly string[]): Promise<Array<readonly [string, unknown]>> {
    const found = await run(
      page.flatMap((key): Operation[] => [
        { type: 'has', key },
        { type: 'get', key },
      ]),
    );
    const values = found.map((outcome) => {
      if (outcome.status === 'rejected') throw outcome.reason;
      return outcome.value;
    });
    return page.flatMap((key, i) => (values[2 * i] ? [[key, values[2 * i + 1]] as const] : []));
  }

  const lists: Lists = {
    keys,
    async *entries(range) {
      let rest = range;
      const hasQueued = await database
        .withPatience(database.read((transaction) => transaction.hasWrites()))
        .catch(() => false);
      if (serverConnection.state() === 'online' && !hasQueued) {
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
      // The rest, where the server has gone in the middle.
      const left = await keys(rest);
      for (let from = 0; from < left.length; from += PAGE)
        yield await entriesOf(left.slice(from, from + PAGE));
    },
    async stats() {
      const hasQueued = await database
        .withPatience(database.read((transaction) => transaction.hasWrites()))
        .catch(() => false);
      return either(hasQueued ? () => countOf(lists.entries({})) : flask.stats, () => localStats(database));
    },
    count: async (range) => (isUnbounded(range) ? (await lists.stats()).keys : (await keys(range)).length),
  };
  return lists;
}

/** What of a server nobody has counted with the writes that wait. */
async function countOf(entries: ReturnType<Backend['entries']>): Promise<StorageStats> {
  let keys = 0;
  let sizeBytes = 0;
  for await (const page of entries) {
    keys += page.length;
    for (const [key, value] of page) sizeBytes += utf8Length(await encodeAt(key, snapshot(value)));
  }
  return { keys, sizeBytes };
}
