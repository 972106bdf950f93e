/** The driver of unstorage, as far as its own suite does not ask: that suite is in test/packages/tools/peers, over the packed package. */
import { createStorage as createUnstorage, prefixStorage } from 'unstorage';
import { describe, expect, it, vi } from 'vitest';
import { asUnstorageDriver } from '../../src/adapters/index.ts';
import { createStorage } from '../../src/index.ts';
import { startOldServer } from '../support/old-server.ts';
import { rejection } from '../support/rejection.ts';
import { onEachBackend } from './backends.ts';

onEachBackend((reopen, storeElsewhere) => {
  it('what was set is there for a driver that is created again', async () => {
    const before = createUnstorage({ driver: asUnstorageDriver(await reopen(), { base: 'app' }) });
    await before.setItem('user:1', { name: 'Ada' });
    await before.setItemRaw('raw', new Map([['when', new Date(5)]]));
    const after = createUnstorage({ driver: asUnstorageDriver(await reopen(), { base: 'app' }) });
    expect(await after.getItem('user:1')).toEqual({ name: 'Ada' });
    expect(await after.getItemRaw('raw')).toEqual(new Map([['when', new Date(5)]]));
    expect(await after.getItem('none')).toBeNull();
    expect(await after.getItemRaw('none')).toBeNull();
  });

  it('two bases do not see each other; base and base: are the same', async () => {
    const storage = await reopen();
    await storage.set('apple', 'not below app:');
    const [app, other] = ['app', 'other:'].map((base) =>
      createUnstorage({ driver: asUnstorageDriver(storage, { base }) }),
    );
    await app?.setItem('a', 1);
    await other?.setItem('a', 2);
    await other?.setItem('b', 3);
    expect(await storage.keys()).toEqual(['app:a', 'apple', 'other:a', 'other:b']);
    expect(await app?.getKeys()).toEqual(['a']);
    expect(await app?.hasItem('b')).toBe(false);
    await app?.clear();
    expect(await storage.keys()).toEqual(['apple', 'other:a', 'other:b']);
    const same = createUnstorage({ driver: asUnstorageDriver(storage, { base: 'other' }) });
    expect(await same.getItem('b')).toBe(3);
  });

  it('lists and clears below a base of unstorage, and of a mount point', async () => {
    const driver = asUnstorageDriver(await reopen());
    const storage = createUnstorage().mount('kept', driver);
    await storage.setItems(['a:1', 'a:2', 'ab', 'b'].map((key) => ({ key: `kept:${key}`, value: key })));
    await storage.setItem('memory', 'of another driver');
    expect((await storage.getKeys('kept:a')).sort()).toEqual(['kept:a:1', 'kept:a:2']);
    expect(await prefixStorage(storage, 'kept:a').getItem('2')).toBe('a:2');
    expect(await storage.getItems(['kept:b', 'memory'])).toEqual([
      { key: 'kept:b', value: 'b' },
      { key: 'memory', value: 'of another driver' },
    ]);
    await driver.clear('a:');
    expect((await storage.getKeys()).sort()).toEqual(['kept:ab', 'kept:b', 'memory']);
    await storage.clear('kept');
    expect(await storage.getKeys()).toEqual(['memory']);
  });

  it('reads what the app has stored itself', async () => {
    const storage = await reopen();
    await storage.set('app:settings', { theme: 'dark', since: new Date(5) });
    const items = createUnstorage({ driver: asUnstorageDriver(storage, { base: 'app' }) });
    expect(await items.getItem('settings')).toEqual({ theme: 'dark', since: new Date(5) });
  });

  it('the meta data of a key are its revision', async () => {
    const storage = await reopen();
    const items = createUnstorage({ driver: asUnstorageDriver(storage) });
    await items.setItem('a', 'text');
    await items.setMeta('a', { ttl: 5 });
    expect(await items.getMeta('a')).toEqual({ etag: (await storage.getEntry('a'))?.revision, ttl: 5 });
    expect(await items.getMeta('none')).toEqual({});
  });

  it('dispose() leaves the storage open: it is the app that closes it', async () => {
    const storage = await reopen();
    const items = createUnstorage({ driver: asUnstorageDriver(storage) });
    await items.setItem('a', 'text');
    await items.dispose();
    expect(await storage.get('a')).toBe('text');
  });

  it('watch() reports changes of this tab and of others, with the keys below the base and the mount point', async () => {
    const storage = await reopen();
    await storage.set('app:old', 'stored before');
    const items = createUnstorage().mount('kept', asUnstorageDriver(storage, { base: 'app' }));
    const heard: string[] = [];
    const unwatch = await items.watch((event, key) => heard.push(`${event} ${key}`));
    await items.setItem('kept:a', 1);
    await items.setItemRaw('kept:b', new Map());
    await storage.set('app:c', 'by the app');
    await storage.set('other', 'not below the base');
    await items.removeItem('kept:a');
    const own = ['update kept:a', 'update kept:b', 'update kept:c', 'remove kept:a'];
    await vi.waitFor(() => expect(heard).toEqual(own), { timeout: 15_000 });
    await storeElsewhere('app:d', 'of others');
    await vi.waitFor(() => expect(heard.slice(own.length)).toEqual(['update kept:d']), { timeout: 30_000 });
    await storage.clear();
    const gone = ['b', 'c', 'd', 'old'].map((key) => `remove kept:${key}`);
    await vi.waitFor(() => expect(heard.slice(own.length + 1).sort()).toEqual(gone), { timeout: 15_000 });
    heard.length = 0;
    await unwatch();
    await items.setItem('kept:a', 2);
    expect(heard).toEqual([]);
  });

  it('watch() rejects if the storage is closed', async () => {
    const storage = await reopen();
    await storage.close();
    expect(await rejection(asUnstorageDriver(storage).watch(() => {}))).toMatchObject({ code: 'closed' });
  });

  it('setItems() checks all keys before it stores one', async () => {
    const storage = await reopen();
    const { setItems } = asUnstorageDriver(storage);
    const items = ['good', 'x'.repeat(1025)].map((key) => ({ key, value: 'text' }));
    expect(await rejection(setItems(items))).toMatchObject({ code: 'invalid-key' });
    expect(await storage.keys()).toEqual([]);
  });
});

describe('over a server of level 0', () => {
  it('a key has no meta data, because the server has no revisions', async () => {
    const server = await startOldServer();
    const storage = createStorage({
      useFlask: true,
      flaskUrl: server.url,
      database: 'level-0',
      logger: false,
    });
    try {
      const items = createUnstorage({ driver: asUnstorageDriver(storage) });
      await items.setItem('a', 'text');
      expect(await items.getMeta('a')).toEqual({});
      await storage.close();
      expect(await rejection(asUnstorageDriver(storage).getMeta('a'))).toMatchObject({ code: 'closed' });
    } finally {
      await storage.close();
      await server.close();
    }
  });
});
