/** The backups that a server makes by itself (BACKUP_EVERY), and `codeforge-storage restore`. */
import { createHash } from 'node:crypto';
import { mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { writeBackupFile } from '../../examples/server/src/backup/file.ts';
import { parseDatabaseUrl } from '../../examples/server/src/database-url.ts';
import { openStore } from '../../examples/server/src/open-store.ts';
import { restoreBackup } from '../../examples/server/src/restore.ts';
import type { Store } from '../../examples/server/src/store/store.ts';
import { run as runCommand } from '../cli/command.ts';
import { startMariadb } from '../support/databases/mariadb.ts';
import { startPostgres } from '../support/databases/postgres.ts';
import { DATABASES, databaseSkipReason } from '../support/databases/programs.ts';
import { ownDatabase } from '../support/own-database.ts';
import type { RunningServer } from '../support/running-server.ts';
import { syncedStorages } from '../support/synced-storages.ts';

const { start, stop, folder, path } = ownDatabase();
const open = syncedStorages();

/** Longer than a busy machine needs. */
const SOON = { timeout: 60_000, interval: 50 };

const entry = (tenant: string): string =>
  `${tenant}:admin:${createHash('sha256').update(tenant).digest('hex')}`;

const put = (server: RunningServer, key: string, value: unknown, tenant = '') =>
  fetch(`${server.url}/api/storage/${key}`, {
    method: 'PUT',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${tenant}` },
    body: JSON.stringify({ value }),
  });
const get = async (server: RunningServer, key: string, tenant = '') =>
  (
    await (
      await fetch(`${server.url}/api/storage/${key}`, { headers: { authorization: `Bearer ${tenant}` } })
    ).json()
  ).value;
const backupsIn = async (directory: string): Promise<string[]> =>
  (await readdir(directory).catch(() => [])).filter((name) => !name.startsWith('.')).sort();

/** The backups that a server has logged. */
const made = (server: RunningServer) =>
  server
    .output()
    .split('\n')
    .filter((line) => line.includes('"made a backup'))
    .map((line) => JSON.parse(line));

const silent = { info() {}, warn() {} };
const openAt = (url: string): Promise<Store> =>
  openStore(
    {
      database: parseDatabaseUrl(url),
      poolSize: 3,
      restored: false,
      maxBodyBytes: 8 << 20,
      quotaOf: () => undefined,
    },
    8 << 20,
    silent,
  );
const options = { dryRun: false, signal: new AbortController().signal };

it('backs up all tenants on a schedule, keeps the newest, and what is restored from one is what was stored', async () => {
  const directory = join(folder(), 'backups');
  const TOKENS = `${entry('one')} ${entry('two')}`;
  const settings = { BACKUP_EVERY: '1s', BACKUP_KEEP: '2', BACKUP_DIR: directory };
  const server = await start({ ...settings, TOKENS, METRICS_PORT: '0' });
  await put(server, 'a', { deep: [1, 'é'] }, 'one');
  await put(server, 'a', 'another', 'two');
  await put(server, 'gone', 1, 'two');
  await fetch(`${server.url}/api/storage/gone`, {
    method: 'DELETE',
    headers: { authorization: 'Bearer two' },
  });
  const isWhole = () => made(server).findIndex(({ tenants, keys }) => tenants === 2 && keys === 2);
  await expect.poll(isWhole, SOON).not.toBe(-1);
  const first = isWhole();
  await expect.poll(() => made(server).length, SOON).toBeGreaterThan(first + 3);
  const url = /"url":"(http[^"]+\/metrics)"/.exec(server.output())?.[1] as string;
  const metrics = await (await fetch(url)).text();
  expect(Number(/storage_backups_total{outcome="ok"} (\d+)/.exec(metrics)?.[1])).toBeGreaterThanOrEqual(3);
  expect(Number(/^storage_backup_last_success_timestamp_seconds (.+)$/m.exec(metrics)?.[1])).toBeGreaterThan(
    0,
  );
  expect(await stop(server)).toBe(0);
  const names = await backupsIn(directory);
  expect(names).toHaveLength(2);
  expect((await readdir(directory)).filter((name) => name.startsWith('.'))).toEqual([]);

  const file = join(directory, names[1] as string);
  const fresh = join(folder(), 'restored.db');
  const dry = await runCommand(['restore', file, '--database', fresh, '--dry-run', '--json']);
  expect([dry.code, JSON.parse(dry.stdout)]).toMatchObject([
    0,
    { ok: true, dryRun: true, tenants: 2, keys: 2 },
  ]);
  expect(await readdir(folder())).not.toContain('restored.db');
  const { code, stdout } = await runCommand(['restore', file, '--database', fresh]);
  expect([code, stdout]).toEqual([
    0,
    expect.stringMatching(/^Restored 2 keys of 2 tenants into .*restored\.db, as epoch \w+/),
  ]);
  const again = await runCommand(['restore', file, '--database', fresh]);
  expect([again.code, again.stderr]).toEqual([1, expect.stringContaining('has data already')]);

  const second = await start({ TOKENS, DATABASE_PATH: fresh });
  expect(await get(second, 'a', 'one')).toEqual({ deep: [1, 'é'] });
  expect(await get(second, 'a', 'two')).toBe('another');
  expect(await get(second, 'gone', 'two')).toBeUndefined();
});

it('a restart neither skips a backup nor makes one before it is due', async () => {
  const directory = join(folder(), 'due');
  const settings = { BACKUP_EVERY: '1d', BACKUP_DIR: directory };
  const first = await start(settings);
  await expect.poll(() => made(first).length, SOON).toBe(1);
  await stop(first);
  const second = await start({ ...settings, METRICS_PORT: '0' });
  await put(second, 'a', 1);
  // An alert on the age of the newest backup stays silent after a restart.
  const newest = async (): Promise<number> => {
    const url = /"url":"(http[^"]+\/metrics)"/.exec(second.output())?.[1] ?? '';
    const text = await (await fetch(url)).text();
    return Number(/^storage_backup_last_success_timestamp_seconds (.+)$/m.exec(text)?.[1]);
  };
  await expect.poll(newest, SOON).toBeGreaterThan(Date.now() / 1000 - 3600);
  await stop(second);
  expect(made(second)).toEqual([]);
  const [name = ''] = await backupsIn(directory);
  const older = new Date(Date.now() - 25 * 3_600_000).toISOString().replace(/[:.]/g, '-');
  await rename(join(directory, name), join(directory, `codeforge-${older}.backup.gz`));
  const third = await start(settings);
  await expect.poll(() => made(third).length, SOON).toBe(1);
  expect(await backupsIn(directory)).toHaveLength(2);
});

it('a backup and an export are not called damaged where the command for the other kind reads them', async () => {
  const directory = join(folder(), 'kinds');
  const server = await start({ BACKUP_EVERY: '1d', BACKUP_DIR: directory });
  await expect.poll(() => made(server).length, SOON).toBe(1);
  const [name = ''] = await backupsIn(directory);
  for (const args of [['verify'], ['import', server.url]]) {
    const { code, stderr } = await runCommand([...args, join(directory, name)]);
    expect([code, stderr]).toEqual([5, expect.stringContaining('"restore --dry-run"')]);
  }
  const exported = join(folder(), 'export.ndjson');
  await writeFile(exported, await (await fetch(`${server.url}/api/v1/export`)).text());
  const { code, stderr } = await runCommand(['restore', exported, '--dry-run']);
  expect([code, stderr]).toEqual([5, expect.stringContaining('codeforge-storage import')]);
});

it('a backup that fails is logged and counted, removes nothing, and is tried again while the server goes on', async () => {
  const directory = join(folder(), 'in-the-way');
  await writeFile(directory, 'a file');
  const server = await start({ BACKUP_EVERY: '1s', BACKUP_DIR: directory });
  await expect.poll(() => server.output(), SOON).toContain('the backup failed');
  expect((await put(server, 'a', 1)).status).toBe(200);
  await rm(directory);
  await expect.poll(() => made(server).length, SOON).toBeGreaterThan(0);
});

it('a client notices a restore: what the server has lost is kept on the device', async () => {
  const directory = join(folder(), 'client');
  const server = await start({ BACKUP_EVERY: '1d', BACKUP_DIR: directory });
  const port = Number(new URL(server.url).port);
  await expect.poll(() => made(server).length, SOON).toBe(1);
  const storage = open(server.url);
  await storage.set('late', 'after the backup');
  await storage.filled();
  await stop(server);
  const fresh = join(folder(), 'client.db');
  const [name = ''] = await backupsIn(directory);
  await restoreBackup(join(directory, name), { DATABASE_PATH: fresh }, options);
  await start({ DATABASE_PATH: fresh }, port);
  await storage.sent();
  await expect
    .poll(() => storage.conflicts(), SOON)
    .toMatchObject([{ key: 'late', reason: 'restored', local: { value: 'after the backup' } }]);
});

it('a file that is cut or damaged anywhere is refused before anything is written', async () => {
  const store = await openAt(`sqlite:${path()}`);
  for (const tenant of ['one', 'two'])
    for (let i = 0; i < 20; i += 1)
      await store.run(tenant, { operations: [{ type: 'put', key: `k${i}`, value: `"${Math.random()}"` }] });
  const whole = join(folder(), 'whole.backup.gz');
  await writeBackupFile(store, whole, options.signal);
  await store.close();
  const bytes = await readFile(whole);
  const damaged = join(folder(), 'damaged.backup.gz');
  const fresh = join(folder(), 'never.db');
  const restored = async (content: Uint8Array) => {
    await writeFile(damaged, content);
    return restoreBackup(damaged, { DATABASE_PATH: fresh }, options).catch((error) => error.code);
  };
  for (let at = 0; at < bytes.length; at += 7) {
    expect([at, await restored(bytes.subarray(0, at))]).toEqual([at, 'damaged']);
    const flipped = Buffer.from(bytes);
    flipped[at] = (flipped[at] as number) ^ 0x10;
    // A few bytes of the head of gzip, such as its time, mean nothing.
    if (at >= 10) expect([at, await restored(flipped)]).toEqual([at, 'damaged']);
  }
  expect(await restored(Buffer.from('{"end":true}\n'))).toBe('damaged');
  expect(await readdir(folder())).not.toContain('never.db');
  const { code, stderr } = await runCommand(['restore', damaged, '--database', fresh]);
  expect([code, stderr]).toEqual([5, expect.stringMatching(/cannot be restored: .*Nothing was changed/)]);
  expect((await runCommand(['restore', damaged], { env: { DATABASE_URL: 'oracle://x' } })).code).toBe(2);
});

for (const name of ['postgres', 'mysql'] as const) {
  const skipped = databaseSkipReason(name);
  describe.skipIf(skipped !== undefined)(`over ${DATABASES[name].title}`, () => {
    let database: Awaited<ReturnType<typeof startPostgres>>;
    let directory = '';
    beforeAll(async () => {
      database = await (name === 'postgres' ? startPostgres : startMariadb)();
      directory = await mkdtemp(join(tmpdir(), 'codeforge-backups-'));
    });
    afterAll(async () => {
      await database?.stop();
      await rm(directory, { recursive: true, force: true });
    });

    it('a backup beside writes is one state, and can be restored into another kind of database and back', async () => {
      const from = await openAt(`sqlite:${join(directory, 'from.db')}`);
      await oneState(from, join(directory, '1.gz'), database.url);
      await from.close();
      const store = await openAt(database.url);
      await oneState(store, join(directory, '2.gz'), `sqlite:${join(directory, 'to.db')}`);
      await store.close();
    });
  });
}

/** Backs up a store while it is written to, restores that elsewhere, and looks whether writes are there as a whole or not at all. */
async function oneState(store: Store, file: string, target: string): Promise<void> {
  const keys = Array.from({ length: 200 }, (_, i) => `key ${i} é`);
  let round = 0;
  const writeAll = () => {
    round += 1;
    return store.run('busy', {
      atomic: true,
      operations: keys.map((key) => ({ type: 'put', key, value: `"${round} ${'x'.repeat(2000)}"` })),
    });
  };
  await writeAll();
  let isWriting = true;
  const writing = (async () => {
    while (isWriting) await writeAll();
  })();
  await writeBackupFile(store, file, options.signal);
  isWriting = false;
  await writing;
  const { epoch, keys: count } = await restoreBackup(file, { DATABASE_URL: target }, options);
  expect(count).toBe(keys.length);
  const restored = await openAt(target);
  expect(restored.epoch).toBe(epoch);
  expect(restored.epoch).not.toBe(store.epoch);
  const values = await Promise.all(keys.map(async (key) => (await restored.read('busy', key))?.value));
  expect(new Set(values).size).toBe(1);
  await restored.close();
}
