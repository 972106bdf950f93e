/**
 * The members of the status that come from the database: queued writes, conflicts, the server's level, the time of the last contact.
 */
import type { StorageStatus } from '../../core/session.ts';
import type { SyncDatabase } from '../database.ts';

/** The members of a status that are read from the database. */
export interface Counts extends Pick<StorageStatus, 'level' | 'pending' | 'conflicts' | 'lastSyncAtMs'> {
  /** The account whose data this device holds. */
  readonly account: string | undefined;
}

/** The counts as they were read last. */
export interface OutboxCounts {
  readonly current: Counts;
  /**
   * Reads them again, after the refreshes before it, so that no count replaces a later one.
   *
   * @param isOwn Whether this tab has changed the database.
   */
  refresh(isOwn: boolean): Promise<void>;
}

/** @param changed Is called after counts have changed. */
export function createOutboxCounts(
  database: SyncDatabase,
  changed: (now: Counts, before: Counts, isOwn: boolean) => void,
): OutboxCounts {
  let current: Counts = {
    level: undefined,
    pending: 0,
    conflicts: 0,
    lastSyncAtMs: undefined,
    account: undefined,
  };
  let refreshing: Promise<void> = Promise.resolve();

  async function count(isOwn: boolean): Promise<void> {
    const read = database.read(async (transaction): Promise<Counts> => {
      const meta = await transaction.meta();
      return {
        level: meta?.level,
        pending: await transaction.pendingCount(),
        conflicts: await transaction.count('conflict'),
        lastSyncAtMs: meta?.lastSyncAtMs,
        account: meta?.account,
      };
    });
    const before = current;
    current = await database.withPatience(read).catch(() => before);
    if (JSON.stringify(current) !== JSON.stringify(before)) changed(current, before, isOwn);
  }

  return {
    get current() {
      return current;
    },
    refresh(isOwn) {
      refreshing = refreshing.then(() => count(isOwn));
      return refreshing;
    },
  };
}
