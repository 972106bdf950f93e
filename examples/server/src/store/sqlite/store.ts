/**
 * The store over one SQLite file.
 *
 * One connection writes, in groups, and reads in between, in groups too: it never sees what is not committed, because a
 * group is one synchronous step. A snapshot reads through a connection of its own.
 */
import { basename } from 'node:path';
import type { DatabaseSync } from 'node:sqlite';
import { createBatchRunner } from '../batch.ts';
import { createGroup } from '../group.ts';
import { type Batch, isWrite, type Outcome, type Store, StoreError } from '../store.ts';
import { createCommitNotice } from './commit-notice.ts';
import { reading, transaction } from './database.ts';
import { createReads, openSnapshot } from './reads.ts';
import { forgetOld } from './retention.ts';

/** SQLite's primary result codes. */
const SQLITE_BUSY = 5;
const SQLITE_FULL = 13;

/**
 * @param database From `openDatabase`; closed with the store.
 * @param answerBytes Bytes of values in the results of one batch, or on one page of changes.
 */
export function createSqliteStore(database: DatabaseSync, answerBytes: number): Store {
  const epoch = String(database.prepare("SELECT value FROM meta WHERE name = 'epoch'").get()?.value);
  const reads = createReads(database, answerBytes);
  const runner = createBatchRunner(database, answerBytes);
  const notice = createCommitNotice(database);

  /** One transaction for a group of batches. */
  function commit(batches: ReadonlyArray<readonly [tenant: string, batch: Batch]>): Outcome[] {
    const outcomes = guarded(() =>
      transaction(database, () => {
        runner.begin();
        const outcomes = batches.map(([tenant, batch]) => runner.run(tenant, batch));
        runner.end();
        return outcomes;
      }),
    );
    notice.committed();
    return outcomes;
  }

  const writes = createGroup(commit);
  const readers = createGroup((group: ReadonlyArray<() => unknown>) =>
    guarded(() => reading(database, () => group.map((work) => work()))),
  );
  /** Read one state of the data, as it is after the call. */
  const read = <T>(work: () => T): Promise<T> => readers.submit(work) as Promise<T>;

  return {
    epoch,
    fileName: basename(database.location() ?? ''),
    seq: (tenant) => read(() => reads.seq(tenant)),
    read: (tenant, key) => read(() => reads.entry(tenant, key)),
    async run(tenant, batch) {
      if (batch.operations.some(isWrite)) return writes.submit([tenant, batch]);
      return read(() => {
        runner.begin();
        return runner.run(tenant, batch);
      });
    },
    list: (tenant, range) => read(() => reads.list(tenant, range)),
    stats: (tenant) => read(() => reads.stats(tenant)),
    changes: (tenant, after, limit) => read(() => reads.changes(tenant, after, limit)),
    snapshot: (tenant) => guarded(() => openSnapshot(database, tenant)),
    onCommit: notice.listen,
    expire: async () => guarded(() => transaction(database, () => forgetOld(database))),
    async close() {
      writes.flush();
      readers.flush();
      notice.stop();
      database.close();
    },
  };
}

function guarded<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw new StoreError(codeOf(error), error);
  }
}

function codeOf(error: unknown): 'full' | 'busy' | 'failed' {
  const { errcode } = error as { errcode?: number };
  // The low byte of an extended code is the primary one.
  const primary = (errcode ?? 0) & 0xff;
  if (primary === SQLITE_FULL) return 'full';
  return primary === SQLITE_BUSY ? 'busy' : 'failed';
}
