/**
 * `watch()` over IndexedDB: what listeners of this tab and of other tabs hear, and when. Two storages of one database are two tabs.
 */
import { createStore, set as foreignSet } from 'idb-keyval';
import { afterEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { type Change, createStorage, type KeyValueStorage, type StorageOptions } from '../../src/index.ts';

let databases = 0;
const opened: KeyValueStorage[] = [];

function open(database: string, options: StorageOptions = {}): KeyValueStorage {
  const storage = createStorage({ database, logger: false, ...options });
  opened.push(storage);
  return storage;
}
const newDatabase = (): string => {
  databases += 1;
  return `watch-${databases}`;
};

/** Waits for what follows a call. A slow machine may take a while. */
const soon = (check: () => void): Promise<void> => vi.waitFor(check, { timeout: 20_000, interval: 20 });

type Told = readonly [type: string, key: string | undefined, value: unknown, source: string];
const short = ({ type, key, value, source }: Change): Told => [type, key, value, source];

/** What a listener of `storage` hears. */
function listen(storage: Pick<KeyValueStorage, 'watch'>, keys?: { readonly prefix: string }): Told[] {
  const heard: Told[] = [];
  storage.watch(keys, (change) => heard.push(short(change)));
  return heard;
}
/** A tab that has written, so that it listens. */
async function ready(storage: KeyValueStorage): Promise<void> {
  await storage.ready();
  await new Promise((done) => setTimeout(done, 20));
}

/** The suite, for every engine. */
export function watchContract(): void {
  afterEach(async () => {
    await Promise.all(opened.splice(0).map((storage) => storage.close()));
  });

  describe('in one tab', () => {
    it('tells every committed change, in order, with its value and revision', async () => {
      const storage = open(newDatabase());
      const heard: Change[] = [];
      storage.watch(undefined, (change) => heard.push(change));
      await storage.set('a', { n: 1 });
      await storage.update('a', () => ({ n: 2 }));
      await storage.setMany([
        ['b', 1],
        ['c', new Map([[1, new Date(5)]])],
      ]);
      await storage.delete('b');
      await storage.atomic([
        { set: 'd', value: 1 },
        { delete: 'c' },
        { check: 'a', ifRevision: String((await storage.getEntry('a'))?.revision) },
      ]);
      await storage.clear();
      const revision = expect.any(String);
      await soon(() => expect(heard).toHaveLength(8));
      expect(heard).toEqual([
        { type: 'set', key: 'a', value: { n: 1 }, revision, source: 'local' },
        { type: 'set', key: 'a', value: { n: 2 }, revision, source: 'local' },
        { type: 'set', key: 'b', value: 1, revision, source: 'local' },
        { type: 'set', key: 'c', value: new Map([[1, new Date(5)]]), revision, source: 'local' },
        { type: 'delete', key: 'b', source: 'local' },
        { type: 'set', key: 'd', value: 1, revision, source: 'local' },
        { type: 'delete', key: 'c', source: 'local' },
        { type: 'clear', source: 'local' },
      ]);
    });

    it('tells the revision that getEntry returns', async () => {
      const storage = open(newDatabase());
      const revisions: unknown[] = [];
      storage.watch('a', (change) => revisions.push(change.type === 'set' && change.revision));
      await storage.set('a', [1, new Set([2])]);
      expect(revisions).toEqual([(await storage.getEntry('a'))?.revision]);
    });

    it('tells the last of several writes of a key in one turn', async () => {
      const storage = open(newDatabase());
      const heard = listen(storage);
      await Promise.all([
        storage.set('a', 1),
        storage.set('b', 1),
        storage.set('a', 2),
        storage.clear(),
        storage.set('c', 1),
        storage.set('c', 2),
      ]);
      await soon(() =>
        expect(heard).toEqual([
          ['clear', undefined, undefined, 'local'],
          ['set', 'c', 2, 'local'],
        ]),
      );
    });

    it('tells nothing of a write that was refused', async () => {
      const storage = open(newDatabase());
      await storage.set('a', 1);
      const heard = listen(storage);
      await expect(storage.set('a', 2, { ifRevision: null })).rejects.toMatchObject({ code: 'conflict' });
      await expect(
        storage.update('a', () => {
          throw new Error('no');
        }),
      ).rejects.toThrow('no');
      await expect(
        storage.atomic([
          { set: 'b', value: 1 },
          { check: 'a', ifRevision: null },
        ]),
      ).rejects.toMatchObject({ code: 'conflict' });
      await storage.set('end', 1);
      await soon(() => expect(heard).toEqual([['set', 'end', 1, 'local']]));
    });

    it('tells what clear({ prefix }) deletes key by key', async () => {
      const storage = open(newDatabase());
      await storage.setMany([
        ['a:1', 1],
        ['a:2', 1],
        ['b', 1],
      ]);
      const heard = listen(storage);
      await Promise.all([storage.set('a:3', 1), storage.clear({ prefix: 'a:' }), storage.set('a:2', 2)]);
      await soon(() => expect(heard).toHaveLength(3));
      expect(heard).toEqual([
        ['delete', 'a:1', undefined, 'local'],
        ['delete', 'a:3', undefined, 'local'],
        ['set', 'a:2', 2, 'local'],
      ]);
    });

    it('tells a listener of one key the value before', async () => {
      const storage = open(newDatabase());
      const previous: unknown[] = [];
      storage.watch('a', (change) => previous.push(change.previous));
      await storage.set('a', 1);
      await storage.set('b', 7);
      await storage.set('a', 2);
      await storage.delete('a');
      await storage.set('a', 3);
      await soon(() => expect(previous).toEqual([undefined, 1, 2, undefined]));
    });

    it('tells a namespace its own keys, without the prefix', async () => {
      const storage = open(newDatabase());
      const notes = storage.namespace('note:');
      const all = listen(notes);
      const some = listen(notes, { prefix: 'a' });
      const one: Told[] = [];
      notes.watch('b', (change) => one.push(short(change)));
      await storage.set('other', 1);
      await notes.set('a1', 1);
      await notes.set('b', 2);
      await storage.clear();
      const cleared: Told = ['clear', undefined, undefined, 'local'];
      await soon(() => expect(all).toHaveLength(3));
      expect(all).toEqual([['set', 'a1', 1, 'local'], ['set', 'b', 2, 'local'], cleared]);
      expect(some).toEqual([['set', 'a1', 1, 'local'], cleared]);
      expect(one).toEqual([['set', 'b', 2, 'local'], cleared]);
    });

    it('first tells the present state with immediate, and then every later change', async () => {
      const storage = open(newDatabase());
      await storage.set('a', 1);
      const heard: Told[] = [];
      const missing: Told[] = [];
      storage.watch('a', (change) => heard.push(short(change)), { immediate: true });
      storage.watch('none', (change) => missing.push(short(change)), { immediate: true });
      void storage.set('a', 2);
      await storage.set('a', 3);
      await soon(() => expect(heard.at(-1)).toEqual(['set', 'a', 3, 'local']));
      // It may have been read after the first write.
      expect([[1, 3], [3]]).toContainEqual(heard.map(([, , value]) => value));
      await soon(() => expect(missing).toEqual([['delete', 'none', undefined, 'local']]));
    });

    it('ends with the function that it returns, with its signal, and with close()', async () => {
      const storage = open(newDatabase());
      const heard: string[] = [];
      const controller = new AbortController();
      const stop = storage.watch(undefined, () => heard.push('returned'));
      storage.watch(undefined, () => heard.push('signal'), { signal: controller.signal });
      storage.watch(undefined, () => heard.push('closed'));
      storage.watch(undefined, () => heard.push('never'), { signal: AbortSignal.abort() });
      await storage.set('a', 1);
      stop();
      stop();
      await storage.set('a', 2);
      controller.abort();
      await storage.set('a', 3);
      await soon(() => expect(heard).toEqual(['returned', 'signal', 'closed', 'signal', 'closed', 'closed']));
      await storage.close();
      expect(() => storage.watch('a', () => {})).toThrow(expect.objectContaining({ code: 'closed' }));
    });

    it('goes on with the other listeners where one throws, and logs that', async () => {
      const lines: string[] = [];
      const logger = { info: () => {}, warn: (line: string) => void lines.push(line) };
      const storage = open(newDatabase(), { logger });
      storage.watch('a', () => {
        throw new Error('broken');
      });
      const heard = listen(storage);
      await storage.set('a', 1);
      await soon(() => expect(heard).toHaveLength(1));
      expect(lines.join()).toMatch(/listener of watch\(\) that fails: Error: broken/);
    });

    it('freezes changes, and gives listeners another object than the caller of update() has', async () => {
      const storage = open(newDatabase());
      const heard: Change[] = [];
      storage.watch('a', (change) => heard.push(change));
      const mine = (await storage.update('a', () => ({ list: [1] }))) as { list: number[] };
      mine.list.push(2);
      await soon(() => expect(heard).toHaveLength(1));
      expect(heard[0]?.value).toEqual({ list: [1] });
      expect(Object.isFrozen(heard[0])).toBe(true);
    });

    it('refuses what is no listener, no key and no option, before anything else', () => {
      const storage = open(newDatabase());
      const watch = storage.watch as (...given: unknown[]) => unknown;
      for (const given of [
        ['a'],
        [undefined, 'a'],
        [5, () => {}],
        [['a'], () => {}],
        [{ key: 'a' }, () => {}],
        [{ prefix: 5 }, () => {}],
        ['a', () => {}, { signal: 1 }],
        ['a', () => {}, { immediate: 1 }],
        [{ prefix: 'a' }, () => {}, { immediate: true }],
        ['a', () => {}, () => {}],
      ])
        expect(() => watch(...given), JSON.stringify(given)).toThrow(
          expect.objectContaining({ code: 'invalid-option' }),
        );
      expect(() => storage.namespace('a:').watch('', () => {})).toThrow(
        expect.objectContaining({ code: 'invalid-key' }),
      );
    });
  });

  describe('between tabs', () => {
    it('tells every change of either tab, in the order of the commits', async () => {
      const database = newDatabase();
      const tabs = [open(database), open(database), open(database)];
      const heard = tabs.map((tab) => listen(tab));
      await Promise.all(tabs.map(ready));
      await Promise.all(
        tabs.map(async (tab, i) => {
          for (let n = 0; n < 100; n += 1) await tab.set(`k${n % 3}`, `${i}.${n}`);
        }),
      );
      await soon(() => expect(heard.map(({ length }) => length)).toEqual([300, 300, 300]));
      const [first, ...others] = heard.map((told) => told.map(([, key, value]) => `${key}=${value}`));
      for (const other of others) expect(other).toEqual(first);
      expect(new Set(first).size).toBe(300);
      for (const key of ['k0', 'k1', 'k2'])
        expect(first?.findLast((told) => told.startsWith(key))).toBe(`${key}=${await tabs[0]?.get(key)}`);
      expect(heard[1]?.filter(([, , , source]) => source === 'local')).toHaveLength(100);
      expect(heard[1]?.filter(([, , , source]) => source === 'tab')).toHaveLength(200);
    });

    it('tells values of every kind', async () => {
      const database = newDatabase();
      const [one, two] = [open(database), open(database)];
      const heard: Change[] = [];
      two.watch('a', (change) => heard.push(change));
      await Promise.all([ready(one), ready(two)]);
      const value = {
        when: new Date(5),
        set: new Set([1n]),
        bytes: new Uint8Array([1, 2]),
        error: new TypeError('no'),
      };
      await one.set('a', value);
      await soon(() => expect(heard).toHaveLength(1));
      expect(heard[0]?.value).toEqual(value);
      expect(heard[0]?.value).toMatchObject({ error: expect.any(TypeError) });
    });

    it('numbers no transaction while nobody watches', async () => {
      const database = newDatabase();
      const storage = open(database);
      await storage.set('a', 1);
      await new Promise((done) => setTimeout(done, 20));
      await storage.set('a', 2);
      const puts = vi.spyOn(IDBObjectStore.prototype, 'put');
      onTestFinished(() => puts.mockRestore());
      await storage.set('a', 3);
      expect(puts).toHaveBeenCalledTimes(1);
    });

    it('lists, counts, exports and clears no number', async () => {
      const database = newDatabase();
      const storage = open(database);
      const heard = listen(storage);
      await storage.set('a', 1);
      expect(await storage.keys()).toEqual(['a']);
      expect(await storage.count()).toBe(1);
      expect(await storage.stats()).toEqual({ keys: 1, sizeBytes: 1 });
      await storage.clear();
      await storage.set('b', 1);
      await soon(() => expect(heard).toHaveLength(3));
      const second = open(database);
      const later = listen(second);
      await ready(second);
      await storage.set('c', 1);
      await soon(() => expect(later).toEqual([['set', 'c', 1, 'tab']]));
    });

    it('tells what keys hold where a commit was never told: a listener of one key only if that differs', async () => {
      const database = newDatabase();
      const [one, two] = [open(database), open(database)];
      await one.setMany([
        ['a', 1],
        ['b', 1],
      ]);
      const all = listen(two);
      const [changed, same]: [Told[], Told[]] = [[], []];
      two.watch('a', (change) => changed.push(short(change)), { immediate: true });
      two.watch('b', (change) => same.push(short(change)), { immediate: true });
      await Promise.all([ready(one), ready(two)]);
      await soon(() => expect(same).toHaveLength(1));
      // A tab that is killed between its commit and its message.
      const post = vi.spyOn(BroadcastChannel.prototype, 'postMessage').mockImplementation(() => {});
      await one.set('a', 2);
      post.mockRestore();
      await one.set('c', 3);
      await soon(() => expect(changed.at(-1)).toEqual(['set', 'a', 2, 'tab']));
      await soon(() =>
        expect(all).toEqual([
          ['clear', undefined, undefined, 'tab'],
          ['set', 'a', 2, 'tab'],
          ['set', 'b', 1, 'tab'],
          ['set', 'c', 3, 'tab'],
        ]),
      );
      await one.set('c', 4);
      await soon(() => expect(all.at(-1)).toEqual(['set', 'c', 4, 'tab']));
      expect(changed).toHaveLength(2);
      expect(same).toHaveLength(1);
    });

    it('waits a moment for a commit that was never told, however many follow it', async () => {
      const database = newDatabase();
      const [one, two] = [open(database), open(database)];
      const heard = listen(two);
      await Promise.all([ready(one), ready(two)]);
      const post = vi.spyOn(BroadcastChannel.prototype, 'postMessage').mockImplementation(() => {});
      await one.set('lost', 1);
      post.mockRestore();
      // Less than the time for which a missing number is waited for lies between two of them.
      for (let n = 0; n < 100 && heard.length === 0; n += 1) {
        await one.set('a', n);
        await new Promise((done) => setTimeout(done, 100));
      }
      expect(heard).not.toEqual([]);
      await soon(() => expect(heard).toContainEqual(['set', 'lost', 1, 'tab']));
    });

    it('tells this tab its own changes where there is no BroadcastChannel, and the status says so', async () => {
      vi.stubGlobal('BroadcastChannel', undefined);
      onTestFinished(() => void vi.unstubAllGlobals());
      const storage = open(newDatabase());
      const heard = listen(storage);
      await storage.set('a', 1);
      await soon(() => expect(heard).toEqual([['set', 'a', 1, 'local']]));
      expect(storage.status().reason).toMatch(/watch\(\) hears only this tab/);
    });

    it('hears nothing of code that writes past the SDK', async () => {
      const database = newDatabase();
      const storage = open(database);
      const heard = listen(storage);
      await storage.set('a', 1);
      await foreignSet('a', 2, createStore(database, 'storage'));
      await storage.set('b', 1);
      await soon(() => expect(heard.map(([, key]) => key)).toEqual(['a', 'b']));
    });
  });
}
