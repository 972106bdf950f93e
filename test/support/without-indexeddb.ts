/**
 * A world without IndexedDB, such as plain Node.js. There the Flask backend works alone: what a test sees is what the server
 * and the network did, with nothing in between that keeps values or sends them later.
 */
import { afterAll, beforeAll } from 'vitest';

const found = Object.getOwnPropertyDescriptor(globalThis, 'indexedDB');

/** Hides it from the global scope. Names nothing outside itself, so that it can be a page's `addInitScript`. */
export function hideIndexedDb(): void {
  Object.defineProperty(globalThis, 'indexedDB', { value: undefined, configurable: true });
}

function bringBack(): void {
  if (!found) throw new Error('There is no IndexedDB to bring back.');
  Object.defineProperty(globalThis, 'indexedDB', found);
}

/** For the tests of the block where it is called, and for the hooks that come after it. In Node.js and in browsers. */
export function withoutIndexedDb(): void {
  beforeAll(hideIndexedDb);
  afterAll(() => found && bringBack());
}

/** Let `work` have it nevertheless: a migration has it at one of its ends. */
export async function lendIndexedDb<T>(work: () => Promise<T>): Promise<T> {
  bringBack();
  try {
    return await work();
  } finally {
    hideIndexedDb();
  }
}
