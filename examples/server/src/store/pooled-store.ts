/**
 * The store over a database server that many processes share.
 *
 * Writes of one tenant share commits: a group is carried out while the next one gathers. Groups of different tenants run
 * side by side, each in its own transaction and on its own connection.
 *
 * Nothing about the data is kept in memory, so any process may serve any request.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { runBatches } from './batch.ts';
import { createChangeNotice } from './change-notice.ts';
import { type Address, type Driver, UnknownOutcome } from './driver.ts';
import { createGroup, createNamedGroups } from './group.ts';
import type { QuotaOf } from './quota.ts';
import {
  type Batch,
  type Change,
  type Entry,
  needsWriting,
  type Outcome,
  RETENTION,
  type Store,
  StoreError,
  type StoreErrorCode,
} from './store.ts';

/** Milliseconds in which a transaction is tried again that another one, or a lost connection, has rolled back. */
const RETRY_TIME = 5000;

/** Milliseconds before the second try. The pause doubles, up to `MAX_PAUSE`. */
const FIRST_PAUSE = 10;
const MAX_PAUSE = 400;

/** Groups of single reads that run at once. */
const READ_GROUPS = 4;

/**
 * @param answerBytes Bytes of values in the results of one batch, or on one page of changes.
 * @param quotaOf What tenants may store.
 */
export function createPooledStore(driver: Driver, answerBytes: number, quotaOf: QuotaOf): Store {
  const notice = createChangeNotice(driver);
  let isClosing = false;

  const writes = createNamedGroups(async (tenant, batches: readonly Batch[]): Promise<Outcome[]> => {
    const tenantBatches = batches.map((batch) => ({ tenant, batch }));
    const outcomes = await repeatedly(() =>
      driver.write((transaction) => runBatches(transaction, tenantBatches, answerBytes, quotaOf)),
    );
    notice.committed(tenant);
    return outcomes;
  });

  const entries = createGroup(
    (addresses: readonly Address[]): Promise<ReadonlyArray<Entry | undefined>> =>
      repeatedly(() => driver.entries(addresses)),
    READ_GROUPS,
  );

  /** Carries out `work`, again if it was rolled back for a reason that passes. */
  async function repeatedly<T>(work: () => Promise<T>): Promise<T> {
    const deadline = performance.now() + RETRY_TIME;
    for (let pause = FIRST_PAUSE; ; pause = Math.min(pause * 2, MAX_PAUSE)) {
      try {
        return await work();
      } catch (error) {
        const failure = error instanceof UnknownOutcome ? 'unknown' : driver.failureOf(error);
        if (failure !== 'conflict' && failure !== 'disconnected') throw new StoreError(failure, error);
        if (performance.now() > deadline || isClosing) throw new StoreError(FINAL[failure], error);
      }
      await delay(pause * (0.5 + Math.random() / 2));
    }
  }

  return {
    epoch: driver.epoch,
    fileName: driver.databaseName,
    tenants: () => repeatedly(() => driver.tenants()),
    seq: async (tenant) => (await repeatedly(() => driver.seqs([tenant]))).get(tenant) ?? 0,
    read: (tenant, key) => entries.submit({ tenant, key }),
    async run(tenant, batch) {
      if (needsWriting(batch)) return writes.submit(tenant, batch);
      const [outcome] = await repeatedly(() =>
        driver.read((transaction) => runBatches(transaction, [{ tenant, batch }], answerBytes)),
      );
      return outcome as Outcome;
    },
    list: (tenant, range) => repeatedly(() => driver.list(tenant, range)),
    stats: (tenant) => repeatedly(() => driver.stats(tenant)),
    async changes(tenant, after, limit) {
      const room = { limit, bytes: answerBytes };
      const { seq, cleared, forgotten, changes, more } = await repeatedly(() =>
        driver.changes(tenant, after, room),
      );
      if (after > seq) return { seq, lost: 'epoch-changed' };
      // A client that knows nothing yet cannot miss a deletion.
      if (after > 0 && after < forgotten) return { seq, lost: 'cursor-gone' };
      if (after >= cleared) return { seq, changes, more };
      const clear: Change = { type: 'clear', rev: cleared };
      const page = [clear, ...changes].slice(0, limit);
      return { seq, changes: page, more: more || page.length <= changes.length };
    },
    snapshot: (tenant) => repeatedly(() => driver.snapshot(tenant)),
    onCommit: notice.listen,
    expire: () => repeatedly(() => driver.expire(Date.now() - RETENTION)),
    async close() {
      await Promise.all([entries.flush(), writes.flush()]);
      isClosing = true;
      notice.stop();
      await driver.close();
    },
  };
}

/** What a failure means for the caller after the last try. */
const FINAL: Readonly<Record<'conflict' | 'disconnected', StoreErrorCode>> = {
  conflict: 'busy',
  disconnected: 'unreachable',
};
