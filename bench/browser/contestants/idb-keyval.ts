/** idb-keyval: a write resolves on its transaction's `complete`. */
import { clear, createStore, entries, get, getMany, keys, set, setMany } from 'idb-keyval';
import { type Library, STORE } from '../key-value.ts';

export const library: Library = {
  name: 'idb-keyval',
  async connect(database) {
    const store = createStore(database, STORE);
    return {
      get: (key) => get(key, store),
      set: (key, value) => set(key, value, store),
      getMany: (names) => getMany([...names], store),
      setMany: (pairs) => setMany([...pairs] as [string, unknown][], store),
      clear: () => clear(store),
      keys: () => keys(store),
      async readAll(visit) {
        for (const [key, value] of await entries<string, unknown>(store)) visit(key, value);
      },
    };
  },
};
