/**
 * What the types promise: checked by the compiler, positive cases and refused ones.
 */
import { expectTypeOf, it } from 'vitest';
import {
  createStorage,
  type KeyValueStorage,
  StorageError,
  type StorageErrorCode,
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
  expectTypeOf(await storage.getMany(['count'])).toEqualTypeOf<Array<number | undefined>>();
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

void typed;

it('has a closed list of error codes', () => {
  expectTypeOf(new StorageError('quota', '').code).toEqualTypeOf<StorageErrorCode>();
  // @ts-expect-error not a code
  new StorageError('other', '');
});
