/**
 * The part of the package that copies data between backends, files and old databases. It is loaded with the first call that needs it.
 */
export * as codec from '../core/json.ts';
export { adopt, oldDatabases } from './adoption.ts';
export { exportFrom, importInto } from './backup.ts';
export { migrateToFlask, migrateToIndexedDB } from './migration.ts';
