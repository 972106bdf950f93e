/**
 * Migration as an app asks for it: from the backend in use to another one.
 */
import { checkServerUrl, type ResolvedOptions } from './config.ts';
import type { Backend } from './core/backend.ts';
import { StorageError } from './core/errors.ts';
import { load } from './core/load.ts';
import type { Served } from './sync/served.ts';
import { migrate } from './tools/migrate.ts';

/** What a storage has, and what it was asked for. */
interface Asked extends ResolvedOptions {
  /** Where to, as the app has given it. */
  readonly url: unknown;
  /** The backend in use. */
  readonly source: Backend;
  readonly served: Served | undefined;
  readonly indexedDb: Backend;
  /** Have a backend closed with the storage. */
  keep<T extends Backend>(backend: T): T;
}

/** Every entry of IndexedDB to a server, each verified. */
export async function toFlask({ url, source, served, timeout, token, keep }: Asked): Promise<number> {
  const address = checkServerUrl(url);
  if (served) throw new StorageError('wrong-backend', 'Already using Flask backend');
  const { createFlaskBackend } = await load(import('./backends/flask.ts'));
  const target = keep(createFlaskBackend(address, timeout, token));
  return migrate(source, target).finally(() => target.close());
}

/** Every entry of the server in use to IndexedDB, each verified. What waits for the server is sent before. */
export async function toIndexedDb({ served, indexedDb }: Asked): Promise<number> {
  if (!served) throw new StorageError('wrong-backend', 'Already using IndexedDB');
  await served.flush();
  return migrate(served.server, indexedDb);
}
