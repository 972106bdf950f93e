/**
 * What unstorage asks of a driver, over the package's own. unstorage does not publish its suite: these tests say in our own words
 * what `test/drivers/utils.ts` of github.com/unjs/unstorage checks, each clause of it.
 */
import 'fake-indexeddb/auto';
import { createStorage as createSdk } from '@codeforge/storage';
import { asUnstorageDriver } from '@codeforge/storage/adapters';
import { createStorage, restoreSnapshot } from 'unstorage';
import { afterAll, afterEach, describe, expect, it, vi } from 'vitest';

const sdk = createSdk({ database: 'unstorage', logger: false });
const storage = createStorage({ driver: asUnstorageDriver(sdk) });
const sorted = async (keys) => (await keys).sort();

afterEach(() => storage.clear());
afterAll(async () => {
  await storage.dispose();
  await sdk.close();
});

describe('the driver of unstorage', () => {
  it('takes a snapshot', async () => {
    await restoreSnapshot(storage, { first: 'from a snapshot' });
    expect(await storage.getItem('first')).toBe('from a snapshot');
  });

  it('is empty at first', async () => {
    expect(await storage.hasItem('one:key')).toBe(false);
    expect(await storage.getItem('other:key')).toBeNull();
    expect(await storage.getKeys()).toEqual([]);
  });

  it('reads what was set; a query is no part of a key', async () => {
    await storage.setItem('one:key', 'text');
    await storage.setItem('two:key?version=1', 'more text');
    expect(await storage.hasItem('one:key')).toBe(true);
    expect(await storage.getItem('one:key')).toBe('text');
    expect(await storage.getItem('two:key?version=2')).toBe('more text');
  });

  it('lists all keys, and those below a base', async () => {
    for (const key of ['one:key', 'two:key', 'three:key?version=1']) await storage.setItem(key, 'text');
    expect(await sorted(storage.getKeys())).toEqual(['one:key', 'three:key', 'two:key']);
    expect(await sorted(storage.getKeys('one'))).toEqual(['one:key']);
  });

  it('lists keys down to a depth', async () => {
    const byDepth = [['top'], ['a:left', 'a:right'], ['a:b:left', 'a:b:right']];
    for (const key of byDepth.flat()) await storage.setItem(key, 'text');
    for (const maxDepth of [0, 1, 2])
      expect(await sorted(storage.getKeys(undefined, { maxDepth }))).toEqual(
        byDepth
          .slice(0, maxDepth + 1)
          .flat()
          .sort(),
      );
  });

  it('keeps objects and primitives', async () => {
    await storage.setItem('/data/object.json', { nested: ['value'] });
    await storage.setItem('/data/true.json', true);
    await storage.setItem('zero', 0);
    await storage.setItem('flag', false);
    expect(await storage.getItem('/data/object.json')).toEqual({ nested: ['value'] });
    expect(await storage.getItem('/data/true.json')).toBe(true);
    expect(await storage.getItem('zero')).toBe(0);
    expect(await storage.getItem('flag')).toBe(false);
  });

  it('keeps what toJSON() gives, text or an object', async () => {
    for (const form of ['text', { inside: 'an object' }]) {
      await storage.setItem('form', { toJSON: () => form });
      expect(await storage.getItem('form')).toEqual(form);
    }
  });

  it('refuses an instance of a class without toJSON()', async () => {
    class Instance {}
    await expect(storage.setItem('instance', new Instance())).rejects.toThrow('Cannot stringify');
  });

  it('keeps raw bytes', async () => {
    await storage.setItemRaw('/data/raw.bin', new Uint8Array([1, 2, 3]));
    expect(new Uint8Array(await storage.getItemRaw('/data/raw.bin'))).toEqual(new Uint8Array([1, 2, 3]));
  });

  it('sets many items', async () => {
    await storage.setItems([1, 2, 3].map((n) => ({ key: `item:${n}`, value: `text ${n}` })));
    for (const n of [1, 2, 3]) expect(await storage.getItem(`item:${n}`)).toBe(`text ${n}`);
  });

  it('reads many items, each with its key without the query; null where there is none', async () => {
    await storage.setItem('three:key?version=1', 'text 3');
    await storage.setItem('two:key', 'text 2');
    await storage.setItem('one:key', 'text 1');
    expect(
      await storage.getItems([{ key: 'one:key' }, 'two:key', { key: 'three:key?version=1' }, 'none:key']),
    ).toMatchObject([
      { key: 'one:key', value: 'text 1' },
      { key: 'two:key', value: 'text 2' },
      { key: 'three:key', value: 'text 3' },
      { key: 'none:key', value: null },
    ]);
  });

  it('removes an item', async () => {
    await storage.setItem('one:key', 'text');
    await storage.removeItem('one:key', false);
    expect(await storage.hasItem('one:key')).toBe(false);
    expect(await storage.getItem('one:key')).toBeNull();
  });

  it('clears everything, also when there is nothing', async () => {
    await storage.setItem('one:key', 'text');
    for (let times = 0; times < 2; times += 1) {
      await storage.clear();
      expect(await storage.getKeys()).toEqual([]);
    }
  });

  // Of test/storage.test.ts, which asks the same of a driver without `watch`.
  it('watches: each change once, until the function that watch() returns, or unwatch()', async () => {
    const heard = [];
    const mounted = createStorage().mount('/mnt', asUnstorageDriver(sdk));
    const unwatch = await mounted.watch((event, key) => heard.push(`${event} ${key}`));
    await restoreSnapshot(mounted, { 'etc:conf': 'test', 'data:foo': 123 }, 'mnt');
    await vi.waitFor(() => expect(heard.sort()).toEqual(['update mnt:data:foo', 'update mnt:etc:conf']));
    await unwatch();
    await mounted.setItem('mnt:data:foo', 42);
    expect(heard).toHaveLength(2);
    await mounted.watch((event, key) => heard.push(`${event} ${key}`));
    await mounted.removeItem('mnt:data:foo');
    await vi.waitFor(() => expect(heard.at(-1)).toBe('remove mnt:data:foo'));
    await mounted.unwatch();
    await mounted.setItem('mnt:data:foo', 43);
    expect(heard).toHaveLength(3);
  });
});
