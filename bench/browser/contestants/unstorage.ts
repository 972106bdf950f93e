/** unstorage with its IndexedDB driver, which is made of idb-keyval: its calls for many keys take a transaction a key. */
import { createStorage } from 'unstorage';
import indexedDbDriver from 'unstorage/drivers/indexedb';
import { type Library, STORE } from '../key-value.ts';

export const library: Library = {
  name: 'unstorage',
  singly: true,
  readsAllSingly: true,
  async connect(database) {
    const storage = createStorage<string | object>({
      driver: indexedDbDriver({ base: '', dbName: database, storeName: STORE }),
    });
    const getMany = async (keys: readonly string[]) =>
      (await storage.getItems([...keys])).map(({ value }) => value as unknown);
    return {
      get: (key) => storage.getItem(key),
      set: (key, value) => storage.setItem(key, value as object),
      getMany,
      setMany: (entries) =>
        storage.setItems(entries.map(([key, value]) => ({ key, value: value as object }))),
      clear: () => storage.clear(),
      keys: () => storage.getKeys(),
      async readAll(visit) {
        const keys = await storage.getKeys();
        const values = await getMany(keys);
        keys.forEach((key, place) => {
          visit(key, values[place]);
        });
      },
    };
  },
};
