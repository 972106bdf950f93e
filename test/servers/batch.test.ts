/**
 * The rules of batches: a group of batches has the outcomes of the same batches one by one, over SQLite and over a database
 * whose every statement takes time.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { runBatches } from '../../examples/server/src/store/batch.ts';
import type { QuotaOf } from '../../examples/server/src/store/quota.ts';
import { openDatabase } from '../../examples/server/src/store/sqlite/database.ts';
import { createSqliteStore } from '../../examples/server/src/store/sqlite/store.ts';
import {
  type Batch,
  needsWriting,
  type Operation,
  type Outcome,
} from '../../examples/server/src/store/store.ts';
import type {
  Head,
  StoredClient,
  StoredMutation,
  Transaction,
} from '../../examples/server/src/store/transaction.ts';
import { batchesOf } from './batches.ts';

const ANSWER_BYTES = 6000;
const batches = batchesOf('one', 'other');

/** One of the tenants may store little. */
const quotaOf: QuotaOf = (tenant) => (tenant === 'other' ? { keys: 2, bytes: 4200 } : undefined);

it('a group of batches has the same outcomes and leaves the same data as the batches one by one', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'codeforge-batch-'));
  let count = 0;
  const newStore = () =>
    createSqliteStore(openDatabase(join(folder, `${count++}.db`)), ANSWER_BYTES, quotaOf);
  await fc.assert(
    fc.asyncProperty(batches, async (sent) => {
      const [grouped, single] = [newStore(), newStore()];
      const together = Promise.all(sent.map(({ tenant, batch }) => grouped.run(tenant, batch)));
      const oneByOne: Outcome[] = [];
      for (const { tenant, batch } of sent) oneByOne.push(await single.run(tenant, batch));
      // Batches that only read form a group of their own, before the writes of the same turn or after them.
      const writes = (outcomes: readonly Outcome[]) =>
        outcomes.filter((_, i) => needsWriting(sent[i]?.batch as Batch));
      expect(writes(await together)).toEqual(writes(oneByOne));
      for (const tenant of ['one', 'other'])
        expect(await grouped.changes(tenant, 0, 1000)).toEqual(await single.changes(tenant, 0, 1000));
      await Promise.all([grouped.close(), single.close()]);
    }),
    { numRuns: 150 },
  );
  await rm(folder, { recursive: true, force: true });
});

it('a database that answers each statement later gives the same outcomes as SQLite', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'codeforge-batch-'));
  let count = 0;
  await fc.assert(
    fc.asyncProperty(batches, async (sent) => {
      const store = createSqliteStore(openDatabase(join(folder, `${count++}.db`)), ANSWER_BYTES, quotaOf);
      const remote = new RemoteDatabase();
      for (const { tenant, batch } of sent)
        expect(
          await remote.transaction((transaction) =>
            runBatches(transaction, [{ tenant, batch }], ANSWER_BYTES, quotaOf),
          ),
        ).toEqual([await store.run(tenant, batch)]);
      await store.close();
    }),
    { numRuns: 100 },
  );
  await rm(folder, { recursive: true, force: true });
});

it('transactions of such a database run side by side, and still give each change of a tenant its own number', async () => {
  const remote = new RemoteDatabase();
  const createOnce: Operation = {
    type: 'put',
    key: 'one',
    value: '1',
    condition: (rev) => rev === undefined,
  };
  const outcomes = await Promise.all(
    Array.from({ length: 64 }, (_, i) =>
      remote.transaction((transaction) =>
        runBatches(
          transaction,
          // Each transaction locks both tenants, in a different order of its batches.
          (i % 2 === 0 ? ['one', 'other'] : ['other', 'one']).map((tenant) => ({
            tenant,
            batch: { operations: [createOnce, { type: 'put', key: `key-${i}`, value: '2' }] },
          })),
          ANSWER_BYTES,
        ),
      ),
    ),
  );
  const results = outcomes.flat().flatMap((outcome) => ('results' in outcome ? outcome.results : []));
  expect(results.filter(({ outcome }) => outcome === 'condition-failed')).toHaveLength(2 * 63);
  const revs = results.flatMap((result) => (result.outcome === 'ok' ? (result.rev ?? []) : []));
  expect(revs.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 2 * 65 }, (_, i) => (i >> 1) + 1));
  expect(remote.mostAtOnce).toBeGreaterThan(1);
});

interface Tenant {
  seq: number;
  readonly entries: Map<string, { rev: number; value: string | undefined }>;
  readonly clients: Map<string, StoredClient & { readonly mutations: Map<number, StoredMutation> }>;
}

/**
 * A database behind a network, as far as `Transaction` shows it: each statement takes a task of the event loop, several
 * transactions are open at once, and a lock on a tenant lasts until its transaction ends.
 */
class RemoteDatabase {
  readonly #tenants = new Map<string, Tenant>();
  readonly #locks = new Map<string, Promise<unknown>>();
  #open = 0;
  mostAtOnce = 0;

  async transaction<T>(work: (transaction: Transaction) => Promise<T>): Promise<T> {
    this.#open += 1;
    this.mostAtOnce = Math.max(this.mostAtOnce, this.#open);
    const end = Promise.withResolvers<void>();
    try {
      return await work(this.#begin(end.promise));
    } finally {
      this.#open -= 1;
      end.resolve();
    }
  }

  #tenant(name: string): Tenant {
    let tenant = this.#tenants.get(name);
    if (tenant === undefined) {
      tenant = { seq: 0, entries: new Map(), clients: new Map() };
      this.#tenants.set(name, tenant);
    }
    return tenant;
  }

  #begin(end: Promise<void>): Transaction {
    const roundTrip = () => new Promise((resolve) => setImmediate(resolve));
    return {
      lock: async (name) => {
        const before = this.#locks.get(name);
        this.#locks.set(name, Promise.all([before, end]));
        await before;
        await roundTrip();
        return this.#tenant(name).seq;
      },
      clients: async (name, wanted) => {
        await roundTrip();
        const found = this.#tenant(name).clients;
        return new Map([...found].filter(([client]) => wanted.has(client)));
      },
      heads: async (name, keys, maxValueBytes) => {
        await roundTrip();
        const found = new Map<string, Head>();
        for (const [key, { rev, value }] of this.#tenant(name).entries) {
          if (value === undefined || !keys.has(key)) continue;
          const size = Buffer.byteLength(value);
          found.set(key, { rev, size, ...(size <= maxValueBytes && { value }) });
        }
        return found;
      },
      values: async (name, keys) => {
        await roundTrip();
        const { entries } = this.#tenant(name);
        return new Map([...keys].map((key) => [key, entries.get(key)?.value ?? '']));
      },
      usage: async (name) => {
        await roundTrip();
        const sizes = [...this.#tenant(name).entries.values()].flatMap(({ value }) =>
          value === undefined ? [] : [Buffer.byteLength(value)],
        );
        return { keys: sizes.length, bytes: sizes.reduce((sum, size) => sum + size, 0) };
      },
      write: async (name, { seq, cleared, entries, clients }) => {
        await roundTrip();
        const tenant = this.#tenant(name);
        tenant.seq = seq;
        if (cleared !== undefined) tenant.entries.clear();
        for (const [key, entry] of entries) tenant.entries.set(key, entry);
        for (const [client, { settled, top, added }] of clients) {
          const before = tenant.clients.get(client)?.mutations ?? [];
          tenant.clients.set(client, { settled, top, mutations: new Map([...before, ...added]) });
        }
      },
    };
  }
}
