/**
 * `createStorage()`: options → backend → the object that an app holds.
 *
 * Keys and values are checked here, before any I/O; everything then goes through one queue to the backend in use.
 */
import type { EntryOf, KeyValueStorage, ListOptions, StorageStatus } from './api.ts';
import type { FlaskBackend } from './backends/flask.ts';
import { createIndexedDbBackend } from './backends/indexeddb.ts';
import { checkServerUrl, readConfig, resolveOptions, type StorageOptions } from './config.ts';
import type { Backend, BackendType, Condition, Snapshot } from './core/backend.ts';
import { createQueue } from './core/batch.ts';
import { closedError, StorageError } from './core/errors.ts';
import { checkHeldKey, checkKey } from './core/keys.ts';
import { load } from './core/load.ts';
import { snapshot } from './core/values.ts';

/**
 * Create a storage. Nothing is opened before the first call.
 *
 * With `useFlask` the server is asked at the first call; when it cannot be used, IndexedDB takes its place for the
 * lifetime of this object, and a warning says why. The backend in use is logged once.
 *
 * @param options Default: the page's runtime globals, see {@link readConfig}.
 * @typeParam Schema Maps keys to the types of their values.
 * @throws {StorageError} `invalid-option`, at once.
 */
export function createStorage<Schema extends object = Record<string, unknown>>(
  options: StorageOptions = readConfig(),
): KeyValueStorage<Schema> {
  const { serverUrl, database, timeout, logger, token } = resolveOptions(options);
  const indexedDb = createIndexedDbBackend(database, timeout);
  const opened: Backend[] = [indexedDb];
  let type: BackendType = 'indexeddb';
  let choosing: Promise<Backend> | undefined;
  /** Whether the step under way made the choice: then the server has answered just now. */
  let justChosen = false;
  let inUse: FlaskBackend | undefined;
  let reason =
    serverUrl === undefined ? 'no server is configured (useFlask)' : `${serverUrl} was not asked yet`;
  let closed = false;

  async function openFlask(url: string): Promise<FlaskBackend> {
    const { createFlaskBackend } = await load(import('./backends/flask.ts'));
    if (closed) throw closedError();
    const flask = createFlaskBackend(url, timeout, token);
    opened.push(flask);
    return flask;
  }

  function log(level: 'info' | 'warn', text: string): void {
    try {
      logger?.[level](`@codeforge/storage ${text}`);
    } catch {
      // A log that fails must not decide where data goes.
    }
  }

  async function choose(): Promise<Backend> {
    if (serverUrl !== undefined) {
      try {
        const flask = await openFlask(serverUrl);
        await flask.open();
        type = 'flask';
        inUse = flask;
        log('info', `uses the Flask backend at ${serverUrl}`);
        return flask;
      } catch (error) {
        // Without an IndexedDB to fall back to, the failure is the server's; the next call asks it again.
        reason = `the server cannot be used: ${error instanceof Error ? error.message : error}`;
        if (closed || typeof indexedDB === 'undefined') throw error;
        log('warn', `uses IndexedDB, because ${reason}`);
        return indexedDb;
      }
    }
    log('info', `uses IndexedDB (database ${database})`);
    return indexedDb;
  }

  const queue = createQueue(() => {
    justChosen = choosing === undefined;
    choosing ??= choose().catch((error) => {
      choosing = undefined;
      throw error;
    });
    return choosing;
  });

  const put = (given: unknown, value: unknown): Put => {
    const key = checkKey(given);
    return { type: 'put', key, ...snapshot(value, key) };
  };

  /** The backend, after everything that was called before. */
  const inTurn = (): Promise<Backend> => queue.alone((backend) => backend);

  /** Every entry of the backend in use to one of another type, each verified. */
  async function migrate(to: BackendType, open: () => Promise<Backend>): Promise<number> {
    const source = await inTurn();
    if (source.type === to)
      throw new StorageError(
        'wrong-backend',
        `Already using ${to === 'flask' ? 'Flask backend' : 'IndexedDB'}`,
      );
    const target = await open();
    return (await load(import('./tools/migrate.ts')))
      .migrate(source, target)
      .finally(() => target !== indexedDb && target.close());
  }

  async function* list(options?: ListOptions): AsyncGenerator<EntryOf<Schema>, undefined> {
    const prefix = checkPrefix(options);
    const backend = await inTurn();
    for await (const page of backend.entries(prefix))
      for (const entry of page as Iterable<EntryOf<Schema>>) yield entry;
  }

  const storage = {
    get: (key: unknown) => queue.call(() => ({ type: 'get', key: checkHeldKey(key) })),
    getEntry: (key: unknown) => queue.call(() => ({ type: 'entry', key: checkHeldKey(key) })),
    set: (key: unknown, value: unknown, options?: object) =>
      queue.call(() => ({ ...put(key, value), ...conditionOf(options, null) })),
    delete: (key: unknown, options?: object) =>
      queue.call(() => ({ type: 'delete', key: checkHeldKey(key), ...conditionOf(options) })),
    has: (key: unknown) => queue.call(() => ({ type: 'has', key: checkHeldKey(key) })),
    async keys(options?: ListOptions) {
      const prefix = checkPrefix(options);
      return queue.alone((backend) => backend.keys(prefix));
    },
    entries: list,
    clear: () => queue.call(() => ({ type: 'clear' })),
    getMany: (keys: Iterable<unknown>) =>
      queue.callAll(() => listOf(keys).map((key) => ({ type: 'get', key: checkHeldKey(key) }))),
    async setMany(entries: Iterable<unknown>) {
      await queue.callAll(() => listOf(entries).map((entry) => put(...checkEntry(entry))));
    },
    async deleteMany(keys: Iterable<unknown>) {
      await queue.callAll(() => listOf(keys).map((key) => ({ type: 'delete', key: checkHeldKey(key) })));
    },
    update: (given: unknown, change: (current: unknown) => unknown) =>
      queue.call(() => {
        const key = checkKey(given);
        if (typeof change !== 'function') throw invalid('update() takes a function.');
        return {
          type: 'update',
          key,
          change(current) {
            const changed = change(current);
            if (changed instanceof Promise) throw invalid('The function of update() is synchronous.');
            return snapshot(changed, key);
          },
        };
      }),
    stats: () => queue.alone((backend) => backend.stats()),
    ready: () =>
      queue.alone((backend) => (backend === indexedDb || !justChosen ? backend.open() : undefined)),
    getBackendType: () => type,
    status: (): StorageStatus => ({
      backend: type,
      level: inUse?.detected()?.level,
      reason: inUse?.detected()?.reason ?? reason,
    }),
    async migrateToFlask(url: string) {
      const address = checkServerUrl(url);
      return migrate('flask', () => openFlask(address));
    },
    migrateToIndexedDB: () => migrate('indexeddb', async () => indexedDb),
    async close() {
      closed = true;
      const settled = queue.close();
      await Promise.all(opened.map((backend) => backend.close()));
      await settled;
    },
    async [DISPOSE]() {
      await storage.close();
    },
  };
  return storage as unknown as KeyValueStorage<Schema>;
}

/** Older engines lack the symbol; what compilers make of `await using` looks for this one then. */
const DISPOSE: typeof Symbol.asyncDispose = Symbol.asyncDispose ?? Symbol.for('Symbol.asyncDispose');

type Put = Snapshot & { readonly type: 'put'; readonly key: string };

const invalid = (text: string): StorageError => new StorageError('invalid-option', text);

/** What `set` and `delete` were told about the state that they are for. */
function conditionOf(options?: object, absent?: null): Condition | undefined {
  if (options === undefined) return undefined;
  const { ifRevision } = optionsOf(options, 'ifRevision');
  if (!('ifRevision' in options)) return undefined;
  if ((ifRevision === null && absent === null) || (typeof ifRevision === 'string' && ifRevision !== ''))
    return { ifRevision };
  throw invalid('ifRevision is a revision from getEntry(), or in set() null for a key that must not exist.');
}

/** Options of a call; `known` is the only one that there is. */
function optionsOf(options: object, known: string): Record<string, unknown> {
  if (typeof options !== 'object' || !options || Object.keys(options).some((name) => name !== known))
    throw invalid(`The options here are an object with ${known} alone.`);
  return options as Record<string, unknown>;
}

function checkPrefix(options: ListOptions = {}): string {
  const { prefix = '' } = optionsOf(options, 'prefix');
  if (typeof prefix !== 'string') throw new StorageError('invalid-key', 'A prefix is a string.');
  return prefix;
}

function listOf<T>(items: Iterable<T>): T[] {
  if (typeof items === 'string' || typeof items?.[Symbol.iterator] !== 'function')
    throw invalid('The methods for many take an array or another iterable.');
  return [...items];
}

function checkEntry(entry: unknown): [key: unknown, value: unknown] {
  if (Array.isArray(entry) && entry.length === 2) return entry as [unknown, unknown];
  throw invalid('setMany() takes pairs of a key and a value: [["a", 1], ["b", 2]].');
}
