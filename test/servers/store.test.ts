/** The store: what a group of writes promises to each of them, and what a snapshot holds on to. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { openDatabase } from '../../examples/server/src/store/database.ts';
import { createSqliteStore } from '../../examples/server/src/store/sqlite-store.ts';
import type { Store } from '../../examples/server/src/store/store.ts';

let folder = '';
let database: DatabaseSync;
let store: Store;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'codeforge-store-'));
  database = openDatabase(join(folder, 'test.db'));
  store = createSqliteStore(database);
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

const put = (key: string, value: string) => store.write({ type: 'put', key, value });

it('commits writes that wait together in one transaction', async () => {
  const commits = counting('COMMIT');
  const outcomes = await Promise.all(Array.from({ length: 200 }, (_, index) => put(`key-${index}`, '1')));
  expect(commits()).toBe(1);
  expect(new Set(outcomes.map((outcome) => outcome.status === 'done' && outcome.tag)).size).toBe(200);
  expect(await store.keys()).toHaveLength(200);
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

it('judges each write of a group by the state that the one before it left', async () => {
  const absent = (tag: string | undefined) => tag === undefined;
  const outcomes = await Promise.all([
    store.write({ type: 'put', key: 'a', value: '1', condition: absent }),
    store.write({ type: 'put', key: 'a', value: '2', condition: absent }),
    store.write({ type: 'delete', key: 'a' }),
    store.write({ type: 'delete', key: 'a' }),
    store.write({ type: 'put', key: 'a', value: '3', condition: absent }),
    store.write({ type: 'clear' }),
    store.write({ type: 'import', entries: [['b', '4']] }),
  ]);
  expect(outcomes.map(({ status }) => status)).toEqual([
    ...['done', 'condition-failed', 'done', 'missing', 'done', 'done', 'done'],
  ]);
  expect(await store.keys()).toEqual(['b']);
});

it('counts every change, deletions too, and nothing else', async () => {
  const seq = () => database.prepare("SELECT value FROM meta WHERE name = 'seq'").get()?.value;
  expect(seq()).toBe(0);
  await Promise.all([put('a', '1'), put('a', '1')]);
  await store.write({
    type: 'import',
    entries: [
      ['b', '1'],
      ['c', '1'],
    ],
  });
  expect(seq()).toBe(4);
  await store.write({ type: 'delete', key: 'missing' });
  await store.write({ type: 'put', key: 'a', value: '2', condition: () => false });
  expect(seq()).toBe(4);
  await store.write({ type: 'delete', key: 'a' });
  await store.write({ type: 'clear' });
  expect(seq()).toBe(6);
});

it('rejects a whole group where the disk is full, keeps none of it, and goes on afterwards', async () => {
  await put('before', '1');
  database.exec('PRAGMA max_page_count = 20');
  const large = `"${'x'.repeat(1024 * 1024)}"`;
  const results = await Promise.allSettled([put('small', '1'), put('large', large), put('after', '1')]);
  for (const result of results)
    expect(result).toMatchObject({ status: 'rejected', reason: { name: 'StoreError', code: 'full' } });
  expect(await store.keys()).toEqual(['before']);
  const outcome = await put('again', '1');
  expect(outcome.status === 'done' && outcome.tag).toMatch(/\.2$/);
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
  expect(await store.keys()).toEqual([]);
  await put('c', '1');
  expect(await store.keys()).toEqual(['c']);
});

it('finishes what waits when it is closed', async () => {
  const writing = put('a', '1');
  await store.close();
  await writing;
  database = openDatabase(join(folder, 'test.db'));
  store = createSqliteStore(database);
  expect(await store.read('a')).toMatchObject({ value: '1' });
});

it('holds on to nothing once a snapshot is left', async () => {
  /** Whether a reader keeps SQLite from emptying the write-ahead log. */
  const isHeld = () => database.prepare('PRAGMA wal_checkpoint(TRUNCATE)').get()?.busy === 1;
  database.exec('PRAGMA busy_timeout = 0');
  for (let index = 0; index < 10; index += 1) await put(`${index}`, `"${'x'.repeat(60_000)}"`);
  const snapshot = store.snapshot();
  expect((await snapshot.next()).value).toHaveLength(2);
  await put('0', '1');
  expect(isHeld()).toBe(true);
  const closing = vi.spyOn(DatabaseSync.prototype, 'close');
  await snapshot.return();
  expect(isHeld()).toBe(false);
  expect(closing).toHaveBeenCalledTimes(1);
});

it('makes a new epoch for every new database', async () => {
  const tag = (await put('a', '1')) as { tag: string };
  const other = createSqliteStore(openDatabase(join(folder, 'other.db')));
  const otherTag = (await other.write({ type: 'put', key: 'a', value: '1' })) as { tag: string };
  await other.close();
  expect(otherTag.tag).not.toBe(tag.tag);
  expect(otherTag.tag).toMatch(/^\w+\.1$/);
});
