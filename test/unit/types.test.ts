/**
 * What the types promise: checked by the compiler, positive cases and refused ones.
 */
import { expectTypeOf, it } from 'vitest';
import { createStorage, type KeyValueStorage, StorageError, type StorageErrorCode } from '../../src/index.ts';

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
