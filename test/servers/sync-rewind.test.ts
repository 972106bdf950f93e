/**
 * A real server that was put back to an earlier state: what it has lost is kept as `restored`, and everything goes on. The
 * database file is copied while the server is stopped, as an operator would (docs/guarantees.md, 6.1, 6.2).
 */
import { cp, rm } from 'node:fs/promises';
import { afterEach, beforeEach, expect, it, onTestFinished } from 'vitest';
import { ownDatabase } from '../support/own-database.ts';
import { freePort } from '../support/ports.ts';
import { startProxy } from '../support/proxy.ts';
import type { RunningServer } from '../support/running-server.ts';
import { syncedStorages } from '../support/synced-storages.ts';

const open = syncedStorages();
const database = ownDatabase();
let server: RunningServer;
let port: number;

beforeEach(async () => {
  port = await freePort();
  server = await database.start({}, port);
});

const files = (path: string): string[] => ['', '-wal', '-shm'].map((end) => path + end);
const backup = (): string => `${database.path()}.backup`;

/** Copy what the server holds, as it is now. */
async function save(): Promise<void> {
  await database.stop(server);
  await cp(database.path(), backup());
  server = await database.start({}, port);
}

/** Put the copy back while the server is stopped; `RESTORED` tells it of that, and it names another epoch. */
async function restore(told: boolean): Promise<void> {
  for (const file of files(database.path())) await rm(file, { force: true });
  await cp(backup(), database.path());
  server = await database.start(told ? { RESTORED: 'true' } : {}, port);
}

const held = async (): Promise<unknown> => (await fetch(`${server.url}/api/storage/export`)).json();

for (const [name, told] of [
  ['with a new epoch', true],
  ['with the same epoch and older numbers', false],
] as const) {
  it(`${name}: what it has lost is among the conflicts as restored, the rest is its own, and new writes arrive`, async () => {
    const storage = open(server.url);
    await storage.setMany([
      ['same', 1],
      ['changed', 'old'],
      ['deleted later', 'back again'],
    ]);
    await save();
    await storage.setMany([
      ['changed', 'new'],
      ['created', { rich: new Date(5) }],
    ]);
    await storage.delete('deleted later');
    await storage.flush();
    await database.stop(server);
    await restore(told);
    // The first answer that comes from the restored one tells.
    await storage.get('same');
    await storage.reaches(({ state, conflicts }) => state === 'online' && conflicts > 0);
    const conflicts = (await storage.conflicts()).sort((a, b) => (a.key < b.key ? -1 : 1));
    expect(conflicts).toMatchObject([
      { key: 'changed', reason: 'restored', local: { value: 'new' }, server: { value: 'old' } },
      { key: 'created', reason: 'restored', local: { value: { rich: new Date(5) } }, server: undefined },
    ]);
    // What the server says now is what is read.
    expect(await storage.getMany(['same', 'changed', 'created', 'deleted later'])).toEqual([
      1,
      'old',
      undefined,
      'back again',
    ]);
    await storage.set('same', 2);
    await storage.set('new', 3);
    await storage.resolve('changed', 'local');
    await storage.resolve('created', 'local');
    await storage.flush();
    expect(await held()).toMatchObject({
      same: 2,
      new: 3,
      changed: 'new',
      created: { $cf: expect.anything() },
    });
    expect(storage.status()).toMatchObject({ state: 'online', pending: 0, conflicts: 0 });
    expect(storage.getBackendType()).toBe('flask');
  });

  it(`${name}: what waited meanwhile arrives, and is a conflict where it was made on what is lost`, async () => {
    const storage = open(server.url);
    await storage.setMany([
      ['same', 1],
      ['changed', 'old'],
    ]);
    await save();
    await storage.set('changed', 'new');
    // It may have waited for the server that has just started.
    await storage.flush();
    await database.stop(server);
    await storage.set('same', 'mine');
    await storage.set('changed', 'mine');
    await storage.set('created', 'mine');
    expect(storage.status().pending).toBe(3);
    await restore(told);
    await storage.flush();
    expect(await held()).toEqual({ same: 'mine', changed: 'old', created: 'mine' });
    // What was acknowledged by the server and lost by it, and what was written after that.
    expect(await storage.conflicts()).toMatchObject([
      { key: 'changed', reason: 'restored', local: { value: 'new' }, server: { value: 'old' } },
      { key: 'changed', reason: 'changed', local: { value: 'mine' }, server: { value: 'old' } },
    ]);
    await storage.resolve('changed', 'local');
    expect(await held()).toEqual({ same: 'mine', changed: 'mine', created: 'mine' });
    expect(await storage.conflicts()).toEqual([]);
    expect(storage.status()).toMatchObject({ state: 'online', pending: 0 });
  });
}

it('a server that falls back to level 0 was not restored, and what it has lost is gone here too', async () => {
  let fallsBack = false;
  const answer = (status: string, json: object) => {
    const body = JSON.stringify(json);
    const head = `HTTP/1.1 ${status}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\nConnection: close`;
    return { rewrite: () => Buffer.from(`${head}\r\n\r\n${body}`), requestBytes: 0 };
  };
  const proxy = await startProxy(server.url, {
    faults({ target }) {
      if (!fallsBack) return undefined;
      if (target === '/health') return answer('200 OK', { status: 'ok', timestamp: '2026-01-01T00:00:00Z' });
      return target.startsWith('/api/v1') ? answer('404 Not Found', { error: 'Not Found' }) : undefined;
    },
  });
  onTestFinished(() => proxy.close());
  const database = 'falls back';
  const first = open(proxy.url, { database });
  await first.setMany([
    ['changed', 'old'],
    ['deleted', 'old'],
    ['same', 1],
  ]);
  await first.filled();
  await first.close();
  const theirs = (key: string, init: RequestInit) => fetch(`${server.url}/api/storage/${key}`, init);
  const headers = { 'content-type': 'application/json' };
  await theirs('changed', { method: 'PUT', headers, body: '{"value":"new"}' });
  await theirs('deleted', { method: 'DELETE' });
  for (const level of [0, 1] as const) {
    fallsBack = level === 0;
    const storage = open(proxy.url, { database });
    await storage.ready();
    expect(storage.status().level).toBe(level);
    await storage.filled();
    proxy.cut();
    expect(await storage.getMany(['changed', 'deleted', 'same'])).toEqual(['new', undefined, 1]);
    expect(await storage.keys()).toEqual(['changed', 'same']);
    expect(await storage.conflicts()).toEqual([]);
    proxy.restore();
    await storage.close();
  }
});

it('a server that would not take a write, and was changed by others later, is not taken for a restored one', async () => {
  const limited = { MAX_BODY_BYTES: '20000' };
  const away = async (meanwhile: () => Promise<unknown>): Promise<void> => {
    await database.stop(server);
    await meanwhile();
    server = await database.start(limited, port);
  };
  const storage = open(server.url);
  await storage.setMany([
    ['theirs', 'old'],
    ['ours', 'old'],
  ]);
  await away(async () => {
    await storage.set('ours', 'new');
    await storage.set('too large', 'x'.repeat(30_000));
  });
  await storage.flush();
  const refused = { key: 'too large', reason: 'rejected', detail: expect.stringContaining('size limit') };
  expect(await storage.conflicts()).toMatchObject([refused]);
  await away(() => storage.get('ours'));
  await fetch(`${server.url}/api/storage/theirs`, {
    method: 'PUT',
    headers: { 'content-type': 'application/json' },
    body: '{"value":"new"}',
  });
  await storage.reaches('online');
  expect(await storage.conflicts()).toMatchObject([refused]);
  expect(await storage.getMany(['theirs', 'ours'])).toEqual(['new', 'new']);
  expect(await held()).toEqual({ theirs: 'new', ours: 'new' });
});

afterEach(() => rm(backup(), { force: true }));
