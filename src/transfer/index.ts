/**
 * The transfer part: copies data between backends, backups and old databases. It is loaded by the first call that needs it.
 */
export * as codec from '../core/json.ts';
export { adopt, oldDatabases } from './adoption.ts';
export { exportFrom, importInto } from './backup.ts';
export { migrateToFlask, migrateToIndexedDB } from './migration.ts';
