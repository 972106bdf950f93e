/** zustand's persist middleware, as its documentation uses it. https://zustand.docs.pmnd.rs/integrations/persisting-store-data */
import { expect, it, vi } from 'vitest';
import { createJSONStorage, persist } from 'zustand/middleware';
import { createStore } from 'zustand/vanilla';
import { asAsyncStorage, asStateStorage } from '../../src/adapters/index.ts';
import type { KeyValueStorage } from '../../src/index.ts';
import { onEachBackend } from './backends.ts';

interface Bears {
  readonly bears: number;
  addABear(): void;
}

function createBears(storage: KeyValueStorage, prefix = 'zustand:') {
  const items = asAsyncStorage(storage, { prefix });
  return createStore<Bears>()(
    persist((set, get) => ({ bears: 0, addABear: () => set({ bears: get().bears + 1 }) }), {
      name: 'food-storage',
      storage: createJSONStorage(() => items),
    }),
  );
}

interface Trip {
  readonly start: Date;
  readonly stops: ReadonlyMap<string, Date>;
  readonly seen: ReadonlySet<string>;
  readonly spent: bigint;
  visit(place: string, when: Date): void;
}

const createTrip = (storage: KeyValueStorage) =>
  createStore<Trip>()(
    persist(
      (set, get) => ({
        start: new Date(0),
        stops: new Map(),
        seen: new Set(),
        spent: 0n,
        visit: (place, when) =>
          set({
            start: new Date(1),
            stops: new Map(get().stops).set(place, when),
            seen: new Set(get().seen).add(place),
            spent: get().spent + 10n,
          }),
      }),
      { name: 'trip', storage: asStateStorage(storage, { prefix: 'zustand:' }) },
    ),
  );

/** A store with the state that was stored. */
async function hydrated<Store extends { readonly persist: { hasHydrated(): boolean } }>(
  store: Store,
): Promise<Store> {
  await vi.waitFor(() => expect(store.persist.hasHydrated()).toBe(true), { timeout: 15_000, interval: 5 });
  return store;
}

onEachBackend((reopen, storeElsewhere) => {
  it('createJSONStorage: a store that is created again has the state of before', async () => {
    const storage = await reopen();
    const before = await hydrated(createBears(storage));
    expect(before.getState().bears).toBe(0);
    before.getState().addABear();
    before.getState().addABear();
    // Calls of a storage take effect in their order: the store's writes are committed now.
    expect(await storage.get('zustand:food-storage')).toBe('{"state":{"bears":2},"version":0}');

    const again = await reopen();
    const after = await hydrated(createBears(again));
    expect(after.getState().bears).toBe(2);
    after.getState().addABear();
    expect(await again.get('zustand:food-storage')).toBe('{"state":{"bears":3},"version":0}');
  });

  it('asStateStorage: Dates, Maps, Sets and bigints survive, and the actions are those of the new store', async () => {
    const storage = await reopen();
    const before = await hydrated(createTrip(storage));
    before.getState().visit('Rome', new Date(2));
    expect(await storage.has('zustand:trip')).toBe(true);

    const again = await reopen();
    const after = await hydrated(createTrip(again));
    expect(after.getState()).toMatchObject({
      start: new Date(1),
      stops: new Map([['Rome', new Date(2)]]),
      seen: new Set(['Rome']),
      spent: 10n,
    });
    after.getState().visit('Oslo', new Date(3));
    expect(await again.has('zustand:trip')).toBe(true);
    expect([...after.getState().stops.keys()]).toEqual(['Rome', 'Oslo']);
    expect(after.getState().stops.get('Rome')).toBeInstanceOf(Date);
  });

  it('asStateStorage with partialize and migrate', async () => {
    const open = async (version: number) => {
      const store = createStore<{ readonly since: Date; readonly secret: string }>()(
        persist(() => ({ since: new Date(0), secret: 'not stored' }), {
          name: 'parts',
          version,
          storage: asStateStorage(await reopen()),
          partialize: ({ since }) => ({ since }),
          migrate: (state, from) => ({ since: new Date((state as { since: Date }).since.getTime() + from) }),
        }),
      );
      await hydrated(store);
      return store;
    };
    await (await open(1)).setState({ since: new Date(5), secret: 'changed' });
    expect((await open(1)).getState()).toEqual({ since: new Date(5), secret: 'not stored' });
    expect((await open(2)).getState()).toEqual({ since: new Date(6), secret: 'not stored' });
  });

  it('stores with different prefixes do not see each other, and clearStorage() deletes its own state only', async () => {
    const storage = await reopen();
    const one = await hydrated(createBears(storage, 'one:'));
    const two = await hydrated(createBears(storage, 'two:'));
    one.getState().addABear();
    two.getState().addABear();
    two.getState().addABear();
    two.persist.clearStorage();
    expect(await storage.keys()).toEqual(['one:food-storage']);
    const again = await reopen();
    expect((await hydrated(createBears(again, 'one:'))).getState().bears).toBe(1);
    expect((await hydrated(createBears(again, 'two:'))).getState().bears).toBe(0);
  });

  it('a store that moves from text to objects keeps its state', async () => {
    const storage = await reopen();
    (await hydrated(createBears(storage))).getState().addABear();
    const moved = await hydrated(
      createStore<{ readonly bears: number }>()(
        persist(() => ({ bears: 0 }), {
          name: 'food-storage',
          storage: asStateStorage(storage, { prefix: 'zustand:' }),
        }),
      ),
    );
    expect(moved.getState().bears).toBe(1);
    moved.setState({ bears: 2 });
    expect(await storage.get('zustand:food-storage')).toEqual({ state: { bears: 2 }, version: 0 });
  });

  it('a store shows what another tab has stored, if it is hydrated again for changes that are not its own', async () => {
    const storage = (await reopen()).namespace('zustand:');
    const open = () =>
      createStore<{ readonly bears: number }>()(
        persist(() => ({ bears: 0 }), { name: 'bears', storage: asStateStorage(storage) }),
      );
    const store = await hydrated(open());
    const sources: string[] = [];
    const rehydrated: unknown[] = [];
    store.persist.onFinishHydration(({ bears }) => rehydrated.push(bears));
    storage.watch('bears', ({ type, source }) => {
      if (type === 'set') sources.push(source);
      if (source !== 'local') void store.persist.rehydrate();
    });
    store.setState({ bears: 1 });
    await vi.waitFor(() => expect(sources).toEqual(['local']), { timeout: 15_000 });
    await storeElsewhere('zustand:bears', { state: { bears: 2 }, version: 0 });
    await vi.waitFor(() => expect(store.getState().bears).toBe(2), { timeout: 30_000 });
    expect(sources.slice(1)).toEqual([expect.stringMatching(/^(tab|remote)$/)]);
    expect(rehydrated).toContain(2);
  });
});
