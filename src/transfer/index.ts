/**
 * The methods of a storage that are loaded when they are called.
 */
export { adopt, oldDatabases } from './adoption.ts';
export { exportFrom, importInto } from './backup.ts';
export { migrateToFlask, migrateToIndexedDB } from './migration.ts';
