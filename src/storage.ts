/**
 * `createStorage()`: options → backend → the object that an app holds.
 *
 * Keys and values are checked here, before any I/O; everything then goes through one queue to the backend in use.
 */
import type { EntryOf, KeyValueStorage, ListOptions, StorageStatus } from './api.ts';
import type { FlaskBackend } from './backends/flask.ts';
import { createIndexedDbBackend } from './backends/indexeddb.ts';
import { checkServerUrl, readConfig, resolveOptions, type StorageOptions } from './config.ts';
import type { Backend, BackendType, Condition, Operation, Snapshot } from './core/backend.ts';
import { closedError, createQueue } from './core/batch.ts';
import { StorageError } from './core/errors.ts';
import { checkHeldKey, checkKey } from './core/keys.ts';
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
    const { createFlaskBackend } = await import('./backends/flask.ts');
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
  const put = (key: unknown, value: unknown, options?: object): Operation => ({
    type: 'put',
    key: checkKey(key),
    ...conditionOf(options, null),
    ...snapshotFor(key, value),
  });
  const callAll = (operations: readonly Operation[]): Promise<unknown[]> =>
    Promise.all(operations.map(queue.call));

  /** Every entry of one backend to another, each verified. */
  async function migrate(source: Backend, target: Backend): Promise<number> {
    const { migrate } = await import('./tools/migrate.ts');
    return migrate(source, target);
  }

  async function* list(options?: ListOptions): AsyncGenerator<EntryOf<Schema>, undefined> {
    const prefix = checkPrefix(options);
    const backend = await queue.alone(async (backend) => backend);
    for await (const page of backend.entries(prefix)) yield* page as Iterable<EntryOf<Schema>>;
  }

  const storage = {
    async get(key: unknown) {
      return queue.call({ type: 'get', key: checkHeldKey(key) });
    },
    async getEntry(key: unknown) {
      return queue.call({ type: 'entry', key: checkHeldKey(key) });
    },
    async set(key: unknown, value: unknown, options?: object) {
      await queue.call(put(key, value, options));
    },
    async delete(key: unknown, options?: object) {
      await queue.call({ type: 'delete', key: checkHeldKey(key), ...conditionOf(options) });
    },
    async has(key: unknown) {
      return queue.call({ type: 'has', key: checkHeldKey(key) });
    },
    async keys(options?: ListOptions) {
      const prefix = checkPrefix(options);
      return queue.alone((backend) => backend.keys(prefix));
    },
    entries: list,
    async clear() {
      await queue.call({ type: 'clear' });
    },
    async getMany(keys: Iterable<unknown>) {
      return callAll(listOf(keys).map((key) => ({ type: 'get', key: checkHeldKey(key) })));
    },
    async setMany(entries: Iterable<unknown>) {
      await callAll(listOf(entries).map((entry) => put(...checkEntry(entry))));
    },
    async deleteMany(keys: Iterable<unknown>) {
      await callAll(listOf(keys).map((key) => ({ type: 'delete', key: checkHeldKey(key) })));
    },
    async update(key: unknown, change: (current: unknown) => unknown) {
      if (typeof change !== 'function')
        throw new StorageError('invalid-option', 'update() takes a function.');
      return queue.call({
        type: 'update',
        key: checkKey(key),
        change(current) {
          const changed = change(current);
          if (changed instanceof Promise)
            throw new StorageError(
              'invalid-option',
              'update() takes a synchronous function, not an async one.',
            );
          return snapshotFor(key, changed);
        },
      });
    },
    stats: () => queue.alone((backend) => backend.stats()),
    ready: () =>
      queue.alone(async (backend) => {
        if (backend === indexedDb || !justChosen) await backend.open();
      }),
    getBackendType: () => type,
    status: (): StorageStatus => ({
      backend: type,
      level: inUse?.detected()?.level,
      reason: inUse?.detected()?.reason ?? reason,
    }),
    async migrateToFlask(url: string) {
      const address = checkServerUrl(url);
      const source = await queue.alone(async (backend) => backend);
      if (source.type === 'flask') throw new StorageError('wrong-backend', 'Already using Flask backend');
      const target = await openFlask(address);
      try {
        return await migrate(source, target);
      } finally {
        await target.close();
      }
    },
    async migrateToIndexedDB() {
      const source = await queue.alone(async (backend) => backend);
      if (source.type === 'indexeddb') throw new StorageError('wrong-backend', 'Already using IndexedDB');
      return migrate(source, indexedDb);
    },
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

/** A snapshot; the error names the key too. */
function snapshotFor(key: unknown, value: unknown): Snapshot {
  try {
    return snapshot(value);
  } catch (error) {
    const { code, message, cause } = error as StorageError;
    throw new StorageError(code, `Key ${String(key)}: ${message}`, { cause });
  }
}

/** What `set` and `delete` were told about the state that they are for. */
function conditionOf(options: object = {}, absent?: null): Condition {
  checkOptions(options, 'ifRevision', 'Writing');
  if (!('ifRevision' in options)) return {};
  const { ifRevision } = options;
  if ((ifRevision === null && absent === null) || (typeof ifRevision === 'string' && ifRevision !== ''))
    return { ifRevision };
  throw new StorageError(
    'invalid-option',
    'ifRevision is a revision from getEntry(), or in set() null for a key that must not exist.',
  );
}

function checkOptions(options: unknown, known: string, what: string): void {
  const wrong =
    typeof options === 'object' && options ? Object.keys(options).find((name) => name !== known) : options;
  if (wrong === undefined) return;
  throw new StorageError('invalid-option', `${what} takes an object with ${known}, not ${String(wrong)}.`);
}

function checkPrefix(options: ListOptions = {}): string {
  checkOptions(options, 'prefix', 'Listing');
  const { prefix = '' } = options;
  if (typeof prefix !== 'string') throw new StorageError('invalid-key', 'A prefix is a string.');
  return prefix;
}

function listOf<T>(items: Iterable<T>): T[] {
  if (typeof items === 'string' || typeof items?.[Symbol.iterator] !== 'function') {
    throw new StorageError('invalid-option', 'The methods for many take an array or another iterable.');
  }
  return [...items];
}

function checkEntry(entry: unknown): [key: unknown, value: unknown] {
  if (Array.isArray(entry) && entry.length === 2) return [entry[0], entry[1]];
  throw new StorageError(
    'invalid-option',
    'setMany() takes pairs of a key and a value: [["a", 1], ["b", 2]].',
  );
}
