/**
 * The store over one SQLite file.
 *
 * One connection carries out all transactions, one after the other: groups of writes, and groups of reads. A snapshot reads
 * through its own connection.
 */
import { basename } from 'node:path';
import type { DatabaseSync } from 'node:sqlite';
import { runBatches, type TenantBatch } from '../batch.ts';
import { createGroup } from '../group.ts';
import { needsWriting, type Outcome, type Store, StoreError, type StoreErrorCode } from '../store.ts';
import { createCommitNotice } from './commit-notice.ts';
import { createTransactions, deleteExpired } from './database.ts';
import { createReads, openSnapshot } from './reads.ts';
import { createSqliteTransaction } from './transaction.ts';

/** SQLite's primary result codes. */
const SQLITE_BUSY = 5;
const SQLITE_FULL = 13;

/**
 * @param database From `openDatabase`. `close` closes it.
 * @param answerBytes Bytes of values in the results of one batch, or on one page of changes.
 */
export function createSqliteStore(database: DatabaseSync, answerBytes: number): Store {
  const epoch = String(database.prepare("SELECT value FROM meta WHERE name = 'epoch'").get()?.value);
  const reads = createReads(database, answerBytes);
  const transactions = createTransactions(database);
  const statements = createSqliteTransaction(database);
  const notice = createCommitNotice(database);

  const writes = createGroup(async (batches: readonly TenantBatch[]): Promise<Outcome[]> => {
    const outcomes = await transactions
      .write(() => runBatches(statements, batches, answerBytes))
      .catch(storeError);
    notice.committed(batches.map(({ tenant }) => tenant));
    return outcomes;
  });
  const batchReads = createGroup((batches: readonly TenantBatch[]) =>
    transactions.read(() => runBatches(statements, batches, answerBytes)).catch(storeError),
  );
  const otherReads = createGroup((group: ReadonlyArray<() => unknown>) =>
    transactions.read(() => group.map((work) => work())).catch(storeError),
  );
  /** Reads one committed state, not older than the call. */
  const read = <T>(work: () => T): Promise<T> => otherReads.submit(work) as Promise<T>;

  return {
    epoch,
    fileName: basename(database.location() ?? ''),
    seq: (tenant) => read(() => reads.seq(tenant)),
    read: (tenant, key) => read(() => reads.entry(tenant, key)),
    run: (tenant, batch) => (needsWriting(batch) ? writes : batchReads).submit({ tenant, batch }),
    list: (tenant, range) => read(() => reads.list(tenant, range)),
    stats: (tenant) => read(() => reads.stats(tenant)),
    changes: (tenant, after, limit) => read(() => reads.changes(tenant, after, limit)),
    async snapshot(tenant) {
      try {
        return openSnapshot(database, tenant);
      } catch (error) {
        return storeError(error);
      }
    },
    onCommit: notice.listen,
    expire: () => transactions.write(() => deleteExpired(database)).catch(storeError),
    async close() {
      await Promise.all([writes.flush(), batchReads.flush(), otherReads.flush()]);
      await transactions.idle();
      notice.stop();
      database.close();
    },
  };
}

/** @throws {StoreError} always. */
function storeError(error: unknown): never {
  throw new StoreError(codeOf(error), error);
}

function codeOf(error: unknown): StoreErrorCode {
  const { errcode } = error as { errcode?: number };
  // The low byte of an extended code is the primary one.
  const primary = (errcode ?? 0) & 0xff;
  if (primary === SQLITE_FULL) return 'full';
  return primary === SQLITE_BUSY ? 'busy' : 'failed';
}
