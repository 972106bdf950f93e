/** `watch()` with a server: changes of this tab, of other tabs and of other clients, while the server answers and while it is away. */
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import type { Change, KeyValueStorage, StorageError } from '../../src/index.ts';
import { openWithNothing } from '../contract/without-anything.ts';
import { type Level1Server, startLevel1Server } from '../support/level1-server.ts';
import { startOldServer } from '../support/old-server.ts';
import { reopen, shut, syncedStorages } from '../support/synced-storages.ts';
import { startTypescriptServer } from '../support/typescript-server.ts';
import { withoutIndexedDb } from '../support/without-indexeddb.ts';

const open = syncedStorages();
let server: Level1Server;

beforeEach(async () => {
  server = await startLevel1Server();
});
afterEach(() => server.stop().catch(() => undefined));

/** Waits for what follows a call. A slow machine may take a while. */
const soon = (check: () => void): Promise<void> => vi.waitFor(check, { timeout: 20_000, interval: 20 });

type Told = readonly [type: string, key: string | undefined, value: unknown, source: string];

/** What a listener of `storage` hears. */
function listen(storage: Pick<KeyValueStorage, 'watch'>, keys?: { readonly prefix: string }): Told[] {
  const heard: Told[] = [];
  storage.watch(keys, ({ type, key, value, source }) => heard.push([type, key, value, source]));
  return heard;
}
const theirs = (key: string, value: unknown): void => {
  server.apply({ ops: [{ op: 'put', key, value }] });
};
/** Makes a storage ask the server for changes: every handshake does. */
const askForChanges = async (storage: KeyValueStorage): Promise<void> => {
  shut(server);
  await storage.set('asks', 1);
  reopen(server);
  await storage.flush();
};

describe('while the server answers', () => {
  it('tells every change of this tab once, with the revision of the server', async () => {
    const storage = open(server.url);
    const heard: Change[] = [];
    storage.watch(undefined, (change) => heard.push(change));
    await storage.set('a', 1);
    await storage.update('a', () => ({ when: new Date(5) }));
    await storage.atomic([{ set: 'b', value: 2 }, { delete: 'a' }]);
    await storage.clear();
    await soon(() => expect(heard).toHaveLength(5));
    expect(heard).toEqual([
      { type: 'set', key: 'a', value: 1, revision: 'first.1', source: 'local' },
      { type: 'set', key: 'a', value: { when: new Date(5) }, revision: 'first.2', source: 'local' },
      { type: 'set', key: 'b', value: 2, revision: 'first.3', source: 'local' },
      { type: 'delete', key: 'a', source: 'local' },
      { type: 'clear', source: 'local' },
    ]);
  });

  it('tells the other tabs, in the same order', async () => {
    const tabs = [open(server.url, { database: 'tabs' }), open(server.url, { database: 'tabs' })];
    const heard = tabs.map((tab) => listen(tab));
    await Promise.all(tabs.map((tab) => tab.filled()));
    await Promise.all(
      tabs.map(async (tab, i) => {
        for (let n = 0; n < 20; n += 1) await tab.set(`k${n % 2}`, `${i}.${n}`);
      }),
    );
    const last = await tabs[0]?.getMany(['k0', 'k1']);
    await soon(() => {
      const [one, two] = heard.map((told) => told.map(([, key, value]) => `${key}=${value}`));
      expect(one).toEqual(two);
      for (const i of [0, 1])
        expect(one?.findLast((told) => told.startsWith(`k${i}`))).toBe(`k${i}=${last?.[i]}`);
    });
    const all = new Set(heard[0]?.map(([, , value]) => value));
    expect(heard[0]).toHaveLength(all.size);
  });

  it('tells the changes of other clients when they are heard of: by a read, and by the feed', async () => {
    const storage = open(server.url);
    await storage.setMany([
      ['a', 1],
      ['b', 1],
      ['c', 1],
    ]);
    await storage.filled();
    const heard = listen(storage);
    theirs('a', 2);
    expect(await storage.get('a')).toBe(2);
    await soon(() => expect(heard).toEqual([['set', 'a', 2, 'remote']]));
    theirs('new', { rich: { $cf: ['Date', 5] } });
    theirs('b', 2);
    theirs('b', 3);
    server.apply({ ops: [{ op: 'delete', key: 'c' }] });
    await askForChanges(storage);
    await soon(() => expect(heard).toContainEqual(['delete', 'c', undefined, 'remote']));
    expect(heard.filter(([, key]) => key === 'b')).toEqual([['set', 'b', 3, 'remote']]);
    expect(heard.filter(([, key]) => key === 'new')).toHaveLength(1);
    expect(heard.filter(([, key]) => key === 'a')).toHaveLength(1);
  });

  it('tells the clear of another client as a clear, and what was written after it', async () => {
    const storage = open(server.url);
    await storage.setMany([
      ['a', 1],
      ['b', 1],
    ]);
    await storage.filled();
    const heard = listen(storage);
    server.apply({ ops: [{ op: 'clear', key: '' }] });
    theirs('b', 2);
    await askForChanges(storage);
    await soon(() => expect(heard).toContainEqual(['set', 'b', 2, 'remote']));
    const state = new Map<string, unknown>([
      ['a', 1],
      ['b', 1],
    ]);
    for (const [type, key = '', value] of heard) {
      if (type === 'clear') state.clear();
      else if (type === 'set') state.set(key, value);
      else state.delete(key);
    }
    expect(Object.fromEntries(state)).toEqual({ asks: 1, b: 2 });
  });

  it('tells nothing of what it only learns: the first answers, and the copy as it fills', async () => {
    for (let i = 0; i < 50; i += 1) theirs(`k${i}`, i);
    const storage = open(server.url);
    const heard = listen(storage);
    expect(await storage.get('k7')).toBe(7);
    await storage.filled();
    await storage.set('end', 1);
    await soon(() => expect(heard).toEqual([['set', 'end', 1, 'local']]));
  });

  it('tells no clear() that was before the copy, which the feed of a real server still names', async () => {
    const real = await startTypescriptServer();
    onTestFinished(async () => {
      await real.stop();
    });
    const other = open(real.url, { database: 'of another device' });
    await other.set('old', 1);
    await other.clear();
    await other.set('kept', 1);
    await other.flush();
    const storage = open(real.url);
    const heard = listen(storage);
    await storage.filled();
    await storage.set('end', 1);
    await soon(() => expect(heard).toContainEqual(['set', 'end', 1, 'local']));
    expect(heard).toEqual([['set', 'end', 1, 'local']]);
  });
});

describe('without any call', () => {
  const asked = (): number => server.seen.filter(({ url }) => url.startsWith('/api/v1/changes')).length;

  it('hears the changes of other clients, as long as somebody watches', async () => {
    const storage = open(server.url);
    await storage.set('a', 1);
    await storage.filled();
    const heard: unknown[] = [];
    const stop = storage.watch('a', ({ value, source }) => heard.push([value, source]));
    theirs('a', 2);
    await soon(() => expect(heard).toEqual([[2, 'remote']]));
    theirs('a', 3);
    await soon(() => expect(heard).toHaveLength(2));
    stop();
    const before = asked();
    await new Promise((done) => setTimeout(done, 2500));
    // One request may have been under way.
    expect(asked() - before).toBeLessThanOrEqual(1);
  }, 60_000);

  it('hears them again where somebody watches after the last listener has ended', async () => {
    const storage = open(server.url);
    await storage.set('a', 1);
    await storage.filled();
    storage.watch('a', () => {})();
    const heard = listen(storage);
    theirs('a', 2);
    await soon(() => expect(heard).toEqual([['set', 'a', 2, 'remote']]));
  }, 60_000);

  it('compares everything where the server no longer knows the cursor, or was restored', async () => {
    const storage = open(server.url);
    await storage.setMany([
      ['a', 1],
      ['b', 1],
      ['c', 1],
    ]);
    await storage.filled();
    const all = listen(storage);
    const one: unknown[] = [];
    storage.watch('b', ({ value }) => one.push(value), { immediate: true });
    const state = (): unknown => {
      const from = all.findLastIndex(([type]) => type === 'clear');
      return Object.fromEntries(all.slice(from + 1).map(([, key, value]) => [key, value]));
    };
    await soon(() => expect(one).toEqual([1]));
    let isGone = true;
    server.before = ({ url }, response) => {
      if (!isGone || !url.startsWith('/api/v1/changes?since')) return false;
      isGone = false;
      theirs('new', 1);
      theirs('a', 2);
      server.apply({ ops: [{ op: 'delete', key: 'c' }] });
      const json = { error: 'gone', type: 'urn:codeforge-storage:cursor-gone' };
      response.writeHead(410, { 'content-type': 'application/json' }).end(JSON.stringify(json));
      return true;
    };
    await soon(() => expect(state()).toEqual({ a: 2, b: 1, new: 1 }));
    // A restore: fewer changes, in another epoch.
    server.epoch = 'second';
    server.seq = 0;
    server.data.clear();
    server.changes = [];
    theirs('b', 0);
    theirs('other', 1);
    await soon(() => expect(state()).toEqual({ b: 0, other: 1 }));
    expect(one).toEqual([1, 0]);
  }, 60_000);

  it('asks from one tab for all, and from another one when that is closed', async () => {
    const tabs = [
      open(server.url, { database: 'follow' }),
      open(server.url, { database: 'follow' }),
    ] as const;
    await tabs[0].set('a', 0);
    await Promise.all(tabs.map((tab) => tab.filled()));
    const heard = tabs.map((tab) => listen(tab));
    await tabs[1].get('a');
    for (const n of [1, 2]) {
      theirs('a', n);
      await soon(() => expect(heard.map((told) => told.at(-1)?.[2])).toEqual([n, n]));
    }
    const before = asked();
    await new Promise((done) => setTimeout(done, 3000));
    // The server of this test holds no answer back, so that one is asked for each second.
    expect(asked() - before).toBeLessThanOrEqual(4);
    await tabs[0].close();
    theirs('a', 3);
    await soon(() => expect(heard[1]?.at(-1)).toEqual(['set', 'a', 3, 'remote']));
    for (const told of heard) expect(new Set(told.map(([, , value]) => value)).size).toBe(told.length);
  }, 60_000);
});

describe('while the server is away', () => {
  it('tells writes when they are queued, and not again when they are sent', async () => {
    const storage = open(server.url);
    await storage.set('a', 0);
    await storage.filled();
    shut(server);
    const heard = listen(storage);
    await storage.set('a', 1);
    await storage.set('b', 1);
    await storage.delete('a');
    reopen(server);
    await storage.flush();
    await storage.set('end', 1);
    await soon(() => expect(heard.at(-1)).toEqual(['set', 'end', 1, 'local']));
    expect(heard).toEqual([
      ['set', 'a', 1, 'local'],
      ['set', 'b', 1, 'local'],
      ['delete', 'a', undefined, 'local'],
      ['set', 'end', 1, 'local'],
    ]);
  });

  it('tells a clear, and the write after it', async () => {
    const storage = open(server.url);
    await storage.setMany([
      ['a', 0],
      ['b', 0],
    ]);
    await storage.filled();
    shut(server);
    const heard = listen(storage);
    await storage.clear();
    await storage.set('b', 1);
    reopen(server);
    await storage.flush();
    await storage.set('end', 1);
    await soon(() => expect(heard.at(-1)).toEqual(['set', 'end', 1, 'local']));
    expect(heard).toEqual([
      ['clear', undefined, undefined, 'local'],
      ['set', 'b', 1, 'local'],
      ['set', 'end', 1, 'local'],
    ]);
  });

  it('tells the value of the server where a write loses a conflict, and the local one where that is chosen', async () => {
    const storage = open(server.url);
    await storage.set('k', 'base');
    await storage.filled();
    shut(server);
    const heard = listen(storage);
    await storage.set('k', 'mine');
    theirs('k', 'theirs');
    reopen(server);
    await storage.flush();
    await soon(() => expect(heard.at(-1)).toEqual(['set', 'k', 'theirs', 'remote']));
    await storage.resolve('k', 'local');
    await soon(() => expect(heard.at(-1)).toEqual(['set', 'k', 'mine', 'local']));
    expect(heard).toHaveLength(3);
  });

  it('tells the value before where a queued write is discarded', async () => {
    const storage = open(server.url);
    await storage.set('k', 'base');
    await storage.filled();
    shut(server);
    const heard = listen(storage);
    await storage.set('k', 'mine');
    const [entry] = await storage.outbox();
    await storage.discard(String(entry?.id));
    await soon(() => expect(heard.map(([, , value]) => value)).toEqual(['mine', 'base']));
  });

  it('tells the other tabs of a queued write at once', async () => {
    const [one, two] = [open(server.url, { database: 'away' }), open(server.url, { database: 'away' })];
    await one.set('a', 0);
    await Promise.all([one.filled(), two.filled()]);
    const heard = listen(two);
    await two.get('a');
    shut(server);
    await one.set('a', 1);
    await soon(() => expect(heard).toEqual([['set', 'a', 1, 'tab']]));
  });

  it('first tells the present state of a key that is read from the server or from this device', async () => {
    theirs('a', 1);
    const storage = open(server.url);
    const first: unknown[] = [];
    storage.watch('a', ({ value }) => first.push(value), { immediate: true });
    await soon(() => expect(first).toEqual([1]));
    shut(server);
    await storage.set('a', 2);
    const second: unknown[] = [];
    storage.watch('a', ({ value }) => second.push(value), { immediate: true });
    await soon(() => expect([first, second]).toEqual([[1, 2], [2]]));
  });
});

it('says with onError that a key cannot be read at first, as long as somebody watches; without it that is logged', async () => {
  const nowhere = 'http://127.0.0.1:9';
  const storage = await openWithNothing(() => open(nowhere));
  const lines = (storage as ReturnType<typeof open>).lines;
  const errors: unknown[] = [];
  const onError = ({ code }: StorageError): void => void errors.push(code);
  const stop = storage.watch('a', () => {}, { immediate: true, onError: () => errors.push('stopped') });
  stop();
  storage.watch('a', () => {}, { immediate: true, onError });
  await soon(() => expect(errors).toEqual(['unavailable']));
  storage.watch('a', () => {}, { immediate: true });
  await soon(() => expect(lines.join()).toMatch(/watch\(\) that fails: StorageError/));
  storage.watch('a', () => {}, {
    immediate: true,
    onError() {
      throw new Error('of the app');
    },
  });
  await soon(() => expect(lines.join()).toMatch(/watch\(\) that fails: Error: of the app/));
});

describe('without IndexedDB', () => {
  withoutIndexedDb();
  it('says with onError that there is no server to read from', async () => {
    const storage = open('http://127.0.0.1:9');
    const errors: unknown[] = [];
    storage.watch('a', () => {}, { immediate: true, onError: ({ code }) => errors.push(code) });
    await soon(() => expect(errors).toEqual(['unavailable']));
  });
});

it('tells this origin’s changes on a server of level 0', async () => {
  const old = await startOldServer();
  const storage = open(old.url);
  const heard = listen(storage);
  await storage.set('a', 1);
  await storage.delete('a');
  await storage.clear();
  await storage.set('b', new Date(5));
  await soon(() =>
    expect(heard).toEqual([
      ['set', 'a', 1, 'local'],
      ['delete', 'a', undefined, 'local'],
      ['clear', undefined, undefined, 'local'],
      ['set', 'b', new Date(5), 'local'],
    ]),
  );
  await storage.close();
  await old.close();
});
