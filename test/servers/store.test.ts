/** The store over SQLite: what each write of a group may rely on, and isolation. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { openDatabase } from '../../examples/server/src/store/sqlite/database.ts';
import { createSqliteStore } from '../../examples/server/src/store/sqlite/store.ts';
import type { Batch, Operation, Result, Store } from '../../examples/server/src/store/store.ts';

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

/** Counts executions of `statement` from now on. */
function counting(statement: string): () => number {
  const exec = vi.spyOn(database, 'exec');
  return () => exec.mock.calls.filter(([sql]) => sql === statement).length;
}

/** The results of a batch that applied. */
async function run(operations: readonly Operation[], batch: Omit<Batch, 'operations'> = {}) {
  const outcome = await store.run(TENANT, { operations, ...batch });
  if ('refused' in outcome) throw new Error(outcome.refused);
  return outcome.results;
}
const one = async (operation: Operation): Promise<Result> => (await run([operation]))[0] as Result;
const put = (key: string, value: string) => one({ type: 'put', key, value });
const words = (results: readonly Result[]) => results.map(({ outcome }) => outcome);
const valueIn = (result: Result) => ('value' in result ? result.value : undefined);
const revOf = (result: Result) => ('rev' in result ? result.rev : undefined);
const keys = async () =>
  (await store.list(TENANT, { prefix: '', after: '', limit: 1000 })).keys.map(({ key }) => key);

it('concurrent writes share one commit', async () => {
  const commits = counting('COMMIT');
  const outcomes = await Promise.all(Array.from({ length: 200 }, (_, index) => put(`key-${index}`, '1')));
  expect(commits()).toBe(1);
  expect(new Set(outcomes.map(revOf)).size).toBe(200);
  expect(await keys()).toHaveLength(200);
});

it('no write settles before its commit', async () => {
  const events: string[] = [];
  const exec = database.exec.bind(database);
  vi.spyOn(database, 'exec').mockImplementation((sql) => {
    exec(sql);
    events.push(sql);
  });
  await Promise.all([1, 2].map((value) => put('a', `${value}`).then(() => events.push('settled'))));
  expect(events).toEqual(['BEGIN IMMEDIATE', 'COMMIT', 'settled', 'settled']);
});

it('a group waits for further writes as long as each turn of the loop brings some, and no longer', async () => {
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

it('concurrent reads see one state, which is not older than any of the calls', async () => {
  const begins = counting('BEGIN');
  const first = store.read(TENANT, 'a');
  // Another process commits between two reads of one group.
  const other = new DatabaseSync(join(folder, 'test.db'));
  other.exec(`BEGIN; INSERT INTO tenants (tenant, seq) VALUES ('${TENANT}', 2);
    INSERT INTO records (tenant, key, value, rev) VALUES ('${TENANT}', 'a', '1', 1), ('${TENANT}', 'b', '1', 2); COMMIT`);
  other.close();
  const read = await Promise.all([first, store.read(TENANT, 'b'), store.seq(TENANT)]);
  expect(read).toEqual([{ value: '1', rev: 1 }, { value: '1', rev: 2 }, 2]);
  expect(begins()).toBe(1);
});

it('a failed atomic batch reports the stored state, not an undone one', async () => {
  await put('a', '1');
  const results = await run(
    [
      { type: 'put', key: 'a', value: '2' },
      { type: 'put', key: 'a', value: '3', condition: (rev) => rev === 1 },
    ],
    { atomic: true },
  );
  expect(results).toEqual([{ outcome: 'not-applied' }, { outcome: 'condition-failed', rev: 1, value: '1' }]);
});

it('a database of a version without mutations opens, with its data, and takes them', async () => {
  await put('a', '1');
  database.exec(`DROP TABLE mutations; DROP TABLE mutation_clients;
    CREATE TABLE clients (
      tenant TEXT NOT NULL, client TEXT NOT NULL, first_n INTEGER NOT NULL, last_n INTEGER NOT NULL,
      results TEXT NOT NULL, used_at_ms INTEGER NOT NULL, PRIMARY KEY (tenant, client)) WITHOUT ROWID`);
  await store.close();
  database = openDatabase(join(folder, 'test.db'));
  store = createSqliteStore(database, ANSWER_BYTES);
  expect(await store.read(TENANT, 'a')).toEqual({ value: '1', rev: 1 });
  const remove = () => run([{ type: 'delete', key: 'a' }], { client: 'client', m: 1 });
  expect(await remove()).toEqual([{ outcome: 'ok', rev: 2 }]);
  expect(await remove()).toEqual([{ outcome: 'ok', rev: 2 }]);
});

it('when the disk is full, the whole group rejects, none of it is stored, and later writes succeed', async () => {
  await put('before', '1');
  database.exec('PRAGMA max_page_count = 40');
  const large = `"${'x'.repeat(1024 * 1024)}"`;
  const mutation = () => run([{ type: 'put', key: 'again', value: '1' }], { client: 'client', m: 1 });
  const results = await Promise.allSettled([
    put('small', '1'),
    put('large', large),
    put('after', '1'),
    mutation(),
  ]);
  for (const result of results)
    expect(result).toMatchObject({ status: 'rejected', reason: { name: 'StoreError', code: 'full' } });
  expect(await keys()).toEqual(['before']);
  expect(await mutation()).toEqual([{ outcome: 'ok', rev: 2 }]);
});

it('when a commit fails, the whole group rejects and none of it is stored', async () => {
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

it('close finishes waiting calls', async () => {
  const writing = put('a', '1');
  await store.close();
  await writing;
  database = openDatabase(join(folder, 'test.db'));
  store = createSqliteStore(database, ANSWER_BYTES);
  expect(await store.read(TENANT, 'a')).toMatchObject({ value: '1' });
});

it('a closed snapshot holds no resources', async () => {
  /** Whether a reader prevents SQLite from truncating the write-ahead log. */
  const isHeld = () => database.prepare('PRAGMA wal_checkpoint(TRUNCATE)').get()?.busy === 1;
  database.exec('PRAGMA busy_timeout = 0');
  for (let index = 0; index < 10; index += 1) await put(`${index}`, `"${'x'.repeat(60_000)}"`);
  const snapshot = await store.snapshot(TENANT);
  expect((await snapshot.pages().next()).value).toHaveLength(2);
  await put('0', '1');
  expect(isHeld()).toBe(true);
  const closing = vi.spyOn(DatabaseSync.prototype, 'close');
  await snapshot.close();
  expect(isHeld()).toBe(false);
  expect(closing).toHaveBeenCalledTimes(1);
});

describe('isolation', () => {
  /**
   * 64 clients write `x` and `y` together, some in atomic batches that fail and must leave nothing. Readers start at
   * every point of the event loop, also in microtasks while a transaction is open.
   */
  it('no read sees uncommitted data and no two transactions overlap, with 64 concurrent batches and reads', async () => {
    /** The transactions in the order of their statements. */
    const statements: string[] = [];
    /** Every state of `x` and `y` that another connection could read after a commit. */
    const committed = new Set(['undefined/undefined']);
    using outside = new DatabaseSync(join(folder, 'test.db'), { readOnly: true });
    const valueOutside = outside.prepare('SELECT value FROM records WHERE key = ?');
    const states: string[] = [];
    const reads: Array<Promise<unknown>> = [];
    const read = (): void => {
      reads.push(
        run([
          { type: 'get', key: 'x' },
          { type: 'get', key: 'y' },
        ]).then((results) => states.push(results.map((result) => valueIn(result)).join('/'))),
        Promise.all(['x', 'y'].map((key) => store.read(TENANT, key))).then((entries) =>
          states.push(entries.map((entry) => entry?.value).join('/')),
        ),
      );
    };
    const exec = database.exec.bind(database);
    vi.spyOn(database, 'exec').mockImplementation((sql) => {
      exec(sql);
      statements.push(sql.split(' ')[0] as string);
      if (sql === 'COMMIT') committed.add(['x', 'y'].map((key) => valueOutside.get(key)?.value).join('/'));
      // A microtask runs while the transaction is open.
      if (sql === 'BEGIN IMMEDIATE') queueMicrotask(read);
    });

    let applied = 0;
    const client = async (id: number): Promise<void> => {
      for (let round = 0; round < 8; round += 1) {
        const value = `${id}.${round}`;
        const isBad = (id + round) % 3 === 0;
        if (!isBad) applied += 1;
        const results = await run(
          [
            { type: 'put', key: 'x', value: isBad ? '"undone"' : value },
            { type: 'put', key: 'y', value: isBad ? '"undone"' : value },
            ...(isBad ? [{ type: 'put', key: 'x', value: '"undone"', condition: () => false } as const] : []),
          ],
          { atomic: true },
        );
        expect(words(results)).toEqual(
          isBad ? ['not-applied', 'not-applied', 'condition-failed'] : ['ok', 'ok'],
        );
        [read, () => queueMicrotask(read), () => process.nextTick(read), () => setImmediate(read)][
          id % 4
        ]?.();
        if (id % 5 === 0) await new Promise((resolve) => setImmediate(resolve));
      }
    };
    await Promise.all(Array.from({ length: 64 }, (_, id) => client(id)));
    await new Promise((resolve) => setImmediate(resolve));
    await Promise.all(reads);

    for (const [i, statement] of statements.entries())
      expect(statement, `statement ${i}`).toBe(i % 2 === 0 ? 'BEGIN' : 'COMMIT');
    expect(states.length).toBeGreaterThan(2 * 64 * 8);
    expect(states.filter((state) => !committed.has(state))).toEqual([]);
    expect(await store.seq(TENANT)).toBe(2 * applied);
  });

  it('a transaction begins and commits within one task of the event loop', async () => {
    let task = 0;
    let isCounting = true;
    const count = (): void => {
      task += 1;
      if (isCounting) setImmediate(count);
    };
    count();
    const exec = database.exec.bind(database);
    const begun: number[] = [];
    const ended: number[] = [];
    vi.spyOn(database, 'exec').mockImplementation((sql) => {
      if (sql.startsWith('BEGIN')) begun.push(task);
      exec(sql);
      if (sql === 'COMMIT') ended.push(task);
    });
    await Promise.all(
      Array.from({ length: 300 }, (_, i) =>
        run(
          [
            { type: 'get', key: `${i}` },
            { type: 'put', key: `${i}`, value: '1', condition: () => true },
            { type: 'delete', key: `${i}` },
          ],
          { atomic: i % 2 === 0, client: `client-${i}`, m: 1 },
        ),
      ),
    );
    isCounting = false;
    expect(ended.length).toBeGreaterThan(0);
    expect(ended).toEqual(begun);
  });

  it('an expiry that starts while a transaction is open waits for its end', async () => {
    const exec = database.exec.bind(database);
    let expiry: Promise<void> | undefined;
    vi.spyOn(database, 'exec').mockImplementation((sql) => {
      exec(sql);
      if (sql === 'BEGIN IMMEDIATE' && !expiry) queueMicrotask(() => (expiry = store.expire()));
    });
    expect(await put('a', '1')).toEqual({ outcome: 'ok', rev: 1 });
    await expiry;
    expect(await keys()).toEqual(['a']);
  });
});
