/** `observe()`: what a subscriber hears of a key, in which order, and what becomes of failures. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, expectTypeOf, it, vi } from 'vitest';
import { createStorage, type KeyValueStorage } from '../../src/index.ts';
import { type EntryState, type Observed, observe } from '../../src/observe/index.ts';
import { onEachBackend } from '../adapters/backends.ts';
import { openWithNothing } from '../contract/without-anything.ts';
import { mortalServer } from '../support/mortal-server.ts';
import { rejection } from '../support/rejection.ts';
import { syncedStorages } from '../support/synced-storages.ts';

/** Waits for what follows a call. A slow machine may take a while. */
const soon = (check: () => void): Promise<void> => vi.waitFor(check, { timeout: 20_000, interval: 5 });

type Heard = Array<readonly [value: unknown, state: EntryState['state']]>;

/** What a subscriber hears, and what ends that. */
function listen(observed: Pick<Observed<unknown>, 'subscribe'>) {
  const heard: Heard = [];
  const stop = observed.subscribe((value, { state }) => heard.push([value, state]));
  return { heard, stop };
}

onEachBackend((reopen) => {
  it('a subscriber hears the initial value at once, then the stored one, and then every change', async () => {
    const storage = await reopen();
    await storage.set('a', 1);
    const observed = observe(storage, 'a', { initial: 0 });
    expect(observed.get()).toBe(0);
    const { heard, stop } = listen(observed);
    expect(heard).toEqual([[0, 'loading']]);
    await soon(() => expect(observed.get()).toBe(1));
    await storage.set('a', 2);
    await soon(() => expect(observed.get()).toBe(2));
    await storage.delete('a');
    await soon(() => expect(observed.get()).toBe(0));
    await storage.set('a', new Map([[1, new Date(5)]]));
    await soon(() => expect(observed.get()).toEqual(new Map([[1, new Date(5)]])));
    await storage.clear();
    await soon(() => expect(observed.get()).toBe(0));
    expect(heard.map(([value]) => value)).toEqual([0, 1, 2, 0, new Map([[1, new Date(5)]]), 0]);
    expect(heard.slice(1).every(([, state]) => state === 'ready')).toBe(true);
    stop();
    stop.unsubscribe();
    await storage.set('a', 3);
    expect(heard).toHaveLength(6);
  });

  it('a key that does not exist is ready with the initial value', async () => {
    const observed = observe(await reopen(), 'none');
    const { heard } = listen(observed);
    await soon(() => expect(heard).toHaveLength(2));
    expect(heard).toEqual([
      [undefined, 'loading'],
      [undefined, 'ready'],
    ]);
  });

  it('a key of a namespace', async () => {
    const storage = await reopen();
    const observed = observe(storage.namespace('note:'), 'a');
    listen(observed);
    await storage.set('note:a', 'text');
    await soon(() => expect(observed.get()).toBe('text'));
  });

  it('all subscribers hear the same; one that comes back hears the present value', async () => {
    const storage = await reopen();
    const observed = observe<number>(storage, 'a', { initial: 0 });
    const first = listen(observed);
    await storage.set('a', 1);
    await soon(() => expect(first.heard.at(-1)).toEqual([1, 'ready']));
    const second = listen(observed);
    expect(second.heard).toEqual([[1, 'ready']]);
    first.stop();
    second.stop();
    await storage.set('a', 2);
    const third = listen(observed);
    await soon(() => expect(third.heard.at(-1)).toEqual([2, 'ready']));
  });

  it('an observer object gets the values, as an Observable gives them', async () => {
    const storage = await reopen();
    const values: unknown[] = [];
    const subscription = observe(storage, 'a').subscribe({ next: (value) => values.push(value) });
    await storage.set('a', 1);
    await soon(() => expect(values.at(-1)).toBe(1));
    subscription.unsubscribe();
    await storage.set('a', 2);
    expect(values.at(-1)).toBe(1);
    observe(storage, 'a').subscribe({})();
  });

  it('set() shows the value at once, and stores it', async () => {
    const storage = await reopen();
    const observed = observe<number>(storage, 'n', { initial: 0 });
    const { heard } = listen(observed);
    await soon(() => expect(heard.at(-1)).toEqual([0, 'ready']));
    const saved = observed.set(5);
    expect(observed.get()).toBe(5);
    await saved;
    expect(await storage.get('n')).toBe(5);
    await soon(() => expect(heard.at(-1)).toEqual([5, 'ready']));
    await observed.set((n) => n + 1);
    expect(await storage.get('n')).toBe(6);
    await soon(() => expect(heard.at(-1)).toEqual([6, 'ready']));
    expect(heard.slice(1)).toEqual([
      [0, 'ready'],
      [5, 'saving'],
      [5, 'ready'],
      [6, 'saving'],
      [6, 'ready'],
    ]);
  });

  it('quick set() calls never show an older value, and the last one is stored', async () => {
    const storage = await reopen();
    const observed = observe<number>(storage, 'n', { initial: 0 });
    const { heard } = listen(observed);
    const saves: Array<Promise<void>> = [];
    for (let n = 1; n <= 60; n += 1) {
      saves.push(observed.set(n));
      if (n % 7 === 0) await saves.at(-1);
      else if (n % 3 === 0) await new Promise((done) => setTimeout(done, 1));
    }
    await Promise.all(saves);
    await soon(() => expect(heard.at(-1)).toEqual([60, 'ready']));
    const values = heard.map(([value]) => Number(value));
    expect(values).toEqual([...values].sort((a, b) => a - b));
    expect(await storage.get('n')).toBe(60);
  });

  it('a set() that fails shows the stored value again, says why, and the next one clears that', async () => {
    const storage = await reopen();
    await storage.set('a', 'stored');
    const observed = observe(storage, 'a');
    const { heard } = listen(observed);
    await soon(() => expect(observed.get()).toBe('stored'));
    const refused = observed.set({ run: () => 1 });
    expect(await rejection(refused)).toMatchObject({ code: 'unsupported-value' });
    await soon(() => expect(observed.get()).toBe('stored'));
    expect(heard.at(-1)).toEqual(['stored', 'error']);
    // It is the last known failure until another write, also if the key changes meanwhile.
    await storage.set('a', 'changed');
    await soon(() => expect(heard.at(-1)).toEqual(['changed', 'error']));
    await observed.set('good');
    await soon(() => expect(heard.at(-1)).toEqual(['good', 'ready']));
  });

  it('without a subscriber set() stores too, and get() returns what it has stored', async () => {
    const storage = await reopen();
    const observed = observe(storage, 'a');
    await observed.set('text');
    expect(observed.get()).toBe('text');
    expect(await storage.get('a')).toBe('text');
    await expect(observed.set(() => 1)).resolves.toBeUndefined();
    expect(() =>
      observed.set(() => {
        throw new Error('of the app');
      }),
    ).toThrow('of the app');
    expect(observed.get()).toBe(1);
  });
});

describe('over one database in two tabs', () => {
  const opened: KeyValueStorage[] = [];
  let databases = 0;
  /** Two tabs, both of which watch. */
  async function openTabs(): Promise<[KeyValueStorage, KeyValueStorage]> {
    databases += 1;
    const open = (): KeyValueStorage => createStorage({ database: `observe-${databases}`, logger: false });
    const tabs: [KeyValueStorage, KeyValueStorage] = [open(), open()];
    opened.push(...tabs);
    for (const tab of tabs) {
      tab.watch(undefined, () => {});
      await tab.ready();
    }
    await new Promise((done) => setTimeout(done, 50));
    return tabs;
  }
  afterEach(async () => {
    await Promise.all(opened.splice(0).map((storage) => storage.close()));
  });
  const numbers = (heard: Heard): number[] => heard.map(([value]) => Number(value ?? 0));
  const sorted = (values: readonly number[]): number[] => [...values].sort((a, b) => a - b);

  it('a view that subscribes while values are written hears the last one, and never an older value after a newer one', async () => {
    const [writer, reader] = await openTabs();
    const all: Array<ReturnType<typeof listen>> = [];
    let n = 0;
    const writing = (async () => {
      while (n < 400) {
        n += 1;
        await (n % 5 === 0 ? reader : writer).set('n', n);
      }
    })();
    while (n < 400) {
      all.push(listen(observe(reader, 'n')));
      await new Promise((done) => setTimeout(done, 1));
    }
    await writing;
    expect(all.length).toBeGreaterThan(10);
    await soon(() => {
      for (const { heard } of all) expect(numbers(heard).at(-1)).toBe(400);
    });
    for (const { heard } of all) expect(numbers(heard)).toEqual(sorted(numbers(heard)));
  });

  it('both may change a key with functions: no step is lost, and neither shows an older value', async () => {
    const views = (await openTabs()).map((tab) => observe<number>(tab, 'n', { initial: 0 }));
    const all = views.map(listen);
    await Promise.all(
      views.map(async (view) => {
        for (let i = 0; i < 100; i += 1) await view.set((n) => n + 1);
      }),
    );
    await soon(() => expect(all.map(({ heard }) => heard.at(-1))).toEqual(all.map(() => [200, 'ready'])));
    for (const { heard } of all) expect(numbers(heard)).toEqual(sorted(numbers(heard)));
  });
});

describe('failures', () => {
  const open = syncedStorages();

  it('a key that cannot be read is in the state error, and is read again when the server is there', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'observe-'));
    const server = await mortalServer(join(folder, 'server.db'), {});
    const storage = await openWithNothing(() => open(server.url));
    const observed = observe(storage, 'a', { initial: 'none' });
    let last: EntryState | undefined;
    const { heard } = listen(observed);
    observed.subscribe((_, state) => {
      last = state;
    });
    await soon(() => expect(last?.state).toBe('error'));
    expect(last?.error).toMatchObject({ code: 'unavailable' });
    expect(heard[0]).toEqual(['none', 'loading']);
    await server.start();
    try {
      await fetch(`${server.url}/api/storage/a`, {
        method: 'PUT',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ value: 'of the server' }),
      });
      await soon(() => expect(heard.at(-1)).toEqual(['of the server', 'ready']));
      expect(last).toMatchObject({ state: 'ready', error: undefined });
    } finally {
      await storage.close();
      await server.kill();
      await rm(folder, { recursive: true, force: true });
    }
  });

  it('a storage that is closed, and a key that is none, are errors too, not exceptions', async () => {
    const storage = createStorage({ database: 'observe-closed', logger: false });
    const empty = listen(observe(storage.namespace('a:'), ''));
    await soon(() => expect(empty.heard.at(-1)).toEqual([undefined, 'error']));
    await storage.close();
    let error: unknown;
    observe(storage, 'a').subscribe((_, state) => {
      error = state.error;
    });
    await soon(() => expect(error).toMatchObject({ code: 'closed' }));
  });
});

/** Compiled, never run. */
function typed(storage: KeyValueStorage<{ n: number; [user: `user:${string}`]: Date }>): void {
  expectTypeOf(observe(storage, 'n').get()).toEqualTypeOf<number | undefined>();
  expectTypeOf(observe(storage, 'n', { initial: 0 }).get()).toEqualTypeOf<number>();
  expectTypeOf(observe(storage, 'n', { initial: null }).get()).toEqualTypeOf<number | null>();
  expectTypeOf(observe(storage.namespace('user:'), 'a').get()).toEqualTypeOf<Date | undefined>();
  const open: KeyValueStorage = createStorage();
  expectTypeOf(observe(open, 'any').get()).toEqualTypeOf<unknown>();
  expectTypeOf(observe<Date>(open, 'any').get()).toEqualTypeOf<Date | undefined>();
  expectTypeOf(observe<Date>(open, 'any', { initial: new Date() }).get()).toEqualTypeOf<Date>();
  void observe(storage, 'n').set((n) => (n ?? 0) + 1);
  // @ts-expect-error a key that the schema does not have
  observe(storage, 'other');
  // @ts-expect-error an initial value of another type
  observe(storage, 'n', { initial: 'text' });
  // @ts-expect-error a value of another type
  void observe(storage, 'n').set('text');
}
void typed;
