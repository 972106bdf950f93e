/**
 * `createStorage()`: options → backend → the object that an app holds.
 *
 * Keys and values are checked here, before any I/O; everything then goes through one queue to the backend in use.
 */
import type { EntryOf, KeyValueStorage } from './api.ts';
import type { ListOptions } from './call-options.ts';
import { readConfig, resolveOptions, type StorageOptions } from './config.ts';
import type { Backend, Condition, Snapshot } from './core/backend.ts';
import { closedError, StorageError } from './core/errors.ts';
import { checkKey, checkReadKey } from './core/keys.ts';
import { load } from './core/load.ts';
import { createQueue } from './core/queue.ts';
import type { StorageStatus } from './core/session.ts';
import { snapshot } from './core/values.ts';
import { createIndexedDbBackend } from './indexeddb/backend.ts';
import type { Served } from './sync/served.ts';
import type { Closable, Workshop } from './transfer/context.ts';

/**
 * Create a storage. Nothing is opened before the first call.
 *
 * With `useFlask` the server is asked at the first call. While it is away, a copy of its data in IndexedDB takes its place, and what
 * is written then is sent when it is back (docs/guarantees.md). A line is logged when the backend in use changes.
 *
 * @param options Default: the page's runtime globals, see {@link readConfig}.
 * @typeParam Schema Maps keys to the types of their values.
 * @throws {StorageError} `invalid-option`, at once.
 */
export function createStorage<Schema extends object = Record<string, unknown>>(
  options: StorageOptions = readConfig(),
): KeyValueStorage<Schema> {
  const resolved = resolveOptions(options);
  const { database, timeout, logger } = resolved;
  let { serverUrl } = resolved;
  const indexedDb = createIndexedDbBackend(database, timeout);
  const opened = new Set<Closable>([indexedDb]);
  let choosing: Promise<Backend> | undefined;
  /** Whether the step under way made the choice: then the server has answered just now. */
  let justChosen = false;
  let inUse: Served | undefined;
  const listeners = new Set<(status: StorageStatus) => void>();
  let closed = false;

  /** Have something closed with this storage. */
  function keep<T extends Closable>(one: T): T {
    opened.add(one);
    if (closed) throw closedError();
    return one;
  }

  async function letGo(one: Closable): Promise<void> {
    await one.close();
    opened.delete(one);
  }

  function log(level: 'info' | 'warn', text: string): void {
    try {
      logger?.[level](`@codeforge/storage ${text}`);
    } catch {
      // A log that fails must not decide where data goes.
    }
  }

  async function choose(): Promise<Backend> {
    if (serverUrl === undefined) {
      log('info', `uses IndexedDB (database ${database})`);
      return indexedDb;
    }
    const { createServed } = await load(import('./sync/served.ts'));
    inUse ??= keep(createServed({ ...resolved, serverUrl, log, changed }));
    await inUse.open();
    return inUse;
  }

  /** Tell whoever watches. */
  function changed(): void {
    for (const listener of listeners)
      try {
        listener(storage.status());
      } catch (error) {
        log('warn', `has a listener of watchStatus() that fails: ${error}`);
      }
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

  /** A method that only a server has anything to do for, after everything that was called before. */
  const ofServer =
    (name: 'flush' | 'conflicts' | 'resolve') =>
    async (...given: unknown[]): Promise<unknown> => {
      await inTurn();
      const server = inUse ?? (await load(import('./unserved.ts')));
      return (server[name] as (...given: unknown[]) => unknown)(...given);
    };

  /** A method that is loaded when it is called. */
  const tool =
    (name: keyof typeof import('./transfer/index.ts')) =>
    async (...given: unknown[]): Promise<unknown> => {
      const toolbox = await load(import('./transfer/index.ts'));
      return (toolbox[name] as Tool)(workshop, ...given);
    };
  const workshop: Workshop = {
    ...resolved,
    log,
    indexedDb,
    keep,
    letGo,
    inTurn,
    alone: queue.alone,
    served: () => inUse,
    serverUrl: () => serverUrl,
    async use(url) {
      const before = inUse;
      inUse = undefined;
      serverUrl = url;
      choosing = choose();
      await choosing;
      changed();
      if (before) await letGo(before);
    },
  };

  async function* list(options?: ListOptions): AsyncGenerator<EntryOf<Schema>, undefined> {
    const prefix = checkPrefix(options);
    const backend = await inTurn();
    for await (const page of backend.entries(prefix))
      for (const entry of page as Iterable<EntryOf<Schema>>) yield entry;
  }

  const storage = {
    get: (key: unknown) => queue.call(() => ({ type: 'get', key: checkReadKey(key) })),
    getEntry: (key: unknown) => queue.call(() => ({ type: 'entry', key: checkReadKey(key) })),
    set: (key: unknown, value: unknown, options?: object) =>
      queue.call(() => ({ ...put(key, value), ...conditionOf(options, null) })),
    delete: (key: unknown, options?: object) =>
      queue.call(() => ({ type: 'delete', key: checkReadKey(key), ...conditionOf(options) })),
    has: (key: unknown) => queue.call(() => ({ type: 'has', key: checkReadKey(key) })),
    async keys(options?: ListOptions) {
      const prefix = checkPrefix(options);
      return queue.alone((backend) => backend.keys(prefix));
    },
    entries: list,
    clear: () => queue.call(() => ({ type: 'clear' })),
    getMany: (keys: Iterable<unknown>) =>
      queue.callAll(() => listOf(keys).map((key) => ({ type: 'get', key: checkReadKey(key) }))),
    async setMany(entries: Iterable<unknown>) {
      await queue.callAll(() => listOf(entries).map((entry) => put(...checkEntry(entry))));
    },
    async deleteMany(keys: Iterable<unknown>) {
      await queue.callAll(() => listOf(keys).map((key) => ({ type: 'delete', key: checkReadKey(key) })));
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
    ready: () => queue.alone((backend) => (inUse ? inUse.ready(justChosen) : backend.open())),
    getBackendType: () => inUse?.type ?? 'indexeddb',
    status: (): StorageStatus =>
      inUse?.status() ?? {
        backend: 'indexeddb',
        state: serverUrl ? 'offline' : 'local',
        level: undefined,
        pending: 0,
        conflicts: 0,
        lastSyncAtMs: undefined,
        reason: serverUrl ? `${serverUrl} was not asked yet` : 'no server is configured (useFlask)',
      },
    watchStatus(listener: (status: StorageStatus) => void) {
      if (typeof listener !== 'function') throw invalid('watchStatus() takes a function.');
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    flush: ofServer('flush'),
    conflicts: ofServer('conflicts'),
    resolve: ofServer('resolve'),
    migrateToFlask: tool('migrateToFlask'),
    migrateToIndexedDB: tool('migrateToIndexedDB'),
    export: tool('exportFrom'),
    import: tool('importInto'),
    oldDatabases: tool('oldDatabases'),
    adopt: tool('adopt'),
    async close() {
      closed = true;
      const settled = queue.close();
      await Promise.all(Array.from(opened, (one) => one.close()));
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

type Tool = (workshop: Workshop, ...given: unknown[]) => Promise<unknown>;

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
