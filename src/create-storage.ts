/**
 * `createStorage()` of the main entry: the parts that not every app needs are loaded on first use.
 */
import type { KeyValueStorage } from './api.ts';
import { readConfig, type StorageOptions } from './config.ts';
import type { Parts } from './parts.ts';
import { buildStorage } from './storage.ts';

const parts: Parts = {
  server: () => import('./sync/index.ts'),
  // Both other parts import the codec too. As a third target of import(), it would keep Vite from making one file of the main entry.
  codec: async () => (await import('./transfer/index.ts')).codec,
  transfer: () => import('./transfer/index.ts'),
};

/**
 * Creates a storage. It opens nothing before the first call.
 *
 * With `useFlask` the first call asks the server. While the server is away, a copy of its data in IndexedDB takes its place, and
 * writes wait in an outbox until it is back (docs/guarantees.md). A line is logged when the backend in use changes.
 *
 * @param options Default: the page's runtime globals, see {@link readConfig}.
 * @typeParam Schema Maps keys to the types of their values.
 * @throws {StorageError} `invalid-option`, at once.
 */
export const createStorage = <Schema extends object = Record<string, unknown>>(
  options: StorageOptions = readConfig(),
): KeyValueStorage<Schema> => buildStorage(options, parts);
