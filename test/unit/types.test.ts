/**
 * What the types promise: checked by the compiler, positive cases and refused ones.
 */
import { expectTypeOf, it } from 'vitest';
import {
  type AdoptOptions,
  type Conflict,
  type ConflictPolicy,
  type ConflictValue,
  createStorage,
  type ImportOptions,
  type KeyValueStorage,
  type MigrationPlan,
  type NamespacedStorage,
  type OldDatabase,
  type Resolution,
  StorageError,
  type StorageErrorCode,
  type StorageStatus,
  type StoredEntry,
} from '../../src/index.ts';

interface Schema {
  settings: { theme: 'dark' | 'light' };
  count: number;
  [user: `user:${string}`]: { name: string };
}

/** Compiled, never run: a type test is the compiler not complaining. */
async function typed(storage: KeyValueStorage<Schema>, open: KeyValueStorage): Promise<void> {
  expectTypeOf(await storage.get('count')).toEqualTypeOf<number | undefined>();
  expectTypeOf(await storage.get('user:1')).toEqualTypeOf<{ name: string } | undefined>();
  expectTypeOf(await storage.update('count', (n) => (n ?? 0) + 1)).toEqualTypeOf<number>();
  expectTypeOf(await storage.getMany(['count'])).toEqualTypeOf<[number | undefined]>();
  await storage.setMany([
    ['count', 1],
    ['user:1', { name: 'Ada' }],
  ]);
  for await (const entry of storage.entries())
    if (entry[0] === 'count') expectTypeOf(entry[1]).toEqualTypeOf<number>();
  const entry = await storage.getEntry('count');
  expectTypeOf(entry).toEqualTypeOf<StoredEntry<number> | undefined>();
  await storage.set('count', 2, { ifRevision: entry?.revision ?? null });
  // @ts-expect-error The revision of what is not there is none: it would mean "always".
  await storage.set('count', 2, { ifRevision: undefined }).catch(() => {});
  await storage.set('count', 2, { ifRevision: null });
  await storage.delete('count', { ifRevision: entry?.revision ?? '' });
  expectTypeOf(storage.status().level).toEqualTypeOf<0 | 1 | undefined>();
  createStorage({ token: 'text' });
  createStorage({ token: async () => 'text' });
  // @ts-expect-error a token that is no text
  createStorage({ token: () => 5 });
  // @ts-expect-error only set() knows "does not exist"
  await storage.delete('count', { ifRevision: null });
  // @ts-expect-error a revision is text
  await storage.set('count', 2, { ifRevision: 5 });
  // @ts-expect-error a key that the schema does not have
  await storage.get('other');
  // @ts-expect-error a value of another type
  await storage.set('count', '1');
  // @ts-expect-error a value of another key
  await storage.setMany([['settings', 1]]);
  // @ts-expect-error an update that returns another type
  await storage.update('count', () => 'many');
  expectTypeOf(await open.get('anything')).toBeUnknown();
  await open.set('anything', { any: 'value' });
  // @ts-expect-error unknown options are refused
  createStorage({ useflask: true });
}

/** The same for what is said of a server that may be away. */
async function synced(storage: KeyValueStorage<Schema>): Promise<void> {
  expectTypeOf<StorageStatus['state']>().toEqualTypeOf<
    'local' | 'online' | 'offline' | 'reconnecting' | 'auth-required'
  >();
  expectTypeOf(storage.status().pending).toEqualTypeOf<number>();
  expectTypeOf(storage.status().conflicts).toEqualTypeOf<number>();
  expectTypeOf(storage.status().lastSyncAtMs).toEqualTypeOf<number | undefined>();
  // @ts-expect-error a status is read, not made
  storage.status().pending = 0;
  const stop = storage.watchStatus((status) => expectTypeOf(status).toEqualTypeOf<StorageStatus>());
  expectTypeOf(stop).toEqualTypeOf<() => void>();
  // @ts-expect-error a listener is a function
  storage.watchStatus('listener');
  // @ts-expect-error a listener gets one status
  storage.watchStatus((_now: StorageStatus, _before: StorageStatus) => {});
  expectTypeOf(await storage.flush()).toEqualTypeOf<void>();
  const conflicts = await storage.conflicts();
  expectTypeOf(conflicts).toEqualTypeOf<Array<Conflict<Schema>>>();
  for (const conflict of conflicts) {
    expectTypeOf(conflict.key).toEqualTypeOf<'settings' | 'count' | `user:${string}` | ''>();
    // The key decides the type of the values.
    if (conflict.key === 'count') expectTypeOf(conflict.local?.value).toEqualTypeOf<number | undefined>();
    // @ts-expect-error a key that the schema does not have
    if (conflict.key === 'other') continue;
    await storage.resolve(conflict.key, 'server');
  }
  expectTypeOf<Conflict['key']>().toEqualTypeOf<string>();
  expectTypeOf<Conflict['reason']>().toEqualTypeOf<'changed' | 'rejected' | 'restored' | 'discarded'>();
  expectTypeOf<Conflict['base' | 'local' | 'server']>().toEqualTypeOf<ConflictValue>();
  expectTypeOf<ConflictValue>().toEqualTypeOf<{ readonly value: unknown } | undefined>();
  expectTypeOf<Resolution>().toEqualTypeOf<'local' | 'server' | { readonly value: unknown }>();
  await storage.resolve('count', 'local');
  await storage.resolve('count', 'server');
  await storage.resolve('count', { value: 3 });
  // @ts-expect-error nobody else has a side
  await storage.resolve('count', 'base');
  // @ts-expect-error a value comes in an object, so that it is no side
  await storage.resolve('count', 3);
  await storage.resolve('', 'server');
  // @ts-expect-error a key that the schema does not have
  await storage.resolve('other', 'local');
  // @ts-expect-error a value of another type
  await storage.resolve('count', { value: 'many' });
  createStorage({ conflict: 'keep-local', ack: 'local' });
  createStorage({ conflict: (base, local, server, key) => [base, local, server, key.length] });
  createStorage({ conflict: async (_base, local) => local });
  expectTypeOf<Exclude<ConflictPolicy, string>>().parameters.toEqualTypeOf<
    [base: unknown, local: unknown, server: unknown, key: string]
  >();
  // @ts-expect-error a policy that does not exist
  createStorage({ conflict: 'keep-both' });
  // @ts-expect-error what a policy is given is unknown
  createStorage({ conflict: (base: number) => base });
  // @ts-expect-error an acknowledgement by nobody
  createStorage({ ack: 'none' });
}

interface User {
  name: string;
}

/** The types of values that a storage without a schema is told, and that one with a schema knows. */
async function told(storage: KeyValueStorage<Schema>, open: KeyValueStorage): Promise<void> {
  expectTypeOf(await open.get<User>('user:1')).toEqualTypeOf<User | undefined>();
  expectTypeOf(await open.get<string>('text')).toEqualTypeOf<string | undefined>();
  expectTypeOf(await open.getEntry<User>('user:1')).toEqualTypeOf<StoredEntry<User> | undefined>();
  expectTypeOf(await open.getMany<User>(['user:1', 'user:2'])).toEqualTypeOf<Array<User | undefined>>();
  expectTypeOf(await open.update<number>('n', (n) => (n ?? 0) + 1)).toEqualTypeOf<number>();
  expectTypeOf(await open.update('n', (n) => n)).toBeUnknown();
  // @ts-expect-error what is not named is unknown, whatever is wanted
  const user: User | undefined = await open.get('user:1');
  void user;
  // @ts-expect-error an update that returns another type
  await open.update<number>('n', () => 'many');
  // @ts-expect-error a schema says what its values are
  await storage.get<User>('count');
  // @ts-expect-error a schema says what its values are
  await storage.getMany<User>(['count']);
  const counts: KeyValueStorage<Record<string, number>> = storage as never;
  expectTypeOf(await counts.get('any')).toEqualTypeOf<number | undefined>();
  // @ts-expect-error the schema of all keys says what its values are
  await counts.get<string>('any');
  expectTypeOf(['a', 'b'].map(open.get)).toEqualTypeOf<Array<Promise<unknown>>>();
  const passed = async <S extends object>(
    some: KeyValueStorage<S>,
    key: keyof S & string,
  ): Promise<S[keyof S & string] | undefined> => some.get(key);
  void passed;
}

/** Lists: a prefix narrows the keys, and a tuple gives a tuple. */
async function listing(
  storage: KeyValueStorage<Schema>,
  open: KeyValueStorage,
  prefix: string,
): Promise<void> {
  type Key = 'settings' | 'count' | `user:${string}`;
  expectTypeOf(await storage.keys()).toEqualTypeOf<Key[]>();
  expectTypeOf(await storage.keys({ prefix })).toEqualTypeOf<Key[]>();
  expectTypeOf(await storage.keys({ limit: 1, reverse: true })).toEqualTypeOf<Key[]>();
  expectTypeOf(await storage.keys({ prefix: 'user:' })).toEqualTypeOf<Array<`user:${string}`>>();
  expectTypeOf(await storage.keys({ prefix: 'co' })).toEqualTypeOf<'count'[]>();
  expectTypeOf(await storage.keys({ prefix: 'none' })).toEqualTypeOf<never[]>();
  for (const key of await storage.keys({ prefix: 'user:1' }))
    expectTypeOf(await storage.get(key)).toEqualTypeOf<User | undefined>();
  expectTypeOf(await open.keys({ prefix: 'user:' })).toEqualTypeOf<Array<`user:${string}`>>();
  const suffixed: KeyValueStorage<Record<`${string}:x`, number>> = open as never;
  const [both] = await suffixed.keys({ prefix: 'a:' });
  expectTypeOf(both).toExtend<`a:${string}` | undefined>();
  expectTypeOf(both && (await suffixed.get(both))).toEqualTypeOf<number | undefined>();
  const every = async <S extends object>(some: KeyValueStorage<S>): Promise<void> => {
    for (const key of await some.keys()) await some.get(key);
    for await (const [key] of some.entries()) await some.delete(key);
  };
  void every;
  for await (const [key, value] of storage.entries({ prefix: 'user:' })) {
    expectTypeOf(key).toEqualTypeOf<`user:${string}`>();
    expectTypeOf(value).toEqualTypeOf<User>();
  }
  for await (const [key, value] of storage.entries({ prefix: 'c' }))
    expectTypeOf([key, value] as const).toEqualTypeOf<readonly ['count', number]>();
  for await (const [key, value] of open.entries())
    expectTypeOf([key, value] as const).toEqualTypeOf<readonly [string, unknown]>();
  expectTypeOf(await storage.getMany(['count', 'user:1'])).toEqualTypeOf<
    [number | undefined, User | undefined]
  >();
  expectTypeOf(await storage.getMany(new Set(['count'] as const))).toEqualTypeOf<Array<number | undefined>>();
  const keys: Array<'count' | 'settings'> = [];
  expectTypeOf(await storage.getMany(keys)).toEqualTypeOf<
    Array<number | { theme: 'dark' | 'light' } | undefined>
  >();
  expectTypeOf(await open.getMany(['a', 'b'])).toEqualTypeOf<[unknown, unknown]>();
  // @ts-expect-error a key that the schema does not have
  await storage.getMany(['count', 'other']);
  // @ts-expect-error a key of the whole schema is not one of the prefix
  const users: Array<`user:${string}`> = await storage.keys();
  void users;
  // @ts-expect-error a limit is a number
  await storage.keys({ limit: '1' });
  // @ts-expect-error a count has no limit
  await storage.count({ limit: 1 });
  // @ts-expect-error a prefix without a name wiped everything once
  await storage.clear('cache:');
  // @ts-expect-error a prefix is needed
  await storage.clear({});
}

/** Namespaces have the methods of a storage over the rest of each key. */
async function namespaced(
  storage: KeyValueStorage<Schema>,
  open: KeyValueStorage,
  prefix: string,
): Promise<void> {
  const users = storage.namespace('user:');
  expectTypeOf(await users.get('1')).toEqualTypeOf<User | undefined>();
  expectTypeOf(await users.keys()).toEqualTypeOf<string[]>();
  await users.set('1', { name: 'Ada' });
  // @ts-expect-error a value of another type
  await users.set('1', 5);
  const counts = storage.namespace('cou');
  expectTypeOf(await counts.get('nt')).toEqualTypeOf<number | undefined>();
  // @ts-expect-error a key of the whole storage
  await counts.get('count');
  expectTypeOf(await storage.namespace('user:a:').get('1')).toEqualTypeOf<User | undefined>();
  expectTypeOf(await users.namespace('a:').get('1')).toEqualTypeOf<User | undefined>();
  expectTypeOf(await storage.namespace(prefix).get('any')).toEqualTypeOf<
    { theme: 'dark' | 'light' } | number | User | undefined
  >();
  const cache = open.namespace('cache:');
  expectTypeOf(cache).toEqualTypeOf<NamespacedStorage>();
  expectTypeOf(await cache.get<User>('1')).toEqualTypeOf<User | undefined>();
  // A function for a namespace takes a storage as well.
  const either: NamespacedStorage = open;
  void either;
  // @ts-expect-error a namespace owns nothing that could be closed
  await cache.close();
  // @ts-expect-error only a storage as a whole is migrated
  await cache.migrateToFlask('url');
  // @ts-expect-error a text is needed
  storage.namespace();
}

/** The same for what older apps have left. */
async function adopting(storage: KeyValueStorage<Schema>, options: AdoptOptions): Promise<void> {
  const [found] = await storage.oldDatabases();
  expectTypeOf(found).toEqualTypeOf<OldDatabase | undefined>();
  if (found) expectTypeOf(await storage.adopt(found.name)).toEqualTypeOf<number>();
  expectTypeOf(await storage.adopt('CodeForgeDB', { onConflict: 'skip' })).toEqualTypeOf<number>();
  expectTypeOf(await storage.adopt('CodeForgeDB', { dryRun: true })).toEqualTypeOf<MigrationPlan>();
  // @ts-expect-error whether it is a dry run decides what is returned
  await storage.adopt('CodeForgeDB', options);
  // @ts-expect-error a database whose layout is not known
  await storage.adopt('other');
  // @ts-expect-error what is used does not change
  await storage.adopt('CodeForgeDB', { activate: true });
}

/** The same for backups and migrations, of which an option decides what is returned. */
async function movingOut(storage: KeyValueStorage<Schema>, options: ImportOptions): Promise<void> {
  expectTypeOf(storage.export()).toEqualTypeOf<Promise<ReadableStream<Uint8Array>>>();
  expectTypeOf(storage.export({ as: 'stream', format: 'json' })).toEqualTypeOf<
    Promise<ReadableStream<Uint8Array>>
  >();
  expectTypeOf(storage.export({ as: 'blob' })).toEqualTypeOf<Promise<Blob>>();
  // @ts-expect-error a form that does not exist
  await storage.export({ format: 'csv' });
  // @ts-expect-error nothing else is returned
  await storage.export({ as: 'text' });
  // @ts-expect-error a stream is no Blob
  const blob: Blob = await storage.export();
  expectTypeOf(storage.import(blob)).toEqualTypeOf<Promise<number>>();
  expectTypeOf(storage.import('text', { mode: 'skip', dryRun: false })).toEqualTypeOf<Promise<number>>();
  expectTypeOf(storage.import(await storage.export(), { dryRun: true })).toEqualTypeOf<
    Promise<MigrationPlan>
  >();
  // @ts-expect-error whether it is a dry run decides what is returned
  await storage.import(blob, options);
  // @ts-expect-error bytes come in a Blob or a stream
  await storage.import(new Uint8Array());
  // @ts-expect-error conflicts of an import are its mode
  await storage.import(blob, { onConflict: 'skip' });
  // @ts-expect-error what is used does not change
  await storage.import(blob, { activate: true });
  expectTypeOf(storage.migrateToFlask('url')).toEqualTypeOf<Promise<number>>();
  expectTypeOf(storage.migrateToFlask('url', { dryRun: true })).toEqualTypeOf<Promise<MigrationPlan>>();
  expectTypeOf(storage.migrateToIndexedDB({ activate: true })).toEqualTypeOf<Promise<number>>();
  expectTypeOf(storage.migrateToIndexedDB({ dryRun: true })).toEqualTypeOf<Promise<MigrationPlan>>();
  // @ts-expect-error a migration that only plans moves nothing
  const moved: number = await storage.migrateToFlask('url', { dryRun: true });
  void moved;
  // @ts-expect-error the server has to be named
  await storage.migrateToFlask();
  // @ts-expect-error an import's word for it
  await storage.migrateToIndexedDB({ mode: 'skip' });
}

void movingOut;
void adopting;
void typed;
void synced;
void told;
void listing;
void namespaced;

it('has a closed list of error codes', () => {
  expectTypeOf(new StorageError('quota', '').code).toEqualTypeOf<StorageErrorCode>();
  // @ts-expect-error not a code
  new StorageError('other', '');
});
