/** What every store keeps, whatever database it is over. */
import { setTimeout as delay } from 'node:timers/promises';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { QuotaOf } from '../../examples/server/src/store/quota.ts';
import type {
  Batch,
  Change,
  Operation,
  Outcome,
  Result,
  Store,
} from '../../examples/server/src/store/store.ts';
import { batchesOf } from './batches.ts';

/** Bytes of values in one answer. */
export const ANSWER_BYTES = 6000;

/** A database that a suite runs over. */
export interface DatabaseUnderTest {
  /** A store over it, with `QUOTAS` unless others are named. Several may be open at the same time, as in several processes. */
  open(quotaOf?: QuotaOf): Promise<Store>;
  /** Makes tombstones, or the last mutations of clients, 31 days old: those of one tenant, and of one key if it is given. */
  age(what: 'tombstones' | 'clients', tenant: string, key?: string): Promise<void>;
  /** The number of mutations of the tenant whose results are stored. */
  mutations(tenant: string): Promise<number>;
  stop(): Promise<void>;
}

/** What tenants may store whose names begin with `limited`. */
const QUOTA = { keys: 2, bytes: 4200 };
export const QUOTAS: QuotaOf = (tenant) => (tenant.startsWith('limited') ? QUOTA : undefined);

export const PAST = Date.now() - 31 * 24 * 60 * 60 * 1000;

export function storeContract(
  name: string,
  start: () => Promise<DatabaseUnderTest>,
  openReference: () => Promise<Store>,
): void {
  describe(name, () => {
    let database: DatabaseUnderTest;
    let store: Store;
    let count = 0;
    /** Each test has a tenant of its own. */
    const newTenant = (name = 'tenant'): string => `${name}-${count++}`;

    beforeAll(async () => {
      database = await start();
      store = await database.open();
    });
    afterAll(async () => {
      await store?.close();
      await database?.stop();
    });

    function tenantOf(name: string, on: () => Store = () => store) {
      const run = async (operations: readonly Operation[], batch: Omit<Batch, 'operations'> = {}) => {
        const outcome = await on().run(name, { operations, ...batch });
        if ('refused' in outcome) throw new Error(outcome.refused);
        return outcome.results;
      };
      const one = async (operation: Operation): Promise<Result> => (await run([operation]))[0] as Result;
      return {
        name,
        run,
        one,
        put: (key: string, value: string) => one({ type: 'put', key, value }),
        seq: () => on().seq(name),
        read: (key: string) => on().read(name, key),
        changes: (after: number, limit = 1000) => on().changes(name, after, limit),
        keys: async () =>
          (await on().list(name, { prefix: '', after: '', limit: 1000 })).keys.map(({ key }) => key),
      };
    }
    const words = (results: readonly Result[]) => results.map(({ outcome }) => outcome);

    it('stores the text of a value and the bytes of a key exactly', async () => {
      const { put, read, keys, name } = tenantOf(newTenant());
      const texts = [
        ' {"b" : 1,\n"a":1e2, "a":-0.0}',
        '"\\u0000\\ud800 \\/"',
        '"\u{10FFFF}\u00e9e\u0301"',
        `"${'x'.repeat(100_000)}"`,
      ];
      for (const text of texts) {
        await put('text', text);
        expect(await read('text')).toMatchObject({ value: text });
      }
      const names = [
        'a',
        'A',
        'a ',
        'ä',
        'a\u0308',
        'ß',
        'ss',
        '\u{10FFFF}',
        '\uFFFD',
        'a\u0001',
        `${'k'.repeat(1022)}é`,
      ];
      for (const [i, key] of names.entries()) await put(key, String(i));
      const all = [...names, 'text'];
      expect(await keys()).toEqual(all.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b))));
      for (const [i, key] of names.entries()) expect(await read(key)).toMatchObject({ value: String(i) });
      expect(await read('a\uD800')).toBeUndefined();
      const page = await store.list(name, { prefix: 'a', after: 'a', limit: 2 });
      expect(page).toMatchObject({ keys: [{ key: 'a\u0001' }, { key: 'a ' }], more: true });
    });

    it('stores a value of 8 MB, alone and beside others, and returns it in every way', async () => {
      const { run, read, changes, name } = tenantOf(newTenant());
      const large = `"${'\\"é'.repeat(2 * 1024 * 1024)}"`;
      await run(
        ['a', 'large', 'z'].map((key) => ({ type: 'put', key, value: key === 'large' ? large : '1' })),
      );
      expect((await read('large'))?.value === large).toBe(true);
      expect(await changes(0)).toMatchObject({ changes: [{ key: 'a' }], more: true });
      const page = await changes(1);
      expect(page).toMatchObject({ changes: [{ key: 'large' }], more: true });
      const snapshot = await store.snapshot(name);
      const found = [];
      for await (const entries of snapshot.pages())
        found.push(...entries.map(({ key, value }) => [key, value.length]));
      await snapshot.close();
      expect(found).toEqual([
        ['a', 1],
        ['large', large.length],
        ['z', 1],
      ]);
    });

    it('each of many writes at once sees the state that the one before it left', async () => {
      const { one, put, keys } = tenantOf(newTenant());
      const condition = (rev: number | undefined) => rev === undefined;
      const outcomes = await Promise.all([
        one({ type: 'put', key: 'a', value: '1', condition }),
        one({ type: 'put', key: 'a', value: '2', condition }),
        one({ type: 'delete', key: 'a' }),
        one({ type: 'delete', key: 'a' }),
        one({ type: 'put', key: 'a', value: '3', condition }),
        one({ type: 'clear' }),
        put('b', '4'),
      ]);
      expect(words(outcomes)).toEqual(['ok', 'condition-failed', 'ok', 'missing', 'ok', 'ok', 'ok']);
      expect(await keys()).toEqual(['b']);
    });

    it('every change has its own number, deletions too, and nothing else has one', async () => {
      const { one, put, run, seq } = tenantOf(newTenant());
      expect(await seq()).toBe(0);
      await Promise.all([put('a', '1'), put('a', '1')]);
      await run([
        { type: 'put', key: 'b', value: '1' },
        { type: 'put', key: 'c', value: '1' },
      ]);
      expect(await seq()).toBe(4);
      await one({ type: 'delete', key: 'missing' });
      await one({ type: 'put', key: 'a', value: '2', condition: () => false });
      expect(await seq()).toBe(4);
      await one({ type: 'delete', key: 'a' });
      await one({ type: 'clear' });
      expect(await seq()).toBe(6);
    });

    it('an atomic batch that fails between others is undone, and its numbers are used by the next one', async () => {
      const { put, run, keys, seq } = tenantOf(newTenant());
      const [, failed] = await Promise.all([
        put('before', '1'),
        run(
          [
            { type: 'put', key: 'undone', value: '1' },
            { type: 'clear' },
            { type: 'put', key: 'before', value: '2', condition: () => false },
            { type: 'put', key: 'never', value: '1' },
          ],
          { atomic: true },
        ),
        put('after', '1'),
      ]);
      expect(words(failed)).toEqual(['not-applied', 'not-applied', 'condition-failed', 'not-applied']);
      expect(await keys()).toEqual(['after', 'before']);
      expect(await seq()).toBe(2);
    });

    it('after a value without room in the answer, no further value is returned', async () => {
      const { put, run } = tenantOf(newTenant());
      const large = `"${'x'.repeat(ANSWER_BYTES - 10)}"`;
      for (const key of ['a', 'b', 'c']) await put(key, large);
      const results = await run(['a', 'b', 'c', 'missing', 'a'].map((key) => ({ type: 'get', key })));
      const full = 'answer-too-large';
      expect(words(results)).toEqual(['ok', full, full, 'missing', full]);
    });

    it('a mutation applies once, even if it is sent twice at once', async () => {
      const { run, seq } = tenantOf(newTenant());
      const mutation = () =>
        run(
          [
            { type: 'put', key: 'a', value: '1' },
            { type: 'put', key: 'a', value: '2', condition: () => false },
            { type: 'check', key: 'b', condition: (rev) => rev === undefined },
          ],
          { client: 'client', m: 1 },
        );
      const [first, again] = await Promise.all([mutation(), mutation()]);
      expect(first).toEqual([
        { outcome: 'ok', rev: 1 },
        { outcome: 'condition-failed', rev: 1, value: '1' },
        { outcome: 'ok' },
      ]);
      const withoutValues = [
        { outcome: 'ok', rev: 1 },
        { outcome: 'condition-failed', rev: 1 },
        { outcome: 'ok' },
      ];
      expect(again).toEqual(withoutValues);
      expect(await mutation()).toEqual(withoutValues);
      expect(await seq()).toBe(1);
    });

    it('the results of settled mutations are deleted in bulk, so a client has few rows', async () => {
      const { run, name } = tenantOf(newTenant());
      let most = 0;
      for (let m = 1; m <= 30; m += 1) {
        await run([{ type: 'put', key: 'a', value: '1' }], { client: 'client', m, settled: m - 1 });
        most = Math.max(most, await database.mutations(name));
      }
      expect(most).toBeLessThanOrEqual(8);
      await run([], { client: 'client', settled: 1000 });
      expect(await database.mutations(name)).toBe(0);
    });

    it('a client and its mutations are forgotten 30 days after the last of them', async () => {
      const { run, name } = tenantOf(newTenant());
      const send = (client: string, m: number) => run([{ type: 'put', key: 'a', value: '1' }], { client, m });
      for (const client of ['silent', 'active']) for (const m of [1, 2]) await send(client, m);
      await database.age('clients', name);
      await send('active', 2);
      await store.expire();
      expect(await send('active', 1)).toEqual([{ outcome: 'ok', rev: 3 }]);
      expect(await send('silent', 1)).toEqual([{ outcome: 'ok', rev: 5 }]);
      const tops = ['silent', 'active'].map((client) => store.run(name, { operations: [], client }));
      expect(await Promise.all(tops)).toMatchObject([{ top: 1 }, { top: 2 }]);
    });

    it('tombstones expire after 30 days, and then cursors that would miss a deletion are refused', async () => {
      const { put, one, changes, name } = tenantOf(newTenant());
      await put('a', '1');
      await put('b', '1');
      await one({ type: 'delete', key: 'a' });
      await one({ type: 'delete', key: 'b' });
      await store.expire();
      expect(await changes(2)).toMatchObject({ changes: [{ type: 'delete' }, { type: 'delete' }] });
      await database.age('tombstones', name, 'a');
      await store.expire();
      expect(await changes(2)).toEqual({ seq: 4, lost: 'cursor-gone' });
      expect(await changes(3)).toMatchObject({ changes: [{ type: 'delete', key: 'b' }] });
      expect(await changes(0)).toMatchObject({ changes: [{ type: 'delete', key: 'b' }] });
    });

    it('no tenant sees or changes the data of another', async () => {
      const [own, other] = [tenantOf(newTenant()), tenantOf(newTenant())];
      await own.put('a', '1');
      await other.put('b', '22');
      expect(await other.read('a')).toBeUndefined();
      expect(await store.stats(other.name)).toEqual({ seq: 1, keys: 1, sizeBytes: 2 });
      expect(await other.changes(0)).toMatchObject({ seq: 1, changes: [{ key: 'b' }] });
      await other.one({ type: 'clear' });
      expect(await own.keys()).toEqual(['a']);
      expect(await own.seq()).toBe(1);
    });

    it('a snapshot is one state, and writes go on beside it', async () => {
      const { put, one, name } = tenantOf(newTenant());
      for (let i = 0; i < 10; i += 1) await put(`${i}`, `"${'x'.repeat(60_000)}"`);
      const snapshot = await store.snapshot(name);
      const pages = snapshot.pages();
      const first = await pages.next();
      await put('9', '1');
      await one({ type: 'delete', key: '8' });
      const rest: string[] = [];
      for await (const page of pages) for (const { key, value } of page) rest.push(`${key} ${value.length}`);
      await snapshot.close();
      expect(snapshot.seq).toBe(10);
      const found = [...(first.value ?? []).map(({ key, value }) => `${key} ${value.length}`), ...rest];
      expect(found).toEqual(Array.from({ length: 10 }, (_, i) => `${i} 60002`));
    });

    it('tells listeners of changes that this store and another one over the database commit', async () => {
      const other = await database.open();
      const name = newTenant();
      for (const writer of [store, other]) {
        const told = Promise.withResolvers<void>();
        const stop = store.onCommit(name, () => {
          void store.seq(name).then((seq) => seq > before && told.resolve());
        });
        const before = await store.seq(name);
        await tenantOf(name, () => writer).put('a', '1');
        await told.promise;
        stop();
      }
      await other.close();
    });

    it('two stores over the database give each change its own number and see each other at once', async () => {
      const other = await database.open();
      const name = newTenant();
      const [mine, others] = [tenantOf(name), tenantOf(name, () => other)];
      const condition = (rev: number | undefined) => rev === undefined;
      const results = await Promise.all(
        Array.from({ length: 40 }, async (_, i) => {
          const writer = i % 2 === 0 ? mine : others;
          const created = await writer.one({ type: 'put', key: `${i >> 2}`, value: '1', condition });
          const reader = i % 2 === 0 ? others : mine;
          expect(await reader.read(`${i >> 2}`)).toMatchObject({ value: '1' });
          return created;
        }),
      );
      expect(results.filter(({ outcome }) => outcome === 'ok')).toHaveLength(10);
      expect(await mine.seq()).toBe(10);
      await other.close();
    });

    it('no read sees a part of a batch or one that is undone, with 32 concurrent writers over two stores', async () => {
      const other = await database.open();
      const name = newTenant();
      const states = new Set<string>();
      let isWriting = true;
      const readers = [store, other].map(async (on) => {
        while (isWriting) {
          const results = await tenantOf(name, () => on).run([
            { type: 'get', key: 'x' },
            { type: 'get', key: 'y' },
          ]);
          states.add(results.map((result) => ('value' in result ? result.value : '-')).join('/'));
          await delay(1);
        }
      });
      let applied = 0;
      await Promise.all(
        Array.from({ length: 32 }, async (_, id) => {
          const { run } = tenantOf(name, () => (id % 2 === 0 ? store : other));
          for (let round = 0; round < 4; round += 1) {
            const isBad = (id + round) % 3 === 0;
            if (!isBad) applied += 1;
            const value = isBad ? '"undone"' : `${id}.${round}`;
            await run(
              [
                { type: 'put', key: 'x', value },
                { type: 'put', key: 'y', value, ...(isBad && { condition: () => false }) },
              ],
              { atomic: true },
            );
          }
        }),
      );
      isWriting = false;
      await Promise.all(readers);
      expect(await store.seq(name)).toBe(2 * applied);
      for (const state of states) {
        const [x, y] = state.split('/');
        expect(x).toBe(y);
        expect(x).not.toBe('"undone"');
      }
      await other.close();
    });

    it('the change feed skips nothing, doubles nothing and keeps the order under 64 writers', async () => {
      const other = await database.open();
      const name = newTenant();
      const total = 64 * 8;
      const seen: number[] = [];
      const read = async (): Promise<void> => {
        for (let after = 0; after < total; ) {
          const page = await other.changes(name, after, 100);
          const changes = 'changes' in page ? page.changes : [];
          seen.push(...changes.map(({ rev }) => rev));
          after = changes.at(-1)?.rev ?? after;
        }
      };
      const reading = read();
      await Promise.all(
        Array.from({ length: 64 }, async (_, writer) => {
          const { put } = tenantOf(name, () => (writer % 2 === 0 ? store : other));
          // Each key is new, so the feed leaves none out.
          for (let i = 0; i < 8; i += 1) await put(`${writer}-${i}`, '1');
        }),
      );
      await reading;
      expect(seen).toEqual(Array.from({ length: total }, (_, i) => i + 1));
      await other.close();
    });

    it('has the outcomes and the data of SQLite in one process, for any batches', async () => {
      await fc.assert(
        fc.asyncProperty(batchesOf('one', 'limited'), async (sent) => {
          const names = { one: newTenant(), limited: newTenant('limited') };
          const reference = await openReference();
          for (const { tenant, batch } of sent) {
            const expected: Outcome = await reference.run(tenant, batch);
            expect(await store.run(names[tenant as 'one' | 'limited'], batch)).toEqual(expected);
          }
          for (const tenant of ['one', 'limited'] as const) {
            const own = names[tenant];
            expect(await store.changes(own, 0, 1000)).toEqual(await reference.changes(tenant, 0, 1000));
            expect(await allChanges(store, own)).toEqual(await allChanges(reference, tenant));
            expect(await store.stats(own)).toEqual(await reference.stats(tenant));
          }
          await reference.close();
        }),
        { numRuns: 25 },
      );
    });

    it('a put over a quota fails with what is used; what makes room, or uses no more, is carried out', async () => {
      const { one, put, run, name } = tenantOf(newTenant('limited'));
      const full = { outcome: 'quota-exceeded', used: { keys: 2, bytes: 4002 }, quota: QUOTA };
      const large = `"${'x'.repeat(3998)}"`;
      await put('a', large);
      await put('é', '12');
      expect(await put('c', '1')).toEqual(full);
      expect(await put('é', `"${'é'.repeat(100)}"`)).toEqual(full);
      expect(words([await put('é', `"${'é'.repeat(99)}"`), await put('é', '1')])).toEqual(['ok', 'ok']);
      // An atomic batch applies with its room, or not at all.
      const putC: Operation = { type: 'put', key: 'c', value: large };
      expect(words(await run([{ type: 'delete', key: 'é' }, putC], { atomic: true }))).toEqual([
        'not-applied',
        'quota-exceeded',
      ]);
      expect(words(await run([{ type: 'delete', key: 'a' }, putC], { atomic: true }))).toEqual(['ok', 'ok']);
      // Others of its batch are not affected.
      const between = await run([
        putC,
        { type: 'put', key: 'd', value: '1' },
        { type: 'put', key: 'é', value: '2' },
      ]);
      expect(words(between)).toEqual(['ok', 'quota-exceeded', 'ok']);
      expect(words([await one({ type: 'clear' }), await put('d', '1'), await put('e', '1')])).toEqual([
        'ok',
        'ok',
        'ok',
      ]);
      expect(await store.stats(name)).toMatchObject({ keys: 2, sizeBytes: 2 });
    });

    it('counts what a tenant stores exactly, whatever changes it', async () => {
      await fc.assert(
        fc.asyncProperty(batchesOf('limited'), async (sent) => {
          const name = newTenant('limited');
          for (const { batch } of sent) await store.run(name, batch);
          const { keys, sizeBytes } = await store.stats(name);
          const over = await tenantOf(name).put('z', `"${'x'.repeat(5000)}"`);
          expect(over).toMatchObject({ outcome: 'quota-exceeded', used: { keys, bytes: sizeBytes } });
        }),
        { numRuns: 25 },
      );
    });

    it('counts again what a store without quotas has changed', async () => {
      const { one, put, name } = tenantOf(newTenant('limited'));
      await put('a', '1');
      const unlimited = await database.open(() => undefined);
      const other = tenantOf(name, () => unlimited);
      for (const key of ['b', 'c', 'd']) await other.put(key, '22');
      await unlimited.close();
      expect(await put('e', '1')).toMatchObject({ used: { keys: 4, bytes: 7 } });
      expect(await one({ type: 'delete', key: 'd' })).toMatchObject({ outcome: 'ok' });
      expect(await put('e', '1')).toMatchObject({ used: { keys: 3, bytes: 5 } });
    });

    it('many writers over two stores never go over a quota together', async () => {
      const name = newTenant('limited');
      const second = await database.open();
      const results = await Promise.all(
        Array.from({ length: 40 }, (_, i) =>
          tenantOf(name, () => (i % 2 === 0 ? store : second)).put(`k${i}`, '1'),
        ),
      );
      expect(words(results).filter((word) => word === 'ok')).toHaveLength(QUOTA.keys);
      expect(await store.stats(name)).toMatchObject({ keys: QUOTA.keys });
      await second.close();
    });

    it('a mutation over a quota has the same result when it is sent again', async () => {
      const { put, run } = tenantOf(newTenant('limited'));
      await put('a', '1');
      await put('b', '1');
      const mutation = { client: 'c'.repeat(22), m: 1 };
      const putC: Operation = { type: 'put', key: 'c', value: '1' };
      const [first] = await run([putC], mutation);
      expect(first).toMatchObject({ outcome: 'quota-exceeded', used: { keys: 2, bytes: 2 } });
      expect(await run([putC], mutation)).toEqual([first]);
    });

    it('close finishes waiting calls', async () => {
      const closing = await database.open();
      const name = newTenant();
      const writing = closing.run(name, { operations: [{ type: 'put', key: 'a', value: '1' }] });
      await closing.close();
      await writing;
      expect(await store.read(name, 'a')).toMatchObject({ value: '1' });
    });

    it('stores that open an empty database at the same time agree on its epoch', async () => {
      const empty = await start();
      const stores = await Promise.all(Array.from({ length: 4 }, () => empty.open()));
      expect(new Set(stores.map(({ epoch }) => epoch)).size).toBe(1);
      expect(stores[0]?.epoch).not.toBe(store.epoch);
      await Promise.all(stores.map((opened) => opened.close()));
      await empty.stop();
    });
  });
}

/** All changes of a tenant, read one at a time. */
async function allChanges(store: Store, tenant: string): Promise<Change[]> {
  const found: Change[] = [];
  for (let after = 0; ; after = found.at(-1)?.rev ?? after) {
    const page = await store.changes(tenant, after, 1);
    if ('changes' in page) found.push(...page.changes);
    if (!('more' in page) || !page.more) return found;
  }
}
