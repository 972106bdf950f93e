/** A storage that has lost both: its server, and the database that stood in for it. */
import type { KeyValueStorage } from '../../src/index.ts';

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
  // Something else deletes the copy and makes another database of that name, without our store.
  await settled(indexedDB.deleteDatabase(copy));
  (await settled(indexedDB.open(copy, 1))).close();
  return storage;
}

/** Delete every copy of this origin. */
export async function deleteCopies(): Promise<void> {
  for (const name of await copies()) indexedDB.deleteDatabase(name);
}

async function copies(): Promise<string[]> {
  const databases = await indexedDB.databases();
  return databases.flatMap(({ name }) => (name?.startsWith('codeforge-sync:') ? [name] : []));
}

function settled<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
