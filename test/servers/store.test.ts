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

it('each write of a group sees the state that the one before it left', async () => {
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

it('an atomic batch that fails in the middle of a group is undone, and its numbers are used by the next one', async () => {
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
  expect(await store.seq(TENANT)).toBe(2);
});

it('after a value without room in the answer, no further value is returned', async () => {
  const large = `"${'x'.repeat(ANSWER_BYTES - 10)}"`;
  for (const key of ['a', 'b', 'c']) await put(key, large);
  const results = await run(['a', 'b', 'c', 'missing', 'a'].map((key) => ({ type: 'get', key })));
  expect(words(results)).toEqual([
    'ok',
    'answer-too-large',
    'answer-too-large',
    'missing',
    'answer-too-large',
  ]);
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

it('a mutation applies once, even if it is twice in one group', async () => {
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
  expect(await store.seq(TENANT)).toBe(1);
});

it('the results of settled mutations are deleted in bulk, so a client has few rows', async () => {
  const rows = () => Number(database.prepare('SELECT COUNT(*) AS rows FROM mutations').get()?.rows);
  let most = 0;
  for (let m = 1; m <= 300; m += 1) {
    await run([{ type: 'put', key: 'a', value: '1' }], { client: 'client', m, settled: m - 1 });
    most = Math.max(most, rows());
  }
  expect(most).toBeLessThanOrEqual(8);
  await run([], { client: 'client', settled: 1000 });
  expect(rows()).toBe(0);
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

it('a client and its mutations are forgotten 30 days after the last of them', async () => {
  const send = (client: string, m: number) => run([{ type: 'put', key: 'a', value: '1' }], { client, m });
  for (const client of ['silent', 'active']) for (const m of [1, 2]) await send(client, m);
  const past = Date.now() - 31 * 24 * 60 * 60 * 1000;
  database.prepare('UPDATE mutation_clients SET used_at_ms = ?').run(past);
  await send('active', 2);
  await store.expire();
  expect(await send('active', 1)).toEqual([{ outcome: 'ok', rev: 3 }]);
  expect(await send('silent', 1)).toEqual([{ outcome: 'ok', rev: 5 }]);
  const tops = ['silent', 'active'].map((client) => store.run(TENANT, { operations: [], client }));
  expect(await Promise.all(tops)).toMatchObject([{ top: 1 }, { top: 2 }]);
});

it('tombstones expire after 30 days, and then cursors that would miss a deletion are refused', async () => {
  await put('a', '1');
  await put('b', '1');
  await one({ type: 'delete', key: 'a' });
  await one({ type: 'delete', key: 'b' });
  await store.expire();
  expect(await store.changes(TENANT, 2, 10)).toMatchObject({
    changes: [{ type: 'delete' }, { type: 'delete' }],
  });
  const past = Date.now() - 31 * 24 * 60 * 60 * 1000;
  database.prepare("UPDATE records SET deleted_at_ms = ? WHERE key = 'a'").run(past);
  await store.expire();
  expect(await store.changes(TENANT, 2, 10)).toEqual({ seq: 4, lost: 'cursor-gone' });
  expect(await store.changes(TENANT, 3, 10)).toMatchObject({ changes: [{ type: 'delete', key: 'b' }] });
  expect(await store.changes(TENANT, 0, 10)).toMatchObject({ changes: [{ type: 'delete', key: 'b' }] });
});

it('no tenant sees or changes the data of another', async () => {
  await put('a', '1');
  await store.run('other', { operations: [{ type: 'put', key: 'b', value: '22' }] });
  expect(await store.read('other', 'a')).toBeUndefined();
  expect(await store.stats('other')).toEqual({ seq: 1, keys: 1, sizeBytes: 2 });
  expect(await store.changes('other', 0, 10)).toMatchObject({ seq: 1, changes: [{ key: 'b' }] });
  await store.run('other', { operations: [{ type: 'clear' }] });
  expect(await keys()).toEqual(['a']);
  expect(await store.seq(TENANT)).toBe(1);
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

it('every new database has its own epoch', async () => {
  const other = createSqliteStore(openDatabase(join(folder, 'other.db')), ANSWER_BYTES);
  expect(other.epoch).not.toBe(store.epoch);
  await other.close();
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
