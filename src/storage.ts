/**
 * A storage: options → session → the object that an app holds.
 *
 * Keys, values and options are checked here, before any I/O. Every call then goes through one queue to the session in use.
 */
import type { AtomicOperation, KeyValueStorage, NamespacedStorage } from './api.ts';
import type {
  ClearOptions,
  DeleteOptions,
  DiscardOptions,
  ForgetOptions,
  ListOptions,
  SetOptions,
  WatchKeyOptions,
  WatchRange,
} from './call-options.ts';
import { resolveOptions, type StorageOptions } from './config.ts';
import type { AtomicPart, Condition, Operation, Snapshot } from './core/backend.ts';
import { ConflictError } from './core/conflict.ts';
import { closedError } from './core/errors.ts';
import { checkKey, checkReadKey, isPortable } from './core/keys.ts';
import { checkOptions, invalidOption, type OptionRule, RULES } from './core/options.ts';
import { type KeyRange, rangeWithin } from './core/order.ts';
import { whenIdle } from './core/platform.ts';
import { createQueue } from './core/queue.ts';
import { createStatusReader, type Session, type StorageStatus, statusOf } from './core/session.ts';
import type { Deadline } from './core/time.ts';
import { snapshot } from './core/values.ts';
import { createIndexedDbBackend } from './indexeddb/backend.ts';
import { createLocalSession } from './indexeddb/session.ts';
import { guarded, type Parts } from './parts.ts';
import type { Closable, TransferContext } from './transfer/context.ts';
import { createWatchers, type Watcher } from './watch/watchers.ts';

/**
 * Builds a storage from options and the parts that it may need.
 *
 * @throws {StorageError} `invalid-option`, at once.
 */
export function buildStorage<Schema extends object>(
  options: StorageOptions,
  given: Parts,
): KeyValueStorage<Schema> {
  const { logger, ...resolved } = resolveOptions(options);
  const { database, timeout, durability, warning } = resolved;
  let { serverUrl, givenUrl } = resolved;
  const closing = new AbortController();
  const parts = guarded(given, closing.signal);
  const indexedDb = createIndexedDbBackend(database, timeout, durability, parts.codec);
  const localSession = createLocalSession(indexedDb, warning ?? 'no server is configured (useFlask)');
  /** What is closed with the storage. */
  const opened = new Set<Closable>([indexedDb]);

  /** The session, once a call has asked for one. */
  let choosing: Promise<Session> | undefined;
  /** Whether the call under way has opened the session: then its server has answered just now. */
  let isFirst = false;
  const statusBefore = (): StorageStatus =>
    serverUrl
      ? statusOf({ state: 'offline', reason: `${serverUrl} was not asked yet` })
      : localSession.status();
  let readStatus = statusBefore;
  const status = createStatusReader(() => readStatus());

  const listeners = new Set<(status: StorageStatus) => void>();
  let told = status();
  /** Tells each listener the status, if it has changed. */
  function changed(): void {
    const now = status();
    if (now === told) return;
    told = now;
    for (const listener of listeners)
      try {
        listener(now);
      } catch (error) {
        log('warn', `has a listener of watchStatus() that fails: ${error}`);
      }
  }

  function log(level: 'info' | 'warn', text: string): void {
    try {
      logger?.[level](`@codeforge/storage ${text}`);
    } catch {
      // A log that fails must not decide where data goes.
    }
  }

  function keep<T extends Closable>(one: T): T {
    opened.add(one);
    if (closing.signal.aborted) throw closedError();
    return one;
  }

  async function letGo(one: Closable): Promise<void> {
    await one.close();
    opened.delete(one);
  }

  const failed = (error: unknown): void => log('warn', `has a listener of watch() that fails: ${error}`);
  const watchers = createWatchers(failed);
  /** Listeners hear what a session does from its first call on. */
  function watching(session: Session): Session {
    watchers.attach(session);
    return session;
  }

  /** The session with the configured server. It is made once, and opened again after a failure. */
  let serverSession: Session | undefined;
  async function choose(deadline: Deadline): Promise<Session> {
    if (serverUrl === undefined) {
      if (warning) log('warn', `uses IndexedDB, because ${warning}`);
      else log('info', `uses IndexedDB (database ${database})`);
      readStatus = localSession.status;
      return localSession;
    }
    const startedAt = performance.now();
    const { createServerSession } = await parts.server();
    // Loading has a limit of its own: a slow download must not make the server count as away.
    const serverDeadline = deadline + performance.now() - startedAt;
    serverSession ??= keep(
      createServerSession({
        ...resolved,
        serverUrl,
        givenUrl,
        log,
        changed,
        forgotten: () => void forgotten(),
      }),
    );
    readStatus = serverSession.status;
    await serverSession.open(serverDeadline);
    return serverSession;
  }

  /** Closes the storage after this tab or another one has deleted what this device keeps. */
  async function forgotten(): Promise<void> {
    const reason = 'This storage is closed: forget() has deleted what this device kept of the server.';
    readStatus = () => statusOf({ state: serverUrl === undefined ? 'local' : 'offline', reason });
    changed();
    await storage.close();
  }

  const queue = createQueue((deadline) => {
    isFirst = choosing === undefined;
    if (choosing === undefined) {
      choosing = choose(deadline).then(watching, (error) => {
        choosing = undefined;
        throw error;
      });
      choosing.then(prefetch, () => {});
    }
    return choosing;
  }, timeout);

  /** Loads what the app may need when it is offline. What fails now is loaded when it is needed. */
  const prefetch = (): void =>
    whenIdle(() => {
      parts.codec().catch(() => {});
      parts.transfer().catch(() => {});
    });

  /** Calls a method of the transfer part, which is loaded before. */
  const transfer = async <T>(
    call: (part: Awaited<ReturnType<Parts['transfer']>>) => Promise<T>,
  ): Promise<T> => call(await parts.transfer());

  const context: TransferContext = {
    ...resolved,
    log,
    indexedDb,
    prefix: '',
    keep,
    letGo,
    session: () => queue.alone((session) => session),
    alone: queue.alone,
    status,
    serverUrl: () => serverUrl,
    serverPart: parts.server,
    async use(url) {
      const before = serverSession;
      serverSession = undefined;
      serverUrl = givenUrl = url;
      readStatus = statusBefore;
      choosing = choose(performance.now() + timeout).then(watching);
      await choosing;
      changed();
      if (before) await letGo(before);
    },
  };

  /** The methods over the keys that begin with `prefix`. Keys go in and come out without it. */
  function createMethods(prefix: string): NamespacedStorage {
    // The key that equals the prefix is not part of a namespace: it would be the empty key, which cannot be stored.
    const readKey = (key: unknown): string =>
      prefix && key === '' ? checkKey(key) : prefix + checkReadKey(key);
    const writeKey = (key: unknown): string => (prefix ? checkKey(prefix + checkKey(key)) : checkKey(key));
    const withoutPrefix = (key: string): string => key.slice(prefix.length);
    /** A call that may reject with a conflict, whose `key` is without the prefix too. */
    const callConditional = async <Value>(make: () => Operation): Promise<Value> =>
      queue.call<Value>(make).catch((error) => {
        throw withoutPrefixIn(error);
      });
    const withoutPrefixIn = (error: unknown): unknown =>
      error instanceof ConflictError
        ? new ConflictError(withoutPrefix(error.key), error.attempted, error.current)
        : error;
    const put = (given: unknown, value: unknown): Put => {
      const key = writeKey(given);
      return { type: 'put', key, ...snapshot(value, key) };
    };
    const rangeOf = (call: string, options: unknown, rules: RangeRules): KeyRange =>
      rangeWithin(prefix, checkOptions<ListOptions>(call, options, rules));
    const transferContext = { ...context, prefix };

    const methods: NamespacedStorage = {
      get: (key) => queue.call(() => ({ type: 'get', key: readKey(key) })),
      getEntry: (key) => queue.call(() => ({ type: 'entry', key: readKey(key) })),
      set: (key, value, options) =>
        callConditional(() => ({ ...put(key, value), ...conditionOf('set()', options, null) })),
      delete: (key, options) =>
        callConditional(() => ({ type: 'delete', key: readKey(key), ...conditionOf('delete()', options) })),
      has: (key) => queue.call(() => ({ type: 'has', key: readKey(key) })),
      keys: (async (options) => {
        const range = rangeOf('keys()', options, LIST_RULES);
        const keys = await queue.alone((session, deadline) => session.keys(range, deadline));
        return prefix === '' ? keys : keys.map(withoutPrefix);
      }) as NamespacedStorage['keys'],
      entries: async function* (options) {
        const range = rangeOf('entries()', options, LIST_RULES);
        const session = await context.session();
        for await (const page of session.entries(range))
          for (const [key, value] of page) yield [withoutPrefix(key), value];
      } as NamespacedStorage['entries'],
      async count(options) {
        const range = rangeOf('count()', options, RANGE_RULES);
        return queue.alone((session, deadline) => session.count(range, deadline));
      },
      clear: (options) =>
        queue.call(() => {
          const cleared = options === undefined ? prefix : prefix + checkClearPrefix(options);
          return cleared === '' ? { type: 'clear' } : { type: 'clear-prefix', prefix: cleared };
        }),
      getMany: ((keys) =>
        queue.callAll(() =>
          listOf(keys).map((key) => ({ type: 'get', key: readKey(key) })),
        )) as NamespacedStorage['getMany'],
      async setMany(entries) {
        await queue.callAll(() => listOf(entries).map((entry) => put(...checkEntry(entry))));
      },
      async deleteMany(keys) {
        await queue.callAll(() => listOf(keys).map((key) => ({ type: 'delete', key: readKey(key) })));
      },
      update: ((given, change) =>
        callConditional(() => {
          const key = writeKey(given);
          if (typeof change !== 'function') throw invalidOption('update() takes a key and a function.');
          return {
            type: 'update',
            key,
            change(current) {
              const changed: unknown = change(current as never);
              if (changed instanceof Promise) {
                // Its rejection is nobody's.
                changed.catch(() => {});
                throw invalidOption('The function of update() must return the value itself, not a promise.');
              }
              return snapshot(changed, key);
            },
          };
        })) as NamespacedStorage['update'],
      atomic: async (operations) => {
        const parts = partsOf(operations, writeKey);
        try {
          await queue.alone((session, deadline) => session.atomic(parts, deadline));
        } catch (error) {
          throw withoutPrefixIn(error);
        }
      },
      namespace: (name) => createMethods(prefix + checkNamespace(name)) as never,
      ready: () => queue.alone((session, deadline) => session.ready(isFirst, deadline)),
      getBackendType: () => status().backend,
      status,
      watchStatus(listener) {
        if (typeof listener !== 'function') throw invalidOption('watchStatus() takes a function.');
        listeners.add(listener);
        return () => void listeners.delete(listener);
      },
      watch: ((keys: unknown, listener: unknown, options: unknown) => {
        if (typeof listener !== 'function')
          throw invalidOption('watch() takes a key, { prefix } or undefined, and a function.');
        const isKey = typeof keys === 'string';
        const rules = {
          signal: RULES.signal,
          onError: RULES.function,
          ...(isKey && { immediate: RULES.boolean }),
        };
        const {
          signal,
          immediate = false,
          onError = failed,
        } = checkOptions<WatchKeyOptions>('watch()', options, rules);
        const watched = isKey
          ? { key: readKey(keys) }
          : {
              prefix:
                prefix + (checkOptions<WatchRange>('watch()', keys, { prefix: RULES.text }).prefix ?? ''),
            };
        if (closing.signal.aborted) throw closedError();
        if (signal?.aborted) return () => {};
        const remove = watchers.add(
          { keys: watched, prefixLength: prefix.length, listener, onError } as Watcher,
          immediate,
          // Opens the session if no call has done that yet.
          context.session(),
        );
        signal?.addEventListener('abort', remove);
        return () => {
          signal?.removeEventListener('abort', remove);
          remove();
        };
      }) as NamespacedStorage['watch'],
      async flush() {
        const deadline = performance.now() + timeout;
        await (await context.session()).flush(deadline);
      },
      async conflicts() {
        const all = await (await context.session()).conflicts();
        return all
          .filter(({ key }) => key.startsWith(prefix))
          .map((conflict) => ({
            ...conflict,
            key: withoutPrefix(conflict.key),
            ...(conflict.unit && {
              unit: conflict.unit.filter((key) => key.startsWith(prefix)).map(withoutPrefix),
            }),
          }));
      },
      resolve: async (key, choice) => (await context.session()).resolve(readKey(key), choice),
      export: ((options) =>
        transfer((part) => part.exportFrom(transferContext, options))) as NamespacedStorage['export'],
      import: (async (source, options) => {
        try {
          return await transfer((part) => part.importInto(transferContext, source, options));
        } catch (error) {
          // The program that writes into the stream would wait for ever.
          if (closing.signal.aborted && source instanceof ReadableStream && !source.locked)
            await source.cancel(error).catch(() => {});
          throw error;
        }
      }) as NamespacedStorage['import'],
    };
    return methods;
  }

  const storage: KeyValueStorage = {
    ...createMethods(''),
    stats: () => queue.alone((session, deadline) => session.stats(deadline)),
    migrateToFlask: ((url, options) =>
      transfer((part) => part.migrateToFlask(context, url, options))) as KeyValueStorage['migrateToFlask'],
    migrateToIndexedDB: ((options) =>
      transfer((part) => part.migrateToIndexedDB(context, options))) as KeyValueStorage['migrateToIndexedDB'],
    outbox: async () => (await parts.server()).listOutboxes(timeout),
    async discard(id, options) {
      if (typeof id !== 'string') throw invalidOption('discard() takes the id of an entry of outbox().');
      const { forget = false } = checkOptions<DiscardOptions>('discard()', options, {
        forget: RULES.boolean,
      });
      await (await parts.server()).discardEntry(id, !forget, timeout);
    },
    async forget(options) {
      const { discardPending = false } = checkOptions<ForgetOptions>('forget()', options, {
        discardPending: RULES.boolean,
      });
      await queue.alone((session) => session.forget(discardPending));
      await forgotten();
    },
    oldDatabases: () => transfer((part) => part.oldDatabases(context)),
    adopt: ((name, options) =>
      transfer((part) => part.adopt(context, name, options))) as KeyValueStorage['adopt'],
    async close() {
      closing.abort();
      watchers.close();
      const settled = queue.close();
      await Promise.all(Array.from(opened, (one) => one.close()));
      await settled;
    },
    [DISPOSE]: () => storage.close(),
  };
  return storage as KeyValueStorage<Schema>;
}

/** Older engines lack the symbol; what compilers make of `await using` looks for this one then. */
const DISPOSE: typeof Symbol.asyncDispose = Symbol.asyncDispose ?? Symbol.for('Symbol.asyncDispose');

/** The parts of an atomic unit. A check of a key that the unit also writes is the condition of that write. */
function partsOf(operations: unknown, keyOf: (key: unknown) => string): AtomicPart[] {
  const parts = new Map<string, AtomicPart>();
  const twice = (key: string): never => {
    throw invalidOption(
      `atomic(): key ${key} occurs twice. Name each key in one set or delete, and in one check.`,
    );
  };
  const checks = new Map<string, string | null>();
  const wrong = (): never => {
    throw invalidOption(
      'atomic() takes a list of operations, each of them { set: key, value }, { delete: key } or { check: key, ifRevision }.',
    );
  };
  if (typeof operations === 'string' || typeof Object(operations)[Symbol.iterator] !== 'function') wrong();
  for (const operation of operations as Iterable<AtomicOperation>) {
    const [name = wrong(), ...others] = ATOMIC.filter((name) => Object.hasOwn(Object(operation), name));
    if (others.length > 0) wrong();
    const { [name]: given, ...options } = operation as Record<string, unknown>;
    const key = keyOf(given);
    const { value, ...rest } = options;
    if (name === 'set') {
      if (!('value' in options)) throw invalidOption(`atomic(): the set of key ${key} has no value.`);
      if (parts.has(key)) twice(key);
      parts.set(key, {
        type: 'put',
        key,
        ...snapshot(value, key),
        ...conditionOf('atomic()', rest as SetOptions, null),
      });
      continue;
    }
    const condition = conditionOf('atomic()', options as SetOptions, name === 'check' ? null : undefined);
    if (name === 'delete') {
      if (parts.has(key)) twice(key);
      parts.set(key, { type: 'delete', key, ...condition });
    } else {
      if (condition?.ifRevision === undefined)
        throw invalidOption(`atomic(): the check of key ${key} has no ifRevision.`);
      if (checks.has(key)) twice(key);
      checks.set(key, condition.ifRevision);
    }
  }
  for (const [key, ifRevision] of checks) {
    const write = parts.get(key);
    if (write?.ifRevision !== undefined) twice(key);
    parts.set(key, { ...(write ?? { type: 'check', key }), ifRevision } as AtomicPart);
  }
  return [...parts.values()];
}

const ATOMIC = ['set', 'delete', 'check'] as const;

type Put = Snapshot & { readonly type: 'put'; readonly key: string };

/** What `set` and `delete` were told about the state that they are for. */
function conditionOf(
  call: string,
  options: SetOptions | DeleteOptions | undefined,
  absent?: null,
): Condition | undefined {
  const isRevision = (value: unknown): boolean =>
    (value === null && absent === null) || (typeof value === 'string' && value !== '');
  const words = 'a revision from getEntry(), or in set() null for a key that must not exist';
  const checked = checkOptions<SetOptions>(call, options, { ifRevision: [isRevision, words] });
  if (!('ifRevision' in checked)) return undefined;
  // It would be the revision of a missing entry, and mean "always".
  if (checked.ifRevision === undefined) throw invalidOption(`${call}: ifRevision must be ${words}.`);
  return { ifRevision: checked.ifRevision };
}

type RangeRules = Readonly<Partial<Record<keyof ListOptions, OptionRule>>>;

const RANGE_RULES = { prefix: RULES.text, start: RULES.text, end: RULES.text };
const LIST_RULES = { ...RANGE_RULES, limit: RULES.count, reverse: RULES.boolean };

function checkClearPrefix(options: unknown): string {
  if (typeof options === 'string')
    throw invalidOption(
      `clear() takes an object. Did you mean clear({ prefix: ${JSON.stringify(options)} })?`,
    );
  const { prefix } = checkOptions<ClearOptions>('clear()', options, { prefix: RULES.text });
  if (prefix) return prefix;
  // A prefix that is missing or empty by mistake must not delete everything.
  throw invalidOption(
    'clear(options) takes { prefix } with a prefix that is not empty. To delete everything, call clear() without an argument.',
  );
}

function checkNamespace(prefix: unknown): string {
  if (isPortable(prefix)) return prefix;
  throw invalidOption(
    'namespace() takes a text that is not empty, well-formed and without U+0000, such as "cache:".',
  );
}

function listOf<T>(items: Iterable<T>): T[] {
  if (typeof items === 'string' || typeof items?.[Symbol.iterator] !== 'function')
    throw invalidOption('The methods for many take an array or another iterable.');
  return [...items];
}

function checkEntry(entry: unknown): [key: unknown, value: unknown] {
  if (Array.isArray(entry) && entry.length === 2) return [entry[0], entry[1]];
  throw invalidOption('setMany() takes pairs of a key and a value: [["a", 1], ["b", 2]].');
}
