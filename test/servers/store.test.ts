/** The store: what a group of writes promises to each of them, and what a snapshot holds on to. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { openDatabase } from '../../examples/server/src/store/sqlite/database.ts';
import { createSqliteStore } from '../../examples/server/src/store/sqlite/store.ts';
import type { Operation, Result, Store } from '../../examples/server/src/store/store.ts';

const ANSWER_BYTES = 1000;
const TENANT = 'default';

let folder = '';
let database: DatabaseSync;
let store: Store;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'codeforge-store-'));
  database = openDatabase(join(folder, 'test.db'));
  store = createSqliteStore(database, ANSWER_BYTES);
});
afterEach(async () => {
  vi.restoreAllMocks();
  await store.close();
  await rm(folder, { recursive: true, force: true });
});

/** How often `statement` has been executed from now on. */
function counting(statement: string): () => number {
  const exec = vi.spyOn(database, 'exec');
  return () => exec.mock.calls.filter(([sql]) => sql === statement).length;
}

/** The results of a batch that applied. */
async function run(operations: readonly Operation[], batch: { atomic?: boolean; client?: string } = {}) {
  const outcome = await store.run(TENANT, { operations, ...batch });
  if ('refused' in outcome) throw new Error(outcome.refused);
  return outcome.results;
}
const one = async (operation: Operation): Promise<Result> => (await run([operation]))[0] as Result;
const put = (key: string, value: string) => one({ type: 'put', key, value });
const keys = async () =>
  (await store.list(TENANT, { prefix: '', after: '', limit: 1000 })).keys.map(({ key }) => key);

it('commits writes that wait together in one transaction', async () => {
  const commits = counting('COMMIT');
  const outcomes = await Promise.all(Array.from({ length: 200 }, (_, index) => put(`key-${index}`, '1')));
  expect(commits()).toBe(1);
  expect(new Set(outcomes.map(({ rev }) => rev)).size).toBe(200);
  expect(await keys()).toHaveLength(200);
});

it('settles no write before its commit', async () => {
  const events: string[] = [];
  const exec = database.exec.bind(database);
  vi.spyOn(database, 'exec').mockImplementation((sql) => {
    exec(sql);
    events.push(sql);
  });
  await Promise.all([1, 2].map((value) => put('a', `${value}`).then(() => events.push('settled'))));
  expect(events).toEqual(['BEGIN IMMEDIATE', 'COMMIT', 'settled', 'settled']);
});

it('waits for writes of the next turns as long as each turn brings more, and no longer', async () => {
  const commits = counting('COMMIT');
  const early = put('a', '1');
  const late = new Promise((resolve) => setImmediate(() => resolve(put('b', '1'))));
  const other = put('c', '1');
  await Promise.all([early, other, late]);
  expect(commits()).toBe(1);
  const alone = put('d', '1');
  const turn = new Promise((resolve) => setImmediate(resolve));
  await turn;
  expect(commits()).toBe(2);
  await alone;
});

it('reads one state for all reads that wait together, and nothing older than the last of them', async () => {
  const begins = counting('BEGIN');
  const first = store.read(TENANT, 'a');
  // Another process, between two reads of one group.
  const other = new DatabaseSync(join(folder, 'test.db'));
  other.exec(`BEGIN; INSERT INTO tenants (tenant, seq) VALUES ('${TENANT}', 2);
    INSERT INTO records (tenant, key, value, rev) VALUES ('${TENANT}', 'a', '1', 1), ('${TENANT}', 'b', '1', 2); COMMIT`);
  other.close();
  const read = await Promise.all([first, store.read(TENANT, 'b'), store.seq(TENANT)]);
  expect(read).toEqual([{ value: '1', rev: 1 }, { value: '1', rev: 2 }, 2]);
  expect(begins()).toBe(1);
});

it('judges each write of a group by the state that the one before it left', async () => {
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
  expect(outcomes.map(({ status }) => status)).toEqual([200, 412, 200, 404, 200, 200, 200]);
  expect(await keys()).toEqual(['b']);
});

it('counts every change, deletions too, and nothing else', async () => {
  const seq = () => store.seq(TENANT);
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

it('undoes an atomic batch that fails, in the middle of a group, and counts on as if it had not been', async () => {
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
  expect(failed.map(({ status }) => status)).toEqual([424, 424, 412, 424]);
  expect(await keys()).toEqual(['after', 'before']);
  expect(await store.seq(TENANT)).toBe(2);
});

it('reads no value any more after one that the answer has no room for', async () => {
  const large = `"${'x'.repeat(ANSWER_BYTES - 10)}"`;
  for (const key of ['a', 'b', 'c']) await put(key, large);
  const results = await run(['a', 'b', 'c', 'missing', 'a'].map((key) => ({ type: 'get', key })));
  expect(results.map(({ status }) => status)).toEqual([200, 413, 413, 404, 413]);
});

it('tells of a failed atomic batch what there is, not what was undone', async () => {
  await put('a', '1');
  const results = await run(
    [
      { type: 'put', key: 'a', value: '2' },
      { type: 'put', key: 'a', value: '3', condition: (rev) => rev === 1 },
    ],
    { atomic: true },
  );
  expect(results).toEqual([
    expect.objectContaining({ status: 424 }),
    { status: 412, error: 'Precondition failed', rev: 1, value: '1' },
  ]);
});

it('applies nothing new beside a failure that an atomic batch had before', async () => {
  const failing: Operation = { n: 1, type: 'put', key: 'a', value: '1', condition: () => false };
  await run([failing], { client: 'client', atomic: true });
  const results = await run([failing, { n: 2, type: 'put', key: 'b', value: '1' }], {
    client: 'client',
    atomic: true,
  });
  expect(results.map(({ status }) => status)).toEqual([412, 424]);
  expect(await keys()).toEqual([]);
});

it('applies the numbered writes of a client once, also where the same batch waits twice in one group', async () => {
  const batch = () =>
    run(
      [
        { n: 1, type: 'put', key: 'a', value: '1' },
        { n: 2, type: 'put', key: 'a', value: '2', condition: () => false },
      ],
      { client: 'client' },
    );
  const [first, again] = await Promise.all([batch(), batch()]);
  expect(first.map(({ status, rev }) => [status, rev])).toEqual([
    [200, 1],
    [412, 1],
  ]);
  expect(again.map(({ status, rev }) => [status, rev])).toEqual([
    [200, 1],
    [412, 1],
  ]);
  expect(await store.seq(TENANT)).toBe(1);
});

it('forgets tombstones and clients after 30 days, and then refuses the cursors that would miss a deletion', async () => {
  await put('a', '1');
  await put('b', '1');
  await one({ n: 1, type: 'delete', key: 'a' });
  await run([{ n: 1, type: 'delete', key: 'b' }], { client: 'client' });
  await store.expire();
  expect(await store.changes(TENANT, 2, 10)).toMatchObject({
    changes: [{ type: 'delete' }, { type: 'delete' }],
  });
  const past = Date.now() - 31 * 24 * 60 * 60 * 1000;
  database.prepare("UPDATE records SET deleted_at_ms = ? WHERE key = 'a'").run(past);
  database.prepare('UPDATE clients SET used_at_ms = ?').run(past);
  await store.expire();
  expect(await store.changes(TENANT, 2, 10)).toEqual({ seq: 4, lost: 'cursor-gone' });
  expect(await store.changes(TENANT, 3, 10)).toMatchObject({ changes: [{ type: 'delete', key: 'b' }] });
  expect(await store.changes(TENANT, 0, 10)).toMatchObject({ changes: [{ type: 'delete', key: 'b' }] });
  await expect(run([{ n: 2, type: 'put', key: 'a', value: '1' }], { client: 'client' })).rejects.toThrow(
    'client-unknown',
  );
});

it('keeps tenants apart in everything', async () => {
  await put('a', '1');
  await store.run('other', { operations: [{ type: 'put', key: 'b', value: '22' }] });
  expect(await store.read('other', 'a')).toBeUndefined();
  expect(await store.stats('other')).toEqual({ seq: 1, keys: 1, sizeBytes: 2 });
  expect(await store.changes('other', 0, 10)).toMatchObject({ seq: 1, changes: [{ key: 'b' }] });
  await store.run('other', { operations: [{ type: 'clear' }] });
  expect(await keys()).toEqual(['a']);
  expect(await store.seq(TENANT)).toBe(1);
});

it('rejects a whole group where the disk is full, keeps none of it, and goes on afterwards', async () => {
  await put('before', '1');
  database.exec('PRAGMA max_page_count = 40');
  const large = `"${'x'.repeat(1024 * 1024)}"`;
  const results = await Promise.allSettled([put('small', '1'), put('large', large), put('after', '1')]);
  for (const result of results)
    expect(result).toMatchObject({ status: 'rejected', reason: { name: 'StoreError', code: 'full' } });
  expect(await keys()).toEqual(['before']);
  expect(await put('again', '1')).toEqual({ status: 200, rev: 2 });
});

it('rejects a whole group whose commit fails, and keeps none of it', async () => {
  const exec = database.exec.bind(database);
  vi.spyOn(database, 'exec').mockImplementation((sql) => {
    if (sql === 'COMMIT') throw new Error('disk I/O error');
    exec(sql);
  });
  const results = await Promise.allSettled([put('a', '1'), put('b', '1')]);
  for (const result of results) expect(result).toMatchObject({ reason: { code: 'failed' } });
  vi.restoreAllMocks();
  expect(await keys()).toEqual([]);
  await put('c', '1');
  expect(await keys()).toEqual(['c']);
});

it('finishes what waits when it is closed', async () => {
  const writing = put('a', '1');
  await store.close();
  await writing;
  database = openDatabase(join(folder, 'test.db'));
  store = createSqliteStore(database, ANSWER_BYTES);
  expect(await store.read(TENANT, 'a')).toMatchObject({ value: '1' });
});

it('holds on to nothing once a snapshot is left', async () => {
  /** Whether a reader keeps SQLite from emptying the write-ahead log. */
  const isHeld = () => database.prepare('PRAGMA wal_checkpoint(TRUNCATE)').get()?.busy === 1;
  database.exec('PRAGMA busy_timeout = 0');
  for (let index = 0; index < 10; index += 1) await put(`${index}`, `"${'x'.repeat(60_000)}"`);
  const snapshot = store.snapshot(TENANT);
  expect((await snapshot.pages().next()).value).toHaveLength(2);
  await put('0', '1');
  expect(isHeld()).toBe(true);
  const closing = vi.spyOn(DatabaseSync.prototype, 'close');
  snapshot.close();
  expect(isHeld()).toBe(false);
  expect(closing).toHaveBeenCalledTimes(1);
});

it('makes a new epoch for every new database', async () => {
  const other = createSqliteStore(openDatabase(join(folder, 'other.db')), ANSWER_BYTES);
  expect(other.epoch).not.toBe(store.epoch);
  await other.close();
});
