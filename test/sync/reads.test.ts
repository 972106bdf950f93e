/** What is read and written while the server is away or slow: conditions, what the mirror cannot know, `ack: 'local'` (docs/guarantees.md, 1.2, 3.4). */
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { ConflictError } from '../../src/index.ts';
import { type Level1Server, startLevel1Server } from '../support/level1-server.ts';
import { reopen, type SyncedStorage, shut, syncedStorages } from '../support/synced-storages.ts';

const open = syncedStorages();
let server: Level1Server;

beforeEach(async () => {
  server = await startLevel1Server();
});
afterEach(() => server.stop().catch(() => undefined));

const theirs = (key: string, value: unknown): void => {
  server.apply({ ops: [{ op: 'put', key, value }] });
};
const valueAt = (key: string): unknown => server.data.get(key)?.value;

describe('a server that has forgotten this client', () => {
  /** Sends something from the outbox, lets others write, and opens the storage again `days` later. */
  async function openedAfter(days: number): Promise<SyncedStorage> {
    vi.useFakeTimers({ toFake: ['Date'] });
    onTestFinished(() => void vi.useRealTimers());
    const database = `forgotten after ${days} days`;
    const storage = open(server.url, { database });
    await storage.setMany([
      ['changed', 'old'],
      ['deleted', 'old'],
    ]);
    await storage.filled();
    shut(server);
    await storage.set('ours', 1);
    reopen(server);
    await storage.flush();
    await storage.close();
    theirs('changed', 'new');
    server.apply({ ops: [{ op: 'delete', key: 'deleted' }] });
    server.forgetClients();
    vi.setSystemTime(Date.now() + days * 86_400_000);
    const again = open(server.url, { database });
    await again.ready();
    return again;
  }

  it('was restored where it should know it, and what it has lost is a conflict', async () => {
    const storage = await openedAfter(3);
    expect((await storage.conflicts()).map(({ key, reason }) => [key, reason])).toEqual([
      ['changed', 'restored'],
      ['deleted', 'restored'],
    ]);
  });

  it('was not where it may forget it: after 30 days', async () => {
    const storage = await openedAfter(31);
    expect(await storage.conflicts()).toEqual([]);
    expect(await storage.getMany(['changed', 'deleted', 'ours'])).toEqual(['new', undefined, 1]);
    shut(server);
    await storage.set('ours', 2);
    reopen(server);
    await storage.flush();
    expect(valueAt('ours')).toBe(2);
    expect(await storage.conflicts()).toEqual([]);
  });

  it('is met anew by every tab where one of them has found out', async () => {
    const database = 'two tabs';
    const first = open(server.url, { database });
    await first.set('k', 1);
    shut(server);
    await first.set('ours', 1);
    reopen(server);
    await first.flush();
    server.forgetClients();
    const second = open(server.url, { database });
    await second.ready();
    await second.close();
    await first.set('k', 2);
    await first.filled();
    shut(server);
    expect(await first.get('k')).toBe(2);
  });
});

describe('while the server is away', () => {
  it('the mirror answers with all that the server held, read here or not', async () => {
    theirs('a', { deep: [1] });
    theirs('b', 2);
    const storage = open(server.url);
    await storage.ready();
    await storage.filled();
    shut(server);
    expect(await storage.getMany(['a', 'b', 'none'])).toEqual([{ deep: [1] }, 2, undefined]);
    expect(await storage.keys()).toEqual(['a', 'b']);
    expect(await storage.stats()).toEqual({ keys: 2, sizeBytes: 13 });
    expect(storage.getBackendType()).toBe('indexeddb');
  });

  it('what was deleted stays deleted, also where somebody else had deleted it before', async () => {
    const storage = open(server.url);
    await storage.ready();
    await storage.filled();
    await storage.set('k', 1);
    server.apply({ ops: [{ op: 'delete', key: 'k' }] });
    await storage.delete('k');
    shut(server);
    expect(await storage.get('k')).toBeUndefined();
    expect(await storage.has('k')).toBe(false);
  });

  it('the outbox lies over the mirror', async () => {
    theirs('a', 1);
    theirs('b', 2);
    const storage = open(server.url);
    await storage.ready();
    await storage.filled();
    shut(server);
    await storage.delete('a');
    await storage.set('c', 3);
    expect(await storage.update('b', (n) => Number(n) + 10)).toBe(12);
    expect(await Array.fromAsync(storage.entries())).toEqual([
      ['b', 12],
      ['c', 3],
    ]);
    await storage.clear();
    await storage.set('d', 4);
    expect(await storage.keys()).toEqual(['d']);
    reopen(server);
    await storage.flush();
    expect([...server.data.keys()]).toEqual(['d']);
    expect(await storage.conflicts()).toEqual([]);
  });

  it('a revision is current until something is written here, and holds when the server is back', async () => {
    const storage = open(server.url);
    await storage.set('k', 1);
    const online = await storage.getEntry('k');
    shut(server);
    expect(await storage.getEntry('k')).toEqual(online);
    await storage.set('k', 2, { ifRevision: online?.revision ?? null });
    const stale = storage.set('k', 3, { ifRevision: online?.revision ?? null });
    await expect(stale).rejects.toBeInstanceOf(ConflictError);
    await expect(stale).rejects.toMatchObject({ attempted: 3, current: { value: 2 } });
    await expect(storage.set('k', 3, { ifRevision: null })).rejects.toMatchObject({ code: 'conflict' });
    await storage.set('new', 1, { ifRevision: null });
    const local = await storage.getEntry('k');
    expect(local?.revision).not.toBe(online?.revision);
    await storage.delete('k', { ifRevision: local?.revision ?? '' });
    await expect(storage.delete('k', { ifRevision: local?.revision ?? '' })).rejects.toMatchObject({
      code: 'conflict',
      current: undefined,
    });
    reopen(server);
    await storage.flush();
    expect([...server.data.keys()]).toEqual(['new']);
    expect(await storage.conflicts()).toEqual([]);
  });

  it('a revision holds after an outage as it did before it, the server’s and one of what waited', async () => {
    const storage = open(server.url);
    await storage.set('k', 1);
    shut(server);
    const before = await storage.getEntry('k');
    await storage.set('other', 1);
    reopen(server);
    await storage.flush();
    await storage.set('k', 2, { ifRevision: before?.revision ?? null });
    expect(valueAt('k')).toBe(2);
    shut(server);
    await storage.set('k', 3);
    const local = await storage.getEntry('k');
    reopen(server);
    await storage.flush();
    await storage.set('k', 4, { ifRevision: local?.revision ?? null });
    expect(valueAt('k')).toBe(4);
    await expect(storage.set('k', 5, { ifRevision: local?.revision ?? null })).rejects.toMatchObject({
      code: 'conflict',
      current: { value: 4 },
    });
  });
});

for (const [name, cut] of [
  ['where the mirror could not be filled', /^\/api\/v1\/changes/],
  ['where the mirror was filled in part, of a server that was cleared once', /^\/api\/v1\/changes\?since=/],
] as const)
  describe(name, () => {
    let storage: SyncedStorage;
    beforeEach(async () => {
      server.apply({ ops: [{ op: 'clear', key: '' }] });
      // More than a page of changes.
      for (let i = 0; i < 1000; i += 1) theirs(`early${i}`, i);
      theirs('read', 'here');
      theirs('unread', 'there');
      let asked = 0;
      server.before = ({ url }, response) => {
        if (!cut.test(url)) return false;
        asked += 1;
        return Boolean(
          response.writeHead(503, { 'content-type': 'application/json' }).end('{"error":"busy"}'),
        );
      };
      storage = open(server.url);
      expect(await storage.get('read')).toBe('here');
      expect(await storage.get('missing')).toBeUndefined();
      await expect.poll(() => asked, { timeout: 10_000 }).toBeGreaterThan(0);
      await server.stop();
    });

    it('what was read is answered, and what was seen not to exist is undefined', async () => {
      expect(await storage.get('read')).toBe('here');
      expect(await storage.has('missing')).toBe(false);
    });

    it('what was never read is unavailable, not missing; and so is every list', async () => {
      const outcomes = await Promise.allSettled([
        storage.get('unread'),
        storage.has('unread'),
        storage.getEntry('unread'),
        storage.getMany(['read', 'unread']),
        storage.update('unread', () => 'blind'),
        storage.set('unread', 'blind', { ifRevision: null }),
        storage.keys(),
        storage.entries().next(),
        storage.stats(),
      ]);
      for (const outcome of outcomes)
        expect(outcome).toMatchObject({ reason: { name: 'StorageError', code: 'unavailable' } });
      expect(storage.status().pending).toBe(0);
    });

    it('a write to what was never read is kept, and overwrites nothing', async () => {
      await storage.set('unread', 'mine');
      await storage.set('new', 'mine');
      expect(await storage.get('unread')).toBe('mine');
      server.before = undefined;
      await server.start();
      await storage.flush();
      expect(valueAt('unread')).toBe('there');
      expect(valueAt('new')).toBe('mine');
      expect(await storage.conflicts()).toMatchObject([
        { key: 'unread', base: undefined, local: { value: 'mine' }, server: { value: 'there' } },
      ]);
    });
  });

describe("ack: 'local'", () => {
  it('resolves writes while the server takes its time, and sends them at once', async () => {
    const storage = open(server.url, { ack: 'local' });
    await storage.ready();
    let release = (): void => {};
    const released = new Promise<void>((done) => {
      release = done;
    });
    server.after = ({ batch }, response) => {
      if (batch?.m === undefined) return false;
      server.after = undefined;
      void released.then(() => response.destroy());
      return true;
    };
    await storage.set('a', 1);
    expect(await storage.update('a', (n) => Number(n) + 1)).toBe(2);
    expect(await storage.get('a')).toBe(2);
    await storage.delete('b');
    expect(storage.status().pending).toBeGreaterThan(0);
    release();
    await storage.flush();
    expect(valueAt('a')).toBe(2);
    expect(storage.status()).toMatchObject({ pending: 0, conflicts: 0 });
  });

  it('reads from the server what does not wait', async () => {
    const storage = open(server.url, { ack: 'local' });
    await storage.ready();
    theirs('k', 'theirs');
    expect(await storage.get('k')).toBe('theirs');
    expect(storage.getBackendType()).toBe('flask');
    await storage.set('k', 'mine');
    await storage.flush();
    expect(valueAt('k')).toBe('mine');
    expect(await storage.conflicts()).toEqual([]);
  });

  it('takes an update from what the server has, though it was never read here', async () => {
    const storage = open(server.url, { ack: 'local' });
    await storage.ready();
    theirs('n', 41);
    expect(await storage.update('n', (n) => Number(n) + 1)).toBe(42);
    await storage.flush();
    expect(valueAt('n')).toBe(42);
  });
});
