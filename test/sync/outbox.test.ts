/** What waits on this device, entry by entry, and a device that is signed out (docs/guarantees.md, 9.2, 9.3). */
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createStorage, type OutboxEntry } from '../../src/index.ts';
import { type Level1Server, startLevel1Server } from '../support/level1-server.ts';
import { rejection } from '../support/rejection.ts';
import { reopen, shut, syncedStorages } from '../support/synced-storages.ts';

const open = syncedStorages();
let server: Level1Server;

beforeEach(async () => {
  server = await startLevel1Server();
});
afterEach(async () => {
  await server.stop().catch(() => undefined);
  for (const { name = '' } of await indexedDB.databases()) indexedDB.deleteDatabase(name);
});

const held = (): Record<string, unknown> =>
  Object.fromEntries([...server.data].map(([key, { value }]) => [key, value]));

/** What each database of sync holds, as text. */
async function stored(): Promise<string[]> {
  const names = (await indexedDB.databases()).map(({ name = '' }) => name);
  return Promise.all(
    names
      .filter((name) => name.startsWith('codeforge-sync:'))
      .map(
        (name) =>
          new Promise<string>((resolve, reject) => {
            const opening = indexedDB.open(name);
            opening.onerror = () => reject(opening.error);
            opening.onsuccess = () => {
              const db = opening.result;
              const reading = db.transaction('storage').objectStore('storage').getAll();
              reading.onsuccess = () => resolve(JSON.stringify(reading.result));
              db.close();
            };
          }),
      ),
  );
}

it('outbox() lists what waits: what it does, where, since when and how large', async () => {
  const storage = open(server.url, { database: 'listed' });
  await storage.setMany([
    ['a', 1],
    ['n', 1],
  ]);
  await storage.filled();
  shut(server);
  const before = Date.now();
  await storage.clear();
  await storage.set('a', 'four');
  await storage.delete('b');
  await storage.update('n', () => [1]);
  await storage.atomic([{ set: 'x', value: 12 }, { delete: 'y' }]);
  const entries = await storage.outbox();
  expect(entries.map(({ type, keys, sizeBytes }) => [type, keys, sizeBytes])).toEqual([
    ['clear', [], 0],
    ['set', ['a'], 6],
    ['delete', ['b'], 0],
    ['update', ['n'], 3],
    ['atomic', ['x', 'y'], 2],
  ]);
  for (const entry of entries)
    expect(entry).toMatchObject({
      id: expect.stringMatching(/./),
      attempts: 0,
      lastError: undefined,
      serverUrl: server.url,
      database: 'listed',
    });
  expect(entries[0]?.atMs).toBeGreaterThanOrEqual(before);
  expect(new Set(entries.map(({ id }) => id)).size).toBe(entries.length);
});

it('outbox() lists what other servers and databases have left here, also to a storage without a server', async () => {
  const other = open('http://127.0.0.1:1', { database: 'other' });
  await other.set('left', 1);
  await other.close();
  const storage = createStorage({ logger: false, database: 'no-server' });
  const [entry] = await storage.outbox();
  expect(entry).toMatchObject({ keys: ['left'], serverUrl: 'http://127.0.0.1:1', database: 'other' });
  await storage.discard(String(entry?.id));
  expect(await storage.outbox()).toEqual([]);
  await storage.close();
  const again = open('http://127.0.0.1:1', { database: 'other' });
  expect(await again.conflicts()).toMatchObject([{ key: 'left', reason: 'discarded', local: { value: 1 } }]);
});

it('outbox() says why the server did not take a write, and how often it was tried', async () => {
  await server.stop();
  const storage = open(server.url);
  await storage.set('k', 'poison');
  server.before = ({ text }, response) => {
    if (!text.includes('poison')) return false;
    response.writeHead(500, { 'content-type': 'application/json' }).end('{"error":"It failed"}');
    return true;
  };
  await server.start();
  let entry: OutboxEntry | undefined;
  const attempts = async (): Promise<number> => {
    [entry] = await storage.outbox();
    return entry?.attempts ?? 0;
  };
  await expect.poll(attempts, { timeout: 10_000, interval: 10 }).toBeGreaterThan(0);
  expect(entry).toMatchObject({ keys: ['k'], lastError: expect.stringMatching(/It failed/) });
});

it('discard() takes one entry out, whose value is kept as a conflict, and leaves the others', async () => {
  await server.stop();
  const storage = open(server.url);
  await storage.set('a', 1);
  await storage.set('b', 2);
  await storage.atomic([
    { set: 'c', value: 3 },
    { set: 'd', value: 4 },
  ]);
  const [a, b, unit] = (await storage.outbox()).map(({ id }) => id);
  await storage.discard(String(a));
  await storage.discard(String(b), { forget: true });
  await storage.discard(String(unit));
  await storage.reaches(({ pending }) => pending === 0);
  expect(await storage.getMany(['a', 'b', 'c'])).toEqual([undefined, undefined, undefined]);
  expect(await storage.conflicts()).toMatchObject([
    { key: 'a', reason: 'discarded', local: { value: 1 } },
    { key: 'c', reason: 'discarded', local: { value: 3 }, unit: ['c', 'd'] },
    { key: 'd', reason: 'discarded', local: { value: 4 }, unit: ['c', 'd'] },
  ]);
  await server.start();
  await storage.resolve('a', 'local');
  await storage.resolve('d', 'local');
  await storage.flush();
  expect(held()).toEqual({ a: 1, c: 3, d: 4 });
  for (const id of [String(a), 'nothing', ''])
    expect(await rejection(storage.discard(id))).toMatchObject({ code: 'invalid-option' });
});

it('discard() of a write leaves a later write of its key on what it was made on', async () => {
  const storage = open(server.url);
  await storage.set('k', 'base');
  await storage.filled();
  shut(server);
  await storage.atomic([{ set: 'k', value: 'first' }]);
  await storage.set('k', 'second');
  const [first] = await storage.outbox();
  await storage.discard(String(first?.id), { forget: true });
  expect(await storage.get('k')).toBe('second');
  reopen(server);
  await storage.flush();
  expect(held()).toEqual({ k: 'second' });
  expect(await storage.conflicts()).toEqual([]);
});

it('forget() rejects while writes wait, and deletes nothing then', async () => {
  const storage = open(server.url);
  await storage.set('k', 'base');
  shut(server);
  await storage.set('k', 'mine');
  expect(await rejection(storage.forget())).toMatchObject({
    code: 'pending',
    message: expect.stringMatching(/^1 writes? /),
  });
  expect(await storage.get('k')).toBe('mine');
  reopen(server);
  await storage.flush();
  expect(held()).toEqual({ k: 'mine' });
});

it('forget() deletes what this device keeps for the server, and closes the storages of all tabs', async () => {
  const database = 'shared';
  const storage = open(server.url, { database });
  const otherTab = open(server.url, { database });
  const otherDatabase = open(server.url, { database: 'kept' });
  await storage.set('k', 'secret');
  await otherTab.get('k');
  await otherDatabase.get('k');
  shut(server);
  await otherTab.set('k', 'unsent');
  await storage.forget({ discardPending: true });
  await expect(storage.get('k')).rejects.toMatchObject({ code: 'closed' });
  await expect
    .poll(() => rejection(otherTab.get('k')).catch(() => undefined))
    .toMatchObject({ code: 'closed' });
  expect(await otherDatabase.get('k')).toBe('secret');
  await otherDatabase.close();
  expect((await stored()).filter((text) => /secret|unsent/.test(text))).toHaveLength(1);
  const next = open(server.url, { database });
  await expect(next.flush())
    .resolves.toBeUndefined()
    .catch(() => {});
  expect(next.status()).toMatchObject({ pending: 0, conflicts: 0 });
  reopen(server);
  expect(held()).toEqual({ k: 'secret' });
});

it('forget() of a storage without a server closes it, and keeps its data', async () => {
  const storage = createStorage({ logger: false, database: 'local-only' });
  await storage.set('k', 1);
  await storage.forget();
  const again = createStorage({ logger: false, database: 'local-only' });
  expect(await again.get('k')).toBe(1);
  await again.close();
});

it('discard() of a write that had arrived, its answer lost, leaves later writes without a conflict', async () => {
  for (const isApplied of [true, false]) {
    const storage = open(server.url);
    await storage.set('k', 'old');
    const lose: Level1Server['before'] = ({ text }, response) =>
      text.includes('discarded value') && Boolean(response.destroy());
    if (isApplied) server.after = lose;
    else server.before = lose;
    await storage.set('k', 'discarded value');
    const [entry] = await storage.outbox();
    await storage.discard(String(entry?.id), { forget: true });
    expect(await storage.outbox()).toEqual([]);
    await storage.set('k', 'later');
    server.before = server.after = undefined;
    await storage.reaches('online');
    await storage.flush();
    expect([isApplied, held()]).toEqual([isApplied, { k: 'later' }]);
    expect(await storage.conflicts()).toEqual([]);
    await storage.close();
  }
});

it('discard() of a write in doubt is not undone by a later write of its key that is under way', async () => {
  const storage = open(server.url);
  await storage.set('k', 'old');
  server.before = ({ text }, response) => text.includes('discarded value') && Boolean(response.destroy());
  await storage.set('k', 'discarded value');
  shut(server);
  let letGo = (): void => {};
  const goesOn = new Promise<void>((resolve) => {
    letGo = resolve;
  });
  let begin = (): void => {};
  const begun = new Promise<void>((resolve) => {
    begin = resolve;
  });
  const blob = Object.assign(new Blob(['later']), {
    async arrayBuffer() {
      begin();
      await goesOn;
      return new ArrayBuffer(1);
    },
  });
  const updating = storage.update('k', () => blob).catch((error) => error.code);
  await begun;
  const [entry] = await storage.outbox();
  await storage.discard(String(entry?.id), { forget: true });
  letGo();
  // It is not known whether the discarded write was applied.
  expect(await updating).toBe('unavailable');
  expect(await storage.outbox()).toEqual([]);
  reopen(server);
  await storage.flush();
  expect(held()).toEqual({ k: 'old' });
});
