/** asAsyncStorage() and asStateStorage() themselves: which arguments they take, and what becomes of values that are not theirs. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { asAsyncStorage, asStateStorage, asUnstorageDriver } from '../../src/adapters/index.ts';
import { createStorage, type KeyValueStorage, StorageError } from '../../src/index.ts';
import { rejection } from '../support/rejection.ts';
import { onEachBackend } from './backends.ts';

/** What a call threw. */
function thrownBy(call: () => unknown): StorageError {
  try {
    call();
  } catch (error) {
    return error as StorageError;
  }
  throw new Error('It did not throw.');
}

const ADAPTERS = [
  { name: 'asAsyncStorage()', option: 'prefix', adapt: asAsyncStorage },
  { name: 'asStateStorage()', option: 'prefix', adapt: asStateStorage },
  { name: 'asUnstorageDriver()', option: 'base', adapt: asUnstorageDriver },
] as const;

for (const { name, option, adapt } of ADAPTERS)
  describe(`the arguments of ${name}`, () => {
    const call = adapt as (storage?: unknown, options?: unknown) => unknown;
    let storage: KeyValueStorage;
    beforeEach(() => {
      storage = createStorage({ database: 'arguments', logger: false });
    });
    afterEach(() => storage.close());

    it('a storage, a namespace, and no options', () => {
      for (const given of [storage, storage.namespace('a:')])
        for (const options of [undefined, {}, { [option]: undefined }, { [option]: 'b' }])
          expect(() => call(given, options)).not.toThrow();
    });

    it('anything but a storage is refused at once, with what to pass', () => {
      for (const given of [undefined, null, 'app', {}, new Map(), Promise.resolve(storage)]) {
        const error = thrownBy(() => call(given));
        expect(error).toBeInstanceOf(StorageError);
        expect(error).toMatchObject({
          code: 'invalid-option',
          message: `${name} takes a storage. Pass what createStorage() or namespace() returns.`,
        });
      }
    });

    it(`a ${option} that is no text, or empty, is refused at once`, () => {
      for (const given of [5, null, '', {}, ['a'], true])
        expect(thrownBy(() => call(storage, { [option]: given }))).toMatchObject({
          code: 'invalid-option',
          message: `${name}: ${option} must be a string that is not empty, such as "app:".`,
        });
      expect(thrownBy(() => call(storage, { [option]: '\ud800' }))).toMatchObject({ code: 'invalid-option' });
    });

    it('options that are none, and unknown ones, are refused at once', () => {
      expect(thrownBy(() => call(storage, 'app:'))).toMatchObject({
        code: 'invalid-option',
        message: `${name} takes an object with options, not "app:". The options of ${name} are ${option}.`,
      });
      expect(thrownBy(() => call(storage, { other: 'a' }))).toMatchObject({ code: 'invalid-option' });
    });
  });

onEachBackend((reopen) => {
  it('text comes back; a missing item is null; a removed one too', async () => {
    const open = async () => asAsyncStorage(await reopen(), { prefix: 'app:' });
    const { setItem } = await open();
    await setItem('a', '{"n":1}');
    await setItem('empty', '');
    const { getItem, removeItem, entries } = await open();
    expect(await getItem('a')).toBe('{"n":1}');
    expect(await getItem('empty')).toBe('');
    expect(await getItem('b')).toBeNull();
    expect(await entries()).toEqual([
      ['a', '{"n":1}'],
      ['empty', ''],
    ]);
    await removeItem('a');
    await removeItem('b');
    expect(await getItem('a')).toBeNull();
  });

  it('an object comes back with everything that JSON has no form for', async () => {
    const state = {
      when: new Date(5),
      map: new Map([['a', new Set([1n])]]),
      bytes: new Uint8Array([1, 2]),
      missing: undefined,
      not: Number.NaN,
    };
    const value = { state, version: 1 };
    await asStateStorage<typeof state>(await reopen()).setItem('a', value);
    const items = asStateStorage<typeof state>(await reopen());
    expect(await items.getItem('a')).toEqual(value);
    expect(await items.getItem('b')).toBeNull();
    expect(await items.entries()).toEqual([['a', value]]);
    await items.removeItem('a');
    expect(await items.getItem('a')).toBeNull();
  });

  it('two prefixes do not see each other', async () => {
    const storage = await reopen();
    const [one, two] = [
      asAsyncStorage(storage, { prefix: 'one:' }),
      asAsyncStorage(storage.namespace('two:'), { prefix: 'deep:' }),
    ];
    await Promise.all([one.setItem('a', 'first'), two.setItem('a', 'second'), two.setItem('b', 'third')]);
    expect(await one.entries()).toEqual([['a', 'first']]);
    await one.removeItem('b');
    await one.removeItem('a');
    expect(await one.getItem('a')).toBeNull();
    expect(await two.getItem('a')).toBe('second');
    expect(await storage.keys()).toEqual(['two:deep:a', 'two:deep:b']);
  });

  it('calls that nobody awaits take effect in their order', async () => {
    const { setItem, getItem, removeItem } = asAsyncStorage(await reopen());
    void setItem('a', '1');
    void setItem('a', '2');
    expect(await getItem('a')).toBe('2');
    void removeItem('a');
    expect(await getItem('a')).toBeNull();
  });
});

describe('values that are not items of the adapter', () => {
  let storage: KeyValueStorage;
  beforeEach(async () => {
    storage = createStorage({ database: 'other-values', logger: false });
    await storage.clear();
  });
  afterEach(() => storage.close());

  it('asAsyncStorage() stores only text, and says what to do with an object', async () => {
    const items = asAsyncStorage(storage, { prefix: 'app:' });
    for (const value of [{ n: 1 }, 5, null, undefined, true]) {
      const error = await rejection(items.setItem('state', value as never));
      expect(error).toBeInstanceOf(StorageError);
      expect(error.code).toBe('unsupported-value');
      expect(error.message).toContain(`the value of item state has the type ${typeof value}`);
      expect(error.message).toContain('JSON.stringify()');
      expect(error.message).toContain('asStateStorage()');
    }
    expect(await storage.keys()).toEqual([]);
  });

  it('asAsyncStorage() reads only text', async () => {
    await storage.set('app:state', { n: 1 });
    const items = asAsyncStorage(storage, { prefix: 'app:' });
    for (const call of [items.getItem('state'), items.entries()])
      expect(await rejection(call)).toMatchObject({
        code: 'unsupported-value',
        message: expect.stringContaining('item state is a value of the type object'),
      });
    expect(await storage.get('app:state')).toEqual({ n: 1 });
  });

  it('asStateStorage() stores only objects', async () => {
    const items = asStateStorage(storage);
    for (const value of ['text', 5, null, undefined, () => {}])
      expect(await rejection(items.setItem('state', value as never))).toMatchObject({
        code: 'unsupported-value',
        message: expect.stringContaining('asStateStorage() stores objects'),
      });
    expect(await storage.keys()).toEqual([]);
  });

  it('asStateStorage() reads what asAsyncStorage() has stored as JSON, and refuses other text', async () => {
    const [text, objects] = [asAsyncStorage(storage), asStateStorage<{ n: number }>(storage)];
    await text.setItem('state', '{"state":{"n":1}}');
    expect(await objects.getItem('state')).toEqual({ state: { n: 1 } });
    await text.setItem('other', 'not JSON');
    const error = await rejection(objects.getItem('other'));
    expect(error).toBeInstanceOf(StorageError);
    expect(error.code).toBe('unsupported-value');
    expect(error.cause).toBeInstanceOf(SyntaxError);
  });

  it('asStateStorage() leaves out the functions beside the state, and rejects deeper ones with their path', async () => {
    const items = asStateStorage<object>(storage);
    const state = { n: 1, add: () => 2 };
    await items.setItem('flat', { state, version: 3 });
    expect(await items.getItem('flat')).toEqual({ state: { n: 1 }, version: 3 });
    expect(state.add()).toBe(2);
    expect(await rejection(items.setItem('deep', { state: { actions: { add: () => 2 } } }))).toMatchObject({
      code: 'unsupported-value',
      message: expect.stringContaining('value.state.actions.add is a function'),
    });
    expect(await rejection(items.setItem('top', { add: () => 2 } as never))).toMatchObject({
      code: 'unsupported-value',
    });
    class Counter {
      n = 1;
      add = () => 2;
    }
    expect(await rejection(items.setItem('class', { state: new Counter() }))).toMatchObject({
      code: 'unsupported-value',
    });
    expect(await storage.keys()).toEqual(['flat']);
  });

  it('what the storage rejects rejects the call', async () => {
    await storage.close();
    const items = asAsyncStorage(storage);
    for (const call of [items.getItem('a'), items.setItem('a', 'b'), items.removeItem('a'), items.entries()])
      expect(await rejection(call)).toMatchObject({ code: 'closed' });
  });
});

/** Compiled, never run: a type test is the compiler not complaining. */
function typed(storage: KeyValueStorage<{ n: number; [user: `user:${string}`]: Date }>): void {
  asAsyncStorage(storage, { prefix: 'a' });
  asStateStorage<Date>(storage.namespace('user:'));
  asUnstorageDriver(storage, { base: 'a' });
  // @ts-expect-error no storage of this package
  asAsyncStorage(localStorage);
  // @ts-expect-error a promise of a storage
  asAsyncStorage(Promise.resolve(storage));
  // @ts-expect-error the option of the others
  asUnstorageDriver(storage, { prefix: 'a' });
  // @ts-expect-error a prefix that is no text
  asStateStorage(storage, { prefix: 5 });
  // @ts-expect-error text for objects
  void asStateStorage<Date>(storage).setItem('a', '{"n":1}');
  // @ts-expect-error an object for text
  void asAsyncStorage(storage).setItem('a', { n: 1 });
}

it('the types accept any schema, and refuse what is no storage', () => expect(typed).toBeTypeOf('function'));
