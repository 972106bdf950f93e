/**
 * The store over a SQLite file in bad company: another process has the lock, a tenant is large, the disk is full. Whatever
 * takes long leaves the event loop to other requests.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openDatabase } from '../../examples/server/src/store/sqlite/database.ts';
import { createSqliteStore } from '../../examples/server/src/store/sqlite/store.ts';
import type { Operation, Store } from '../../examples/server/src/store/store.ts';

const TENANT = 'default';
/** More than the store reads or deletes at once. */
const MANY = 5000;

let folder = '';
let path = '';
let store: Store;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'codeforge-sqlite-'));
  path = join(folder, 'test.db');
  store = createSqliteStore(openDatabase(path), 8 * 1024 * 1024);
});
afterEach(async () => {
  await store.close();
  rmSync(folder, { recursive: true, force: true });
});

const run = (...operations: Operation[]) => store.run(TENANT, { operations });
const put = (key: string, value = '1') => run({ type: 'put', key, value });
const name = (index: number): string => `key-${String(index).padStart(6, '0')}`;
const putMany = () =>
  run(
    ...Array.from(
      { length: MANY },
      (_, index): Operation => ({ type: 'put', key: name(index), value: '"v"' }),
    ),
  );

async function all<Item>(pages: AsyncGenerator<readonly Item[], void>): Promise<Item[]> {
  const items: Item[] = [];
  for await (const page of pages) items.push(...page);
  return items;
}

/** How many tasks of the event loop ran while `work` was carried out. */
async function tasksDuring(work: Promise<unknown>): Promise<number> {
  let tasks = 0;
  let isDone = false;
  const count = (): void => {
    tasks += 1;
    if (!isDone) setImmediate(count);
  };
  setImmediate(count);
  await work;
  isDone = true;
  return tasks;
}

describe('while another process has the write lock', () => {
  it('reads go on, and writes are carried out in their order when it is free', async () => {
    await put('a', '1');
    using other = new DatabaseSync(path);
    other.exec('BEGIN IMMEDIATE');
    const settled: string[] = [];
    const writes = ['b', 'c'].map((key) => put(key).then(() => settled.push(key)));
    expect(await store.read(TENANT, 'a')).toEqual({ value: '1', rev: 1 });
    expect(await store.seq(TENANT)).toBe(1);
    expect((await store.stats(TENANT)).keys).toBe(1);
    expect(settled).toEqual([]);
    other.exec('COMMIT');
    await Promise.all(writes);
    expect(settled).toEqual(['b', 'c']);
    expect(await store.seq(TENANT)).toBe(3);
  });

  it('a write rejects as busy after five seconds, and later ones at once until the lock is free', async () => {
    using other = new DatabaseSync(path);
    other.exec('BEGIN IMMEDIATE');
    const begun = performance.now();
    const first = put('a');
    // Not in the same group.
    await store.seq(TENANT);
    const results = await Promise.allSettled([first, put('b')]);
    for (const result of results) expect(result).toMatchObject({ reason: { code: 'busy' } });
    expect(performance.now() - begun).toBeLessThan(8000);
    other.exec('COMMIT');
    await put('c');
    expect(await store.seq(TENANT)).toBe(1);
  });
});

describe('a large tenant', () => {
  beforeEach(putMany);

  it('is counted in slices, over one state', async () => {
    const counting = store.stats(TENANT);
    const isServedMeanwhile = tasksDuring(counting);
    await put('later', '"later"');
    const { seq, ...counts } = await counting;
    expect([
      { seq: MANY, keys: MANY, sizeBytes: 3 * MANY },
      { seq: MANY + 1, keys: MANY + 1, sizeBytes: 3 * MANY + 7 },
    ]).toContainEqual({ seq, ...counts });
    expect(await isServedMeanwhile).toBeGreaterThanOrEqual(MANY / 1000);
  });

  it('is listed and exported in slices, over one state', async () => {
    const snapshot = await store.snapshot(TENANT);
    await run({ type: 'delete', key: name(0) }, { type: 'put', key: 'later', value: '1' });
    const listing = all(snapshot.keys());
    expect(await tasksDuring(listing)).toBeGreaterThanOrEqual(MANY / 1000);
    const keys = Array.from({ length: MANY }, (_, index) => name(index));
    expect(await listing).toEqual(keys);
    expect((await all(snapshot.pages())).map(({ key }) => key)).toEqual(keys);
    await snapshot.close();
  });

  it('whose keys were deleted one by one is counted and listed in slices too', async () => {
    await run(
      ...Array.from({ length: MANY }, (_, index): Operation => ({ type: 'delete', key: name(index) })),
    );
    await put('left', '1');
    const counting = store.stats(TENANT);
    expect(await tasksDuring(counting)).toBeGreaterThanOrEqual(MANY / 1000);
    expect(await counting).toMatchObject({ keys: 1, sizeBytes: 1 });
    const snapshot = await store.snapshot(TENANT);
    expect(await all(snapshot.keys())).toEqual(['left']);
    await snapshot.close();
  });

  it('is empty when its clear resolves, however many rows are still to be deleted', async () => {
    await run({ type: 'clear' }, { type: 'put', key: name(7), value: '7' });
    expect(await store.stats(TENANT)).toEqual({ seq: MANY + 2, keys: 1, sizeBytes: 1 });
    expect(await store.list(TENANT, { prefix: '', after: '', limit: 10 })).toMatchObject({
      keys: [{ key: name(7), rev: MANY + 2 }],
      more: false,
    });
    expect(await store.read(TENANT, name(8))).toBeUndefined();
    expect(await store.changes(TENANT, 10, 10)).toEqual({
      seq: MANY + 2,
      changes: [
        { type: 'clear', rev: MANY + 1 },
        { type: 'put', key: name(7), rev: MANY + 2, value: '7' },
      ],
      more: false,
    });
    const results = await run(
      { type: 'get', key: name(8) },
      { type: 'head', key: name(9) },
      { type: 'delete', key: name(9) },
      { type: 'put', key: name(10), value: '10', condition: (rev) => rev === undefined },
    );
    expect('results' in results && results.results.map(({ outcome }) => outcome)).toEqual([
      ...['missing', 'missing', 'missing', 'ok'],
    ]);
    const snapshot = await store.snapshot(TENANT);
    expect((await all(snapshot.pages())).map(({ key }) => key)).toEqual([name(7), name(10)]);
    await snapshot.close();
    using reader = new DatabaseSync(path, { readOnly: true });
    const rows = () => reader.prepare('SELECT COUNT(*) AS count FROM records').get()?.count;
    await expect.poll(rows, { timeout: 10_000 }).toBe(2);
  });

  it('whose clear was cut off by the end of the process loses its rows at the next start', async () => {
    await run({ type: 'clear' });
    await store.close();
    using reader = new DatabaseSync(path);
    const rows = () => reader.prepare('SELECT COUNT(*) AS count FROM records').get()?.count;
    expect(rows()).toBeGreaterThan(0);
    store = createSqliteStore(openDatabase(path), 1000);
    await expect.poll(rows, { timeout: 10_000 }).toBe(0);
  });
});

it('the write-ahead log that a slow snapshot has made long is cut when the snapshot closes', async () => {
  const snapshot = await store.snapshot(TENANT);
  for (let round = 0; round < 40; round += 1) await put('a', `"${String(round % 10).repeat(1024 * 1024)}"`);
  const size = () => statSync(`${path}-wal`).size;
  expect(size()).toBeGreaterThan(32 * 1024 * 1024);
  await snapshot.close();
  await expect.poll(size).toBe(0);
  expect(statSync(path).size).toBeLessThan(8 * 1024 * 1024);
});

describe('a full disk', () => {
  let disk = '';
  let full: Store;
  const fill = async (): Promise<void> => {
    for (let index = 0; ; index += 1) {
      const result = await full
        .run(TENANT, { operations: [{ type: 'put', key: name(index), value: `"${'x'.repeat(20_000)}"` }] })
        .catch(({ code }) => code);
      if (result === 'full') return;
    }
  };

  beforeEach(() => {
    disk = join(folder, 'disk');
    mkdirSync(disk);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=24m', 'tmpfs', disk]);
    full = createSqliteStore(openDatabase(join(disk, 'full.db')), 8 * 1024 * 1024);
  });
  afterEach(async () => {
    await full.close();
    execFileSync('umount', [disk]);
  });
  const write = (...operations: Operation[]) => full.run(TENANT, { operations });
  const takesWritesAgain = (): Promise<void> =>
    expect
      .poll(
        () =>
          write({ type: 'put', key: 'new', value: '1' }).then(
            () => 'stored',
            ({ code }) => code,
          ),
        { timeout: 5000 },
      )
      .toBe('stored');

  it.runIf(canMount())('takes deletions, and afterwards writes again', async () => {
    await fill();
    const before = await full.stats(TENANT);
    // In one group: what makes room is carried out, the rest is refused.
    const [putting, deleting, both] = await Promise.allSettled([
      write({ type: 'put', key: 'new', value: '1' }),
      write(...Array.from({ length: 200 }, (_, index): Operation => ({ type: 'delete', key: name(index) }))),
      write({ type: 'delete', key: name(300) }, { type: 'put', key: 'new', value: '1' }),
    ]);
    expect([putting, both]).toMatchObject([{ reason: { code: 'full' } }, { reason: { code: 'full' } }]);
    expect(deleting.status).toBe('fulfilled');
    expect((await full.stats(TENANT)).keys).toBe(before.keys - 200);
    await takesWritesAgain();
  });

  it.runIf(canMount())('takes a clear of everything', async () => {
    await fill();
    expect(await write({ type: 'clear' })).toMatchObject({ results: [{ outcome: 'ok' }] });
    expect(await full.stats(TENANT)).toMatchObject({ keys: 0 });
    await takesWritesAgain();
  });

  it.runIf(canMount())('refuses writes while the reserve for deletions cannot be written', async () => {
    rmSync(join(disk, 'full.db-reserve'), { force: true });
    try {
      writeFileSync(join(disk, 'other'), Buffer.alloc(64 * 1024 * 1024));
    } catch {
      // It has taken everything that was left.
    }
    await expect(write({ type: 'put', key: 'new', value: '1' })).rejects.toMatchObject({ code: 'full' });
    rmSync(join(disk, 'other'));
    await takesWritesAgain();
  });
});

/** Only root may, and not in every container. */
function canMount(): boolean {
  const place = mkdtempSync(join(tmpdir(), 'codeforge-mount-'));
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', place], { stdio: 'ignore' });
    execFileSync('umount', [place]);
    return true;
  } catch {
    return false;
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
}
