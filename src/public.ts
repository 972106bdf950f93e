/**
 * What the main entry and the entry `./full` both export: everything but `createStorage()`.
 */
export type {
  AtomicOperation,
  Change,
  Conflict,
  EntryOf,
  KeyOf,
  KeyValueStorage,
  KeyWith,
  NamespacedStorage,
  SchemaWithin,
  Unchecked,
  ValueOf,
  ValuesOf,
} from './api.ts';
export { type BackupForm, backupFileName } from './backup-format/format.ts';
export type {
  ClearOptions,
  CountOptions,
  DeleteOptions,
  DiscardOptions,
  ForgetOptions,
  ListOptions,
  SetOptions,
  WatchKeyOptions,
  WatchOptions,
  WatchRange,
} from './call-options.ts';
export { readConfig, type StorageOptions } from './config.ts';
export type { BackendType, StorageStats, StoredEntry, SyncState } from './core/backend.ts';
export type { ChangeSource } from './core/changes.ts';
export {
  ConflictError,
  type ConflictOf,
  type ConflictPolicy,
  type ConflictValue,
  type Resolution,
} from './core/conflict.ts';
export { StorageError, type StorageErrorCode } from './core/errors.ts';
export type { Logger, Token } from './core/options.ts';
export type { OutboxEntry } from './core/outbox.ts';
export type { StorageStatus } from './core/session.ts';
export { MigrationError, type MigrationFailure } from './transfer/copy/errors.ts';
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
  OldStore,
  OnConflict,
} from './transfer/copy/options.ts';
