/**
 * One asynchronous key-value API over the browser's IndexedDB and a REST server.
 *
 * @module
 */
export type { EntryOf, KeyOf, KeyValueStorage, ListOptions } from './api.ts';
export { type Logger, readConfig, type StorageOptions } from './config.ts';
export type { BackendType, StorageStats } from './core/backend.ts';
export { MigrationError, type MigrationFailure, StorageError, type StorageErrorCode } from './core/errors.ts';
export { createStorage } from './storage.ts';
