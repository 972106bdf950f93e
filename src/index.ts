/**
 * One asynchronous key-value API over the browser's IndexedDB and a REST server.
 *
 * @module
 */
export type { EntryOf, KeyOf, KeyValueStorage, StorageStatus } from './api.ts';
export type { DeleteOptions, ListOptions, SetOptions } from './call-options.ts';
export { type Logger, readConfig, type StorageOptions } from './config.ts';
export type { BackendType, StorageStats, StoredEntry, SyncState } from './core/backend.ts';
export {
  type Conflict,
  ConflictError,
  type ConflictPolicy,
  type ConflictValue,
  type Resolution,
} from './core/conflict.ts';
export { StorageError, type StorageErrorCode } from './core/errors.ts';
export type { Token } from './core/token.ts';
export { createStorage } from './storage.ts';
export type { BackupForm } from './tools/backup-format.ts';
export { backupFileName } from './tools/backup-name.ts';
export { MigrationError, type MigrationFailure } from './tools/migration-error.ts';
export type {
  AdoptOptions,
  BackupSource,
  CopyOptions,
  ExportOptions,
  ExportProgress,
  ImportOptions,
  MigrateOptions,
  MigrationPlan,
  MigrationProgress,
  OldDatabase,
  OnConflict,
} from './tools/migration-options.ts';
