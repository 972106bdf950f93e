/**
 * One asynchronous key-value API over the browser's IndexedDB and a REST server.
 *
 * @module
 */
export { createStorage } from './create-storage.ts';
export * from './public.ts';
