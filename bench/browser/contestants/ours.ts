/** This project, over IndexedDB. */
import { createStorage } from '../../../src/index.ts';
import type { Library } from '../key-value.ts';

export const library: Library = {
  name: 'ours',
  async connect(database) {
    const storage = createStorage({ database, logger: false });
    return {
      get: (key) => storage.get(key),
      set: (key, value) => storage.set(key, value),
      getMany: (keys) => storage.getMany(keys),
      setMany: (entries) => storage.setMany(entries),
      clear: () => storage.clear(),
      keys: () => storage.keys(),
      async readAll(visit) {
        for await (const [key, value] of storage.entries()) visit(key, value);
      },
    };
  },
};
