/** Storages over IndexedDB and over the reference server, which tests close and open again. */
import { afterAll, afterEach, beforeAll, describe } from 'vitest';
import { createStorage, type KeyValueStorage } from '../../src/index.ts';
import type { RunningServer } from '../support/running-server.ts';
import { startTypescriptServer } from '../support/typescript-server.ts';

/**
 * Opens a storage over the data that the storages of the same test have written, and closes the one before it: as a page does that is
 * loaded again, or another device at the same server.
 */
export type Reopen = () => Promise<KeyValueStorage>;

let databases = 0;
const nextDatabase = (): string => {
  databases += 1;
  return `adapters-${databases}`;
};

/** Stores a value as another tab does, or another device at the same server. */
export type StoreElsewhere = (key: string, value: unknown) => Promise<void>;

/** Runs the same tests over each backend. */
export function onEachBackend(tests: (reopen: Reopen, storeElsewhere: StoreElsewhere) => void): void {
  describe('over IndexedDB', () => {
    let database = nextDatabase();
    const open = () => createStorage({ database, logger: false });
    const { reopen, close } = opener(open);
    afterEach(async () => {
      await close();
      database = nextDatabase();
    });
    tests(reopen, storeWith(open));
  });

  describe('over the reference server', () => {
    let server: RunningServer | undefined;
    // Each has a database of its own: what it reads comes from the server.
    const open = () =>
      createStorage({
        useFlask: true,
        flaskUrl: String(server?.url),
        database: nextDatabase(),
        logger: false,
      });
    const { reopen, close } = opener(open);
    beforeAll(async () => {
      server = await startTypescriptServer();
    }, 60_000);
    afterEach(async () => {
      await (await reopen()).clear();
      await close();
    });
    afterAll(() => server?.stop());
    tests(reopen, storeWith(open));
  });
}

const storeWith =
  (open: () => KeyValueStorage): StoreElsewhere =>
  async (key, value) => {
    await using storage = open();
    await storage.set(key, value);
  };

function opener(open: () => KeyValueStorage): { readonly reopen: Reopen; close(): Promise<void> } {
  let current: KeyValueStorage | undefined;
  const close = async (): Promise<void> => current?.close();
  return {
    close,
    async reopen() {
      await close();
      current = open();
      return current;
    },
  };
}
