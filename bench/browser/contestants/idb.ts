/** idb: its shortcuts for single calls, which wait for `tx.done`, and one transaction for many keys. */
import { openDB } from 'idb';
import { type Library, STORE } from '../key-value.ts';

export const library: Library = {
  name: 'idb',
  async connect(database) {
    const db = await openDB(database, 1, {
      upgrade(fresh) {
        fresh.createObjectStore(STORE);
      },
    });
    return {
      get: (key) => db.get(STORE, key),
      set: (key, value) => db.put(STORE, value, key),
      getMany: (keys) => {
        const { store } = db.transaction(STORE);
        return Promise.all(keys.map((key) => store.get(key)));
      },
      setMany: (entries) => {
        const { store, done } = db.transaction(STORE, 'readwrite');
        return Promise.all<unknown>([...entries.map(([key, value]) => store.put(value, key)), done]);
      },
      clear: () => db.clear(STORE),
      keys: async () => (await db.getAllKeys(STORE)) as string[],
      async readAll(visit) {
        const { store } = db.transaction(STORE);
        const [keys, values] = await Promise.all([store.getAllKeys(), store.getAll()]);
        keys.forEach((key, place) => {
          visit(key as string, values[place]);
        });
      },
    };
  },
};
