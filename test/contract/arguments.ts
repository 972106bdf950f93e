/** The part of the contract suite about arguments: what stands in the place of options must be options, and `clear()` by prefix. */
import { expect, it } from 'vitest';
import type { KeyValueStorage } from '../../src/index.ts';
import { codeOf } from './codes.ts';

/** What is no options object, or one that no method knows. */
const NO_OPTIONS: ReadonlyArray<readonly [string, unknown]> = [
  ['null', null],
  ['a text', 'cache:'],
  ['a number', 1],
  ['true', true],
  ['an array', []],
  ['a function', () => {}],
  ['an Event', new Event('click')],
  ['a Map', new Map()],
  ['an object with an unknown member', { prefx: 'a' }],
];

/** Every method that takes options, called with something in their place. */
const WITH_OPTIONS: ReadonlyArray<
  readonly [string, (s: KeyValueStorage, options: never) => Promise<unknown>]
> = [
  ['set', (s, options) => s.set('new', 1, options)],
  ['delete', (s, options) => s.delete('cache:1', options)],
  ['clear', (s, options) => s.clear(options)],
  ['keys', (s, options) => s.keys(options)],
  ['entries', (s, options) => s.entries(options).next()],
  ['count', (s, options) => s.count(options)],
  ['export', (s, options) => s.export(options)],
  ['import', (s, options) => s.import('{"new":1}', options)],
  ['migrateToFlask', (s, options) => s.migrateToFlask('http://127.0.0.1:1', options)],
  ['migrateToIndexedDB', (s, options) => s.migrateToIndexedDB(options)],
  ['adopt', (s, options) => s.adopt('CodeForgeDB', options)],
];

const KEYS = ['cache:1', 'cache:2', 'cache', 'cachf', 'cache:🗝', 'cache:\uffff', 'cache;', '🗝'];

/** What storages promise about their arguments. */
export function callArguments(open: () => Promise<KeyValueStorage>): void {
  const filled = async (): Promise<KeyValueStorage> => {
    const storage = await open();
    await storage.setMany(KEYS.map((key) => [key, key]));
    return storage;
  };

  it('rejects everything but options in the place of options, and changes nothing', async () => {
    const storage = await filled();
    const codes = [];
    for (const [method, call] of WITH_OPTIONS)
      for (const [name, options] of NO_OPTIONS)
        codes.push(`${method} with ${name}: ${await codeOf(call(storage, options as never))}`);
    expect(codes.filter((code) => !code.endsWith('invalid-option'))).toEqual([]);
    expect(await storage.count()).toBe(KEYS.length);
  });

  it('takes undefined for options that are left out', async () => {
    const storage = await filled();
    const wrong = undefined as never;
    await storage.set('cache:1', 2, wrong);
    await storage.delete('cache:1', wrong);
    expect(await storage.keys(undefined)).toHaveLength(KEYS.length - 1);
    await storage.clear(undefined);
    expect(await storage.count(undefined)).toBe(0);
  });

  it('ignores further arguments of methods without options, as array methods pass them', async () => {
    const storage = await filled();
    expect(await Promise.all(KEYS.map(storage.get))).toEqual(KEYS);
    expect(await Promise.all(KEYS.map(storage.has))).toEqual(KEYS.map(() => true));
    const ready = storage.ready as (event: Event) => Promise<void>;
    await ready(new Event('load'));
  });

  it('deletes nothing if clear() is given anything but a prefix', async () => {
    const storage = await filled();
    for (const options of [
      {},
      { prefix: '' },
      { prefix: undefined },
      { prefix: 1 },
      { prefix: 'cache:', limit: 1 },
    ])
      expect(await codeOf(storage.clear(options as never))).toBe('invalid-option');
    expect(await storage.count()).toBe(KEYS.length);
  });
  it('clears the keys with a prefix, and no others', async () => {
    const storage = await filled();
    await storage.clear({ prefix: 'cache:' });
    expect(await storage.keys()).toEqual(['cache', 'cache;', 'cachf', '🗝']);
    await storage.clear({ prefix: 'none' });
    await storage.clear({ prefix: '\ud83d' });
    await storage.clear({ prefix: '\0' });
    expect(await storage.keys()).toEqual(['cache', 'cache;', 'cachf']);
    expect(await storage.getMany(['cache:1', 'cache'])).toEqual([undefined, 'cache']);
  });

  it('clears a prefix in its place among the calls of a turn', async () => {
    const storage = await filled();
    const results = await Promise.all([
      storage.set('cache:new', 1),
      storage.set('other', 1),
      storage.get('cache:new'),
      storage.clear({ prefix: 'cache:' }),
      storage.get('cache:new'),
      storage.has('cache:1'),
      storage.get('other'),
      storage.set('cache:late', 2),
      storage.clear({ prefix: 'other' }),
      storage.keys({ prefix: 'cache:' }),
      storage.get('other'),
    ]);
    expect(results).toEqual([
      ...[undefined, undefined, 1, undefined, undefined, false, 1],
      ...[undefined, undefined, ['cache:late'], undefined],
    ]);
  });

  it('clears a prefix around reads and writes of many keys in one turn', async () => {
    const storage = await open();
    const keys = Array.from({ length: 60 }, (_, i) => `${i % 2 ? 'odd' : 'even'}:${i}`);
    const [, before, , after] = await Promise.all([
      storage.setMany(keys.map((key, i) => [key, i])),
      storage.getMany(keys),
      storage.clear({ prefix: 'odd:' }),
      storage.getMany(keys),
    ]);
    expect(before).toEqual(keys.map((_, i) => i));
    expect(after).toEqual(keys.map((_, i) => (i % 2 ? undefined : i)));
    expect(await storage.count()).toBe(30);
  });
}
