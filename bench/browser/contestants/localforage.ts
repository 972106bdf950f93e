/** localForage with its IndexedDB driver: a write resolves on its transaction's `complete`. It has no call for many keys. */
import localforage from 'localforage';
import { type Library, STORE } from '../key-value.ts';

export const library: Library = {
  name: 'localForage',
  singly: true,
  async connect(database) {
    const forage = localforage.createInstance({
      name: database,
      storeName: STORE,
      driver: localforage.INDEXEDDB,
    });
    return {
      get: (key) => forage.getItem(key),
      set: (key, value) => forage.setItem(key, value),
      getMany: (keys) => Promise.all(keys.map((key) => forage.getItem(key))),
      setMany: (entries) => Promise.all(entries.map(([key, value]) => forage.setItem(key, value))),
      clear: () => forage.clear(),
      keys: () => forage.keys(),
      readAll: (visit) =>
        forage.iterate<unknown, undefined>((value, key) => {
          // Whatever is returned, but undefined, ends it.
          visit(key, value);
          return undefined;
        }),
    };
  },
};
