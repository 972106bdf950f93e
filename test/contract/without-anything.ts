/** A storage that has lost both: its server, and the database that stood in for it. */
import type { KeyValueStorage } from '../../src/index.ts';
import { settled } from '../support/browser-database.ts';

/**
 * Open one, and break it.
 *
 * @param open Opens a storage whose server is away.
 */
export async function openWithNothing(open: () => KeyValueStorage): Promise<KeyValueStorage> {
  const before = new Set(await copies());
  const storage = open();
  await storage.get('before');
  const copy = (await copies()).find((name) => !before.has(name));
  if (copy === undefined) throw new Error('There is no copy.');
  await takeStore(copy);
  return storage;
}

/** As if something else deleted a database and made another of that name, without our store. */
export async function takeStore(database: string): Promise<void> {
  // Asked for together, for the engine keeps their order: a storage that tries again meanwhile would make its store anew.
  const deleted = settled(indexedDB.deleteDatabase(database));
  const made = settled(indexedDB.open(database, 1));
  await deleted;
  (await made).close();
}

/** Delete every copy of this origin. */
export async function deleteCopies(): Promise<void> {
  for (const name of await copies()) indexedDB.deleteDatabase(name);
}

async function copies(): Promise<string[]> {
  const databases = await indexedDB.databases();
  return databases.flatMap(({ name }) => (name?.startsWith('codeforge-sync:') ? [name] : []));
}
