/**
 * Dexie: a table whose key is a property of its records. A write resolves on its transaction's `complete`.
 *
 * On a loopback address Dexie gathers stack traces for the developer; that is turned off, as it is where an app is used.
 */
import { Dexie, type EntityTable } from 'dexie';
import { type Library, STORE } from '../key-value.ts';

interface Item {
  key: string;
  value: unknown;
}

export const library: Library = {
  name: 'Dexie',
  record: (key, value): Item => ({ key, value }),
  async connect(database) {
    Dexie.debug = false;
    const db = new Dexie(database) as Dexie & { [STORE]: EntityTable<Item, 'key'> };
    db.version(1).stores({ [STORE]: 'key' });
    const { [STORE]: items } = db;
    return {
      get: async (key) => (await items.get(key))?.value,
      set: (key, value) => items.put({ key, value }),
      getMany: async (keys) => (await items.bulkGet([...keys])).map((item) => item?.value),
      setMany: (entries) => items.bulkPut(entries.map(([key, value]) => ({ key, value }))),
      clear: () => items.clear(),
      keys: () => items.toCollection().primaryKeys(),
      async readAll(visit) {
        for (const { key, value } of await items.toArray()) visit(key, value);
      },
    };
  },
};
