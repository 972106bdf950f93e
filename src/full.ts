/**
 * The same API as the main entry, with every part contained: nothing is loaded later.
 *
 * For service workers, which cannot load parts, for Jest, for script tags, and for apps that must be complete after one download.
 *
 * @module
 */
import type { KeyValueStorage } from './api.ts';
import { readConfig, type StorageOptions } from './config.ts';
import * as codec from './core/json.ts';
import { buildStorage } from './storage.ts';
import * as server from './sync/index.ts';
import * as transfer from './transfer/index.ts';

export * from './public.ts';

/**
 * Creates a storage. As `createStorage()` of the main entry, with every part contained.
 *
 * @param options Default: the page's runtime globals, see {@link readConfig}.
 * @typeParam Schema Maps keys to the types of their values.
 * @throws {StorageError} `invalid-option`, at once.
 */
export const createStorage = <Schema extends object = Record<string, unknown>>(
  options: StorageOptions = readConfig(),
): KeyValueStorage<Schema> =>
  buildStorage(options, {
    server: async () => server,
    codec: async () => codec,
    transfer: async () => transfer,
  });
