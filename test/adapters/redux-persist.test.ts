/** redux-persist, as its documentation uses it. https://github.com/rt2zz/redux-persist#basic-usage */
import { legacy_createStore as createStore, type Reducer } from 'redux';
import { type PersistConfig, type Persistor, persistReducer, persistStore } from 'redux-persist';
import { expect, it } from 'vitest';
import { asAsyncStorage, asStateStorage } from '../../src/adapters/index.ts';
import { onEachBackend } from './backends.ts';

interface State {
  readonly count: number;
  readonly last: Date | null;
  readonly tags: ReadonlySet<string>;
}

const INITIAL: State = { count: 0, last: null, tags: new Set() };

const reducer: Reducer<State, { type: 'add'; tag: string } | { type: string }> = (state = INITIAL, action) =>
  'tag' in action && action.type === 'add'
    ? { count: state.count + 1, last: new Date(5), tags: new Set(state.tags).add(action.tag) }
    : state;

/** A store with the state that was stored. */
async function open(
  config: Pick<PersistConfig<State>, 'storage' | 'serialize' | 'whitelist'> & { deserialize?: boolean },
) {
  // A slow machine must not meet the limit after which redux-persist goes on without the stored state.
  const store = createStore(persistReducer({ key: 'root', timeout: 0, ...config }, reducer));
  const persistor = await new Promise<Persistor>((resolve) => {
    const opened = persistStore(store, null, () => resolve(opened));
  });
  return { store, persistor };
}

onEachBackend((reopen) => {
  it('as text: a store that is created again has the state of before, and purge() deletes it', async () => {
    const storage = await reopen();
    const config = { whitelist: ['count'] };
    const before = await open({ ...config, storage: asAsyncStorage(storage, { prefix: 'redux:' }) });
    expect(before.store.getState().count).toBe(0);
    before.store.dispatch({ type: 'add', tag: 'a' });
    await before.persistor.flush();
    before.persistor.pause();
    expect(typeof (await storage.get('redux:persist:root'))).toBe('string');

    const again = await reopen();
    const after = await open({ ...config, storage: asAsyncStorage(again, { prefix: 'redux:' }) });
    expect(after.store.getState().count).toBe(1);
    after.persistor.pause();
    await after.persistor.flush();
    await after.persistor.purge();
    expect(await again.keys()).toEqual([]);
  });

  it('as objects (serialize: false): Dates and Sets survive', async () => {
    const config = { serialize: false, deserialize: false };
    const storage = await reopen();
    const before = await open({ ...config, storage: asStateStorage(storage, { prefix: 'redux:' }) });
    before.store.dispatch({ type: 'add', tag: 'a' });
    await before.persistor.flush();
    before.persistor.pause();

    const after = await open({ ...config, storage: asStateStorage(await reopen(), { prefix: 'redux:' }) });
    expect(after.store.getState()).toMatchObject({ count: 1, last: new Date(5), tags: new Set(['a']) });
    after.persistor.pause();
    await after.persistor.flush();
  });
});
