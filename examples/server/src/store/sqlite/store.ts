/**
 * The store over one SQLite file.
 *
 * One connection carries out all transactions, one after the other: groups of writes, and groups of reads. A snapshot reads
 * through its own connection. What takes long is done in slices, so that it blocks neither the event loop nor other writes.
 */
import { statSync } from 'node:fs';
import { basename } from 'node:path';
import type { DatabaseSync } from 'node:sqlite';
import { runBatches, type TenantBatch } from '../batch.ts';
import { createGroup } from '../group.ts';
import { NO_QUOTAS, type QuotaOf } from '../quota.ts';
import {
  type Batch,
  needsWriting,
  type Outcome,
  type Store,
  StoreError,
  type StoreErrorCode,
} from '../store.ts';
import { createCommitNotice } from './commit-notice.ts';
import { createTransactions, deleteCleared, deleteExpired, isBusy, MAX_WAL_BYTES } from './database.ts';
import { countInSlices, createReads, openSnapshot } from './reads.ts';
import { createReserve } from './reserve.ts';
import { createSqliteTransaction } from './transaction.ts';

/** SQLite's primary result code of a full disk, and the extended one of a memory-mapped file that cannot grow. */
const SQLITE_FULL = 13;
const SQLITE_IOERR_SHMSIZE = 4874;

/**
 * @param database From `openDatabase`. `close` closes it.
 * @param answerBytes Bytes of values in the results of one batch, or on one page of changes.
 * @param quotaOf What tenants may store.
 */
export function createSqliteStore(
  database: DatabaseSync,
  answerBytes: number,
  quotaOf: QuotaOf = NO_QUOTAS,
): Store {
  const epoch = String(database.prepare("SELECT value FROM meta WHERE name = 'epoch'").get()?.value);
  const reads = createReads(database, answerBytes);
  const transactions = createTransactions(database);
  const statements = createSqliteTransaction(database);
  const notice = createCommitNotice(database);
  const reserve = createReserve(database.location());
  let background = Promise.resolve();
  let isClosing = false;

  const writeBatches = (batches: readonly TenantBatch[]): Promise<Outcome[]> =>
    batches.length === 0
      ? Promise.resolve([])
      : transactions.write(() => runBatches(statements, batches, answerBytes, quotaOf)).catch(storeError);

  /** Writes that make room on the disk. They may use the reserve. */
  async function makeRoom<T>(write: () => Promise<T>): Promise<T> {
    try {
      return await write();
    } catch (error) {
      if (!isFull(error)) throw error;
    }
    reserve.release();
    try {
      return await write();
    } finally {
      // It may need space itself.
      await emptyLog().catch(() => {});
      reserve.restore();
    }
  }

  /** Runs batches, or only those that make room while the disk is full. */
  async function runOnDisk(batches: readonly TenantBatch[]): Promise<Array<Outcome | StoreError>> {
    let full = new StoreError('full', new Error('The reserve cannot be written'));
    if (reserve.ensure() || batches.every(makesRoom))
      try {
        return await writeBatches(batches);
      } catch (error) {
        if (!isFull(error)) throw error;
        full = error;
      }
    const outcomes = (await makeRoom(() => writeBatches(batches.filter(makesRoom)))).values();
    return batches.map((batch) => (makesRoom(batch) ? (outcomes.next().value as Outcome) : full));
  }

  const writes = createGroup(async (batches: readonly TenantBatch[]) => {
    const outcomes = await runOnDisk(batches);
    notice.committed(batches.map(({ tenant }) => tenant));
    for (const { tenant, batch } of batches)
      if (batch.operations.some(({ type }) => type === 'clear'))
        inBackground(() => deleteCleared(database, tenant));
    return outcomes;
  });
  async function write(tenant: string, batch: Batch): Promise<Outcome> {
    const outcome = await writes.submit({ tenant, batch });
    if (outcome instanceof StoreError) throw outcome;
    return outcome;
  }

  /** Repeats a deletion until nothing is left. Other transactions run between its slices. */
  async function inSlices(deleteSlice: () => boolean): Promise<void> {
    const slice = () => transactions.write(deleteSlice).catch(storeError);
    while (!isClosing && (await makeRoom(slice))) await new Promise((resolve) => setImmediate(resolve));
  }
  function inBackground(deleteSlice: () => boolean): void {
    // What is left is deleted at the next start.
    background = background.then(() => inSlices(deleteSlice)).catch(() => {});
  }
  const cleared = database.prepare('SELECT tenant FROM tenants WHERE cleared > 0').all();
  for (const { tenant } of cleared) inBackground(() => deleteCleared(database, String(tenant)));

  /** Copies the write-ahead log to the database and cuts it, unless a snapshot needs it. */
  const emptyLog = (): Promise<void> =>
    transactions.between(() => database.exec('PRAGMA wal_checkpoint(TRUNCATE)'));
  function snapshotClosed(): void {
    const size = statSync(`${database.location()}-wal`, { throwIfNoEntry: false })?.size ?? 0;
    if (size > MAX_WAL_BYTES && !isClosing) emptyLog().catch(() => {});
  }

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
    tenants: () => read(() => reads.tenants()),
    seq: (tenant) => read(() => reads.seq(tenant)),
    read: (tenant, key) => read(() => reads.entry(tenant, key)),
    run: (tenant, batch) =>
      needsWriting(batch) ? write(tenant, batch) : batchReads.submit({ tenant, batch }),
    list: (tenant, range) => read(() => reads.list(tenant, range)),
    stats: async (tenant) =>
      (await read(() => reads.stats(tenant))) ?? (await countInSlices(database, tenant).catch(storeError)),
    changes: (tenant, after, limit) => read(() => reads.changes(tenant, after, limit)),
    async snapshot(tenant) {
      try {
        return openSnapshot(database, tenant, snapshotClosed);
      } catch (error) {
        return storeError(error);
      }
    },
    onCommit: notice.listen,
    expire: () => inSlices(() => deleteExpired(database)),
    async close() {
      isClosing = true;
      await Promise.all([writes.flush(), batchReads.flush(), otherReads.flush()]);
      await background;
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
  const { errcode = 0 } = error as { errcode?: number };
  // The low byte of an extended code is the primary one.
  if ((errcode & 0xff) === SQLITE_FULL || errcode === SQLITE_IOERR_SHMSIZE) return 'full';
  return isBusy(error) ? 'busy' : 'failed';
}

const isFull = (error: unknown): error is StoreError => error instanceof StoreError && error.code === 'full';

/** Whether a batch stores no value: what it changes is deleted. */
const makesRoom = ({ batch }: TenantBatch): boolean => batch.operations.every(({ type }) => type !== 'put');
