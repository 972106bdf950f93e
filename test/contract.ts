/**
 * The contract suite: what every storage promises, whichever backend serves it.
 *
 * A subject opens an empty storage, and one whose medium has failed. What a subject cannot do is written down in `gaps`,
 * and must then be refused with the code that the contract names.
 */
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { ConflictError, type KeyValueStorage, StorageError, type StorageErrorCode } from '../src/index.ts';

/** What the suite runs on. */
export interface Subject {
  readonly name: string;
  /** An empty storage. */
  open(): Promise<KeyValueStorage>;
  /** A storage that worked, and whose medium then failed. */
  openBroken(): Promise<KeyValueStorage>;
  /**
   * `path-keys`: keys that no URL path can name; `revisions`: no revisions, so no update and no conditions;
   * `member-order`: objects come back sorted.
   */
  readonly gaps: readonly ('path-keys' | 'revisions' | 'member-order')[];
  /** The level of the server's protocol, where there is a server. */
  readonly level?: 0 | 1;
}

const PATH_KEYS = ['a/b', '/', '.', '..', '../x'];
const ORDINARY_KEYS = [
  ...[
    'keys',
    'clear',
    'export',
    'import',
    'stats',
    '_health_check',
    'health',
    'constructor',
    '__proto__',
    'toString',
  ],
  ...[
    '%2F',
    '%',
    '%zz',
    '%00',
    '?',
    '#',
    '?a=b&c',
    'a+b',
    '&',
    ';',
    '\\',
    '"',
    "'",
    '<script>',
    '$cf',
    '*',
    '...',
    '.a',
  ],
  ...[
    ' ',
    ' a ',
    '\t',
    '\n',
    '\u0001',
    '\u007f',
    '\ufeff',
    '\u200b',
    'ключ',
    '鍵',
    '🗝',
    'e\u0301',
    '\u00e9',
    '\uffff',
  ],
  ...['0', '1', '-1', 'null', 'undefined', 'k'.repeat(1024), '🗝'.repeat(256)],
];
const REFUSED_KEYS: ReadonlyArray<readonly [string, unknown]> = [
  ['an empty key', ''],
  ['U+0000', 'a\0b'],
  ['a lone high surrogate', 'a\ud800'],
  ['a lone low surrogate', '\udc00a'],
  ['a number', 1],
  ['null', null],
  ['undefined', undefined],
  ['an object', {}],
  ['a symbol', Symbol('key')],
];
const TOO_LONG = ['k'.repeat(1025), 'é'.repeat(513), '🗝'.repeat(257)];

const shared = { shared: true };
const cycle: Record<string, unknown> = { name: 'cycle' };
cycle.self = cycle;

const VALUES: ReadonlyArray<readonly [string, unknown]> = [
  ['null', null],
  ['true', true],
  ['an empty string', ''],
  ['U+0000 in a string', 'a\0b'],
  ['a lone surrogate in a string', '\ud83d'],
  ['line separators', '\u2028\u2029'],
  ['0', 0],
  ['a large number', 1.7976931348623157e308],
  ['an integer over 2^53', Number('9007199254740993')],
  ['an empty array', []],
  ['an empty object', {}],
  ['nested JSON', { user: { name: 'Ada', tags: ['a', 'b', { c: null }] }, list: [1, [2, [3]]] }],
  ['keys in their order', { z: 1, a: 2, m: 3 }],
  ['an own __proto__', JSON.parse('{"__proto__":{"polluted":true},"a":1}')],
  ['a constructor key', { constructor: 1, hasOwnProperty: 2, toString: 3 }],
  ['200 levels', JSON.parse('['.repeat(200) + ']'.repeat(200))],
  ['something that looks like an envelope', { $cf: [1, 2] }],
  ['something that looks like an escaped envelope', { $cf$$: { $cf: 1 } }],
  ['$cf beside another key', { $cf: 1, other: 2 }],
  ['a toJSON that is no function', { toJSON: 1 }],
  ['undefined', undefined],
  ['undefined inside', { a: undefined, b: [undefined] }],
  ['NaN', Number.NaN],
  ['Infinity', [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]],
  ['-0', -0],
  ['-0 inside', { zero: -0 }],
  ['a bigint', 12345678901234567890n],
  ['a Date', new Date(1700000000123)],
  ['an invalid Date', { date: new Date(Number.NaN) }],
  ['a RegExp', /a\/b[\n]"/giu],
  [
    'a Map',
    new Map<unknown, unknown>([
      ['a', { deep: new Date(0) }],
      [{ key: 1 }, new Map()],
    ]),
  ],
  ['a Set', new Set<unknown>([1, 'two', [3], new Set()])],
  ['a sparse array', Object.assign(Array(4), { 0: 1, 2: 3 })],
  ['an ArrayBuffer', new Uint8Array([0, 1, 254, 255]).buffer],
  ['a DataView', new DataView(new Uint8Array([1, 2, 3]).buffer, 1, 2)],
  ['a part of a typed array', new Uint8Array([1, 2, 3, 4]).subarray(1, 3)],
  ...[
    ...[Int8Array, Uint8Array, Uint8ClampedArray, Int16Array, Uint16Array, Int32Array, Uint32Array],
    ...[Float32Array, Float64Array],
  ].map((View) => [`a ${View.name}`, View.from([1, 2, 100])] as const),
  ['a BigInt64Array', BigInt64Array.from([-1n, 2n ** 62n])],
  ['a BigUint64Array', BigUint64Array.from([2n ** 64n - 1n])],
  ['shared references', [shared, { again: shared }]],
  ['a cycle', cycle],
  [
    'everything at once',
    { m: new Map([['d', [new Date(1), -0, undefined, 1n]]]), s: new Set([shared]), shared },
  ],
];

class Custom {
  readonly field = 1;
}

const REFUSED_VALUES: ReadonlyArray<readonly [string, () => unknown, string]> = [
  ['a function', () => () => 1, 'The value is'],
  ['a function inside', () => ({ user: { avatar: () => 1 } }), 'user.avatar'],
  ['a method', () => ({ list: [1, { run() {} }] }), 'list[1].run'],
  ['a symbol', () => Symbol('value'), 'The value is'],
  ['a symbol inside', () => ({ 'a key': Symbol('value') }), '["a key"]'],
  ['a symbol key', () => ({ user: { [Symbol('k')]: 1 } }), 'user'],
  ['a class instance', () => ({ user: new Custom() }), 'user'],
  ['a subclass of a platform class', () => ({ map: new (class Own extends Map {})() }), 'map'],
  ['a Promise', () => ({ later: Promise.resolve(1) }), 'later'],
  ['a WeakMap', () => [new WeakMap()], '[0]'],
  ['a boxed primitive', () => ({ n: Object(1) }), 'n'],
  ['a hidden property', () => ({ o: Object.defineProperty({}, 'x', { value: 1 }) }), 'o'],
  ['an array with a property of its own', () => ({ match: /a/.exec('a') }), 'match'],
  ['an Error with a property of its own', () => Object.assign(new Error('e'), { code: 1 }), 'The value is'],
  [
    'an Error with a name and a property of its own',
    () => Object.assign(new Error('e'), { name: 'TypeError', code: 1 }),
    'code',
  ],
  ['a Map with a symbol key', () => ({ map: Object.assign(new Map(), { [Symbol('k')]: 1 }) }), 'map'],
  ['a subclass of Array', () => ({ list: new (class List extends Array {})() }), 'list'],
  [
    'an array with a property beyond its indices',
    () => Object.assign([undefined], { 4294967295: 1 }),
    '4294967295',
  ],
  ['a resizable ArrayBuffer', () => ({ b: new ArrayBuffer(1, { maxByteLength: 2 } as object) }), 'b'],
  [
    'a getter that throws',
    () =>
      Object.defineProperty({ d: new Date() }, 'x', {
        enumerable: true,
        get: () => {
          throw new Error('mine');
        },
      }),
    'mine',
  ],
  ['a function in a Map', () => ({ map: new Map([['k', () => 1]]) }), 'map.get("k")'],
  ['an own __proto__ beside a Date', () => ({ o: JSON.parse('{"__proto__":1}'), d: new Date() }), 'o'],
  ['201 levels', () => JSON.parse('['.repeat(201) + ']'.repeat(201)), '[0][0]'],
  ['10,000 levels', () => JSON.parse('['.repeat(10_000) + ']'.repeat(10_000)), '[0][0]'],
  [
    'a cycle with a function inside',
    () => {
      const loop: Record<string, unknown> = { list: [{ call: () => 1 }] };
      loop.self = loop;
      return loop;
    },
    'list[0].call',
  ],
];

/** Every method of a storage, called with something it accepts. */
const EVERY_METHOD: ReadonlyArray<readonly [string, (storage: KeyValueStorage) => Promise<unknown>]> = [
  ['get', (s) => s.get('a')],
  ['set', (s) => s.set('a', 1)],
  ['delete', (s) => s.delete('a')],
  ['has', (s) => s.has('a')],
  ['keys', (s) => s.keys()],
  ['entries', (s) => Array.fromAsync(s.entries())],
  ['clear', (s) => s.clear()],
  ['getMany', (s) => s.getMany(['a', 'b'])],
  [
    'setMany',
    (s) =>
      s.setMany([
        ['a', 1],
        ['b', 2],
      ]),
  ],
  ['deleteMany', (s) => s.deleteMany(['a', 'b'])],
  ['update', (s) => s.update('a', () => 1)],
  ['getEntry', (s) => s.getEntry('a')],
  ['set with ifRevision', (s) => s.set('a', 1, { ifRevision: null })],
  ['delete with ifRevision', (s) => s.delete('a', { ifRevision: 'k.1' })],
  ['stats', (s) => s.stats()],
  ['ready', (s) => s.ready()],
];

/** Those of them that need revisions. */
const NEEDS_REVISIONS = ['update', 'getEntry', 'set with ifRevision', 'delete with ifRevision'];

/** Byte order of UTF-8, written independently of the code under test. */
const byBytes = (a: string, b: string): number => {
  const [x, y] = [a, b].map((text) =>
    [...text].map((c) => (c.codePointAt(0) ?? 0).toString(16).padStart(6, '0')).join(),
  );
  return (x ?? '') < (y ?? '') ? -1 : 1;
};

async function codeOf(promise: Promise<unknown>): Promise<StorageErrorCode | 'no error'> {
  try {
    await promise;
    return 'no error';
  } catch (error) {
    expect(error).toBeInstanceOf(StorageError);
    return (error as StorageError).code;
  }
}

/** Run the suite on `subject`. */
export function contract(subject: Subject): void {
  const opened: KeyValueStorage[] = [];
  const open = async (): Promise<KeyValueStorage> => {
    const storage = await subject.open();
    opened.push(storage);
    return storage;
  };
  const pathKeys = subject.gaps.includes('path-keys') ? [] : PATH_KEYS;
  const revised = !subject.gaps.includes('revisions');

  describe(`${subject.name} keeps the contract`, () => {
    afterEach(async () => {
      await Promise.all(opened.splice(0).map((storage) => storage.close()));
    });

    it('reads a missing key as undefined, has it not, and deletes it without an error', async () => {
      const storage = await open();
      expect(await storage.get('missing')).toBeUndefined();
      expect(await storage.has('missing')).toBe(false);
      await storage.delete('missing');
    });

    it('gives back what was set last, until it is deleted', async () => {
      const storage = await open();
      await storage.set('k', { first: 1 });
      await storage.set('k', { second: 2 });
      expect(await storage.get('k')).toStrictEqual({ second: 2 });
      await storage.delete('k');
      expect(await storage.get('k')).toBeUndefined();
      expect(await storage.has('k')).toBe(false);
    });

    it('clears everything', async () => {
      const storage = await open();
      await storage.setMany([
        ['a', 1],
        ['b', 2],
      ]);
      await storage.clear();
      expect(await storage.keys()).toEqual([]);
      expect(await storage.get('a')).toBeUndefined();
    });

    it('lists keys and entries in byte order, by prefix', async () => {
      const storage = await open();
      const keys = [
        'b',
        'a',
        'aa',
        'a:1',
        'ab',
        '\uff5e',
        '🗝',
        '🗝b',
        'a🗝',
        'a\uff5e',
        'a\ud7ff',
        'a\ue000',
        'Z',
        'é',
        'a🗝c',
      ];
      await storage.setMany(keys.map((key) => [key, key.length]));
      for (const prefix of ['', 'a', 'a🗝', '🗝', '\uff5e', 'none', 'aa']) {
        const wanted = keys.filter((key) => key.startsWith(prefix)).sort(byBytes);
        expect(await storage.keys({ prefix })).toEqual(wanted);
        expect(await Array.fromAsync(storage.entries({ prefix }))).toEqual(
          wanted.map((key) => [key, key.length]),
        );
      }
    });

    it('lists more entries than one page holds, each once', async () => {
      const storage = await open();
      const keys = Array.from({ length: 1203 }, (_, i) =>
        i % 3 === 0 ? `🗝${i}` : i % 3 === 1 ? `\uff00${i}` : `k${i}`,
      );
      await storage.setMany(keys.map((key, i) => [key, { i }]));
      const sorted = [...keys].sort(byBytes);
      expect(await storage.keys()).toEqual(sorted);
      const entries = await Array.fromAsync(storage.entries());
      expect(entries).toEqual(sorted.map((key) => [key, { i: keys.indexOf(key) }]));
    });

    it('reads, writes and deletes many in the order asked for', async () => {
      const storage = await open();
      await storage.setMany(
        new Map([
          ['a', 1],
          ['b', 2],
          ['c', 3],
        ]),
      );
      expect(await storage.getMany(['c', 'x', 'a', 'c'])).toEqual([3, undefined, 1, 3]);
      await storage.deleteMany(['a', 'x', 'c']);
      expect(await storage.keys()).toEqual(['b']);
      await storage.setMany([]);
      expect(await storage.getMany([])).toEqual([]);
    });

    it('counts entries and their bytes', async () => {
      const storage = await open();
      await storage.setMany([
        ['a', 'é'],
        ['b', [1, 2]],
      ]);
      expect(await storage.stats()).toEqual({ keys: 2, sizeBytes: 4 + 5 });
    });

    for (const key of [...pathKeys, ...ORDINARY_KEYS]) {
      it(`treats ${JSON.stringify(key.slice(0, 24))} as an ordinary key`, async () => {
        const storage = await open();
        await storage.set('other', 'untouched');
        await storage.set(key, { of: key });
        expect(await storage.get(key)).toEqual({ of: key });
        expect(await storage.has(key)).toBe(true);
        expect(await storage.keys()).toEqual([key, 'other'].sort(byBytes));
        expect(await Array.fromAsync(storage.entries({ prefix: key }))).toContainEqual([key, { of: key }]);
        await storage.setMany([
          [key, 1],
          ['other', 'still'],
        ]);
        expect(await storage.getMany([key, 'other'])).toEqual([1, 'still']);
        if (revised) {
          const entry = await storage.getEntry(key);
          await storage.set(key, 2, { ifRevision: entry?.revision ?? null });
          expect(await storage.update(key, (value) => [value])).toEqual([2]);
        }
        await storage.delete(key);
        expect(await storage.has(key)).toBe(false);
        expect(await storage.get('other')).toBe('still');
      });
    }

    if (pathKeys.length === 0) {
      for (const key of PATH_KEYS) {
        it(`refuses ${JSON.stringify(key)}, which its protocol cannot address, and stores nothing`, async () => {
          const storage = await open();
          const calls = [storage.get(key), storage.set(key, 1), storage.delete(key), storage.has(key)];
          for (const call of calls) expect(await codeOf(call)).toBe('invalid-key');
          expect(await storage.keys()).toEqual([]);
        });
      }
    }

    for (const [name, key] of REFUSED_KEYS) {
      it(`refuses ${name} as a key`, async () => {
        const storage = await open();
        const bad = key as string;
        const calls = [
          ...[
            storage.get(bad),
            storage.set(bad, 1),
            storage.delete(bad),
            storage.has(bad),
            storage.update(bad, () => 1),
            storage.getEntry(bad),
          ],
          ...[
            storage.getMany(['ok', bad]),
            storage.setMany([
              ['ok', 1],
              [bad, 1],
            ]),
            storage.deleteMany(['ok', bad]),
          ],
        ];
        for (const call of calls) expect(await codeOf(call)).toBe('invalid-key');
        expect(await storage.keys()).toEqual([]);
      });
    }

    it('refuses to write keys over 1,024 bytes, and reads them as missing', async () => {
      const storage = await open();
      for (const key of TOO_LONG) {
        expect(await codeOf(storage.set(key, 1))).toBe('invalid-key');
        expect(
          await codeOf(
            storage.setMany([
              ['ok', 1],
              [key, 1],
            ]),
          ),
        ).toBe('invalid-key');
        expect(await storage.get(key)).toBeUndefined();
        await storage.delete(key);
      }
      expect(await storage.keys()).toEqual([]);
    });

    for (const [name, value] of VALUES) {
      it(`gives back ${name} as it was`, async () => {
        const storage = await open();
        await storage.set('v', value);
        expect(await storage.has('v')).toBe(true);
        const got = await storage.get('v');
        if (value !== cycle) expect(got).toStrictEqual(value);
        const order = membersOf(value);
        if (subject.gaps.includes('member-order')) order.sort();
        expect(membersOf(got)).toEqual(order);
        await storage.setMany([
          ['m', value],
          ['n', 1],
        ]);
        const [many] = await storage.getMany(['m']);
        if (value !== cycle) expect(many).toStrictEqual(value);
      });
    }

    it('keeps cycles and shared references', async () => {
      const storage = await open();
      await storage.setMany([
        ['cycle', cycle],
        ['shared', [shared, { again: shared }]],
      ]);
      const got = (await storage.get('cycle')) as typeof cycle;
      expect(got.self).toBe(got);
      const [first, second] = (await storage.get('shared')) as [unknown, { again: unknown }];
      expect(second.again).toBe(first);
    });

    it('keeps Errors: class, name, message, stack and cause, in a cycle too', async () => {
      const storage = await open();
      const error = new RangeError('out of range', { cause: { why: new Date(5) } });
      const looped = new URIError('looped');
      looped.cause = { looped };
      await storage.setMany([
        ['error', error],
        ['looped', looped],
      ]);
      const got = (await storage.get('error')) as RangeError;
      expect(got).toBeInstanceOf(RangeError);
      expect([got.name, got.message, got.stack]).toEqual([error.name, error.message, error.stack]);
      expect(got.cause).toEqual({ why: new Date(5) });
      const loop = (await storage.get('looped')) as Error & { cause: { looped: Error } };
      expect(loop.cause.looped).toBe(loop);
      expect([loop.name, loop.message]).toEqual(['URIError', 'looped']);
    });

    it('keeps Blobs and Files: bytes, type, name and time', async () => {
      const storage = await open();
      const blob = new Blob([new Uint8Array([0, 255, 10])], { type: 'image/png' });
      const file = new File(['text'], 'ä.txt', { type: 'text/plain', lastModified: 1234567890123 });
      await storage.set('blobs', { blob, list: [file, blob] });
      const got = (await storage.get('blobs')) as { blob: Blob; list: [File, Blob] };
      expect(got.blob.type).toBe('image/png');
      expect(new Uint8Array(await got.blob.arrayBuffer())).toEqual(new Uint8Array([0, 255, 10]));
      const [kept] = got.list;
      expect([kept.name, kept.type, kept.lastModified]).toEqual(['ä.txt', 'text/plain', 1234567890123]);
      expect(await kept.text()).toBe('text');
    });

    for (const [name, make, path] of REFUSED_VALUES) {
      it(`refuses ${name}, names its path, and stores nothing`, async () => {
        const storage = await open();
        const refused = await storage.set('v', make()).catch((error) => error);
        expect(refused).toBeInstanceOf(StorageError);
        expect(refused.code).toBe('unsupported-value');
        expect(refused.message).toContain(path);
        expect(refused.message).toContain('Key v: ');
        expect(
          await codeOf(
            storage.setMany([
              ['ok', 1],
              ['v', make()],
            ]),
          ),
        ).toBe('unsupported-value');
        expect(await storage.keys()).toEqual([]);
      });
    }

    it('refuses what is no list for many, and what is no pair, before anything', async () => {
      const storage = await open();
      const wrong = (value: unknown) => value as never;
      const calls = [
        ...[
          storage.setMany(wrong({ a: 1 })),
          storage.setMany(wrong(5)),
          storage.setMany(wrong(['ab'])),
          storage.getMany(wrong('ab')),
        ],
        ...[storage.deleteMany(wrong(undefined)), storage.update('a', wrong('no function'))],
      ];
      for (const call of calls) expect(await codeOf(call)).toBe('invalid-option');
      expect(await codeOf(storage.entries({ prefix: wrong(5) }).next())).toBe('invalid-key');
      expect(await codeOf(storage.keys({ prefix: wrong(5) }))).toBe('invalid-key');
      for (const options of ['a', { prefx: 'a' }]) {
        expect(await codeOf(storage.keys(wrong(options)))).toBe('invalid-option');
        expect(await codeOf(storage.entries(wrong(options)).next())).toBe('invalid-option');
      }
      expect(await storage.keys()).toEqual([]);
    });

    it('stores what a getter gave when it was copied', async () => {
      const storage = await open();
      let reads = 0;
      const value = Object.defineProperty({ d: new Date(1) }, 'n', { enumerable: true, get: () => ++reads });
      await storage.set('v', [value, undefined]);
      const [got] = (await storage.get('v')) as [{ n: number }];
      // Once to see that the value is not plain, once to copy it.
      expect(got.n).toBe(reads);
    });

    it('rejects, or carries out, whatever was called before it was closed at any moment', async () => {
      for (let turns = 0; turns < 12; turns += 1) {
        const storage = await open();
        const call = storage.set('v', turns).then(
          () => 'stored',
          (error) => error.code,
        );
        for (let turn = 0; turn < turns; turn += 1) await undefined;
        await storage.close();
        expect(['stored', 'closed']).toContain(await call);
      }
    });

    it('stores what a value was at the call, not what became of it', async () => {
      const storage = await open();
      const value = { list: [1], date: new Date(1) };
      const plain = { a: 1 };
      const written = Promise.all([storage.set('v', value), storage.set('p', plain)]);
      value.list.push(2);
      value.date.setTime(2);
      plain.a = 2;
      await written;
      expect(await storage.getMany(['v', 'p'])).toEqual([{ list: [1], date: new Date(1) }, { a: 1 }]);
    });

    it('gives every reader a copy of its own', async () => {
      const storage = await open();
      await storage.set('v', { list: [1] });
      const [first, second] = (await storage.getMany(['v', 'v'])) as Array<{ list: number[] }>;
      first?.list.push(2);
      expect(second).toEqual({ list: [1] });
    });

    it('lets calls of one turn see what was called before them, awaited or not', async () => {
      const storage = await open();
      const results = await Promise.all([
        storage.get('a'),
        storage.set('a', 1),
        storage.get('a'),
        storage.has('a'),
        storage.set('a', 2),
        storage.set('b', 3),
        storage.getMany(['a', 'b']),
        storage.keys(),
        storage.delete('a'),
        storage.get('a'),
        storage.clear(),
        storage.set('c', 4),
        storage.keys(),
      ]);
      expect(results).toEqual([
        undefined,
        undefined,
        1,
        true,
        undefined,
        undefined,
        [2, 3],
        ['a', 'b'],
        undefined,
        undefined,
        undefined,
        undefined,
        ['c'],
      ]);
    });

    it('settles each call of a turn by itself', async () => {
      const storage = await open();
      const outcomes = await Promise.allSettled([
        storage.set('a', 1),
        storage.set('', 1),
        storage.set('b', () => 1),
        storage.set('c', 3),
      ]);
      expect(outcomes.map(({ status }) => status)).toEqual([
        'fulfilled',
        'rejected',
        'rejected',
        'fulfilled',
      ]);
      expect(await storage.keys()).toEqual(['a', 'c']);
    });

    if (!revised) {
      it('refuses what needs revisions instead of pretending to be atomic', async () => {
        const storage = await open();
        await storage.set('n', 1);
        const calls = [
          storage.update('n', () => 2),
          storage.getEntry('n'),
          storage.set('n', 2, { ifRevision: null }),
          storage.delete('n', { ifRevision: 'k.1' }),
        ];
        for (const call of calls) expect(await codeOf(call)).toBe('unsupported');
        expect(await storage.get('n')).toBe(1);
      });
    } else {
      revisions(open);

      it('updates atomically: 100 increments of one turn add up', async () => {
        const storage = await open();
        const increments = Array.from({ length: 100 }, () => storage.update('n', (n) => Number(n ?? 0) + 1));
        expect(await Promise.all(increments)).toEqual(Array.from({ length: 100 }, (_, i) => i + 1));
        expect(await storage.get('n')).toBe(100);
      });

      it('keeps the program order around an update', async () => {
        const storage = await open();
        const results = await Promise.all([
          storage.set('n', 1),
          storage.update('n', (n) => Number(n) + 1),
          storage.get('n'),
          storage.set('n', 10),
          storage.get('n'),
        ]);
        expect(results).toEqual([undefined, 2, 2, undefined, 10]);
        expect(await storage.get('n')).toBe(10);
      });

      it('rejects an update alone when its function throws or returns what cannot be stored', async () => {
        const storage = await open();
        await storage.set('n', 1);
        const reason = new Error('mine');
        const outcomes = await Promise.allSettled([
          storage.update('n', () => {
            throw reason;
          }),
          storage.update('n', () => () => 1),
          storage.set('m', 2),
        ]);
        expect(outcomes[0]).toEqual({ status: 'rejected', reason });
        expect(outcomes[1]).toMatchObject({ status: 'rejected', reason: { code: 'unsupported-value' } });
        expect(await storage.getMany(['n', 'm'])).toEqual([1, 2]);
      });
    }

    it('says who serves operations, at which level, and why', async () => {
      const storage = await open();
      await storage.ready();
      const status = storage.status();
      expect(status).toEqual({
        backend: storage.getBackendType(),
        level: subject.level,
        reason: expect.stringMatching(/./),
      });
      expect(storage.status()).not.toBe(status);
    });

    it('names the backend that is in use when asked to migrate to it', async () => {
      const storage = await open();
      await storage.ready();
      const call =
        storage.getBackendType() === 'flask'
          ? { promise: storage.migrateToFlask('http://localhost:1'), text: 'Already using Flask backend' }
          : { promise: storage.migrateToIndexedDB(), text: 'Already using IndexedDB' };
      const error = await call.promise.catch((reason) => reason);
      expect(error).toMatchObject({ code: 'wrong-backend', message: call.text });
    });

    for (const [name, call] of EVERY_METHOD) {
      it(`rejects ${name} when the medium has failed`, async () => {
        const storage = await subject.openBroken();
        opened.push(storage);
        const code = await codeOf(call(storage));
        const wanted = NEEDS_REVISIONS.includes(name) && !revised ? 'unsupported' : 'unavailable';
        expect(code).toBe(wanted);
      });

      it(`rejects ${name} on a closed storage`, async () => {
        const storage = await open();
        await storage.close();
        expect(await codeOf(call(storage))).toBe('closed');
      });
    }

    it('does what a Map does, for random programs', async ({ annotate }) => {
      const seed = Date.now() & 0x7fffffff;
      await annotate(`seed ${seed}`);
      const storage = await open();
      const program = programs([...pathKeys, ...ORDINARY_KEYS]);
      await fc.assert(
        fc.asyncProperty(program, async (turns) => {
          await storage.clear();
          const model = new Map<string, unknown>();
          for (const turn of turns) {
            // Started together, in order; awaited together.
            const results = await Promise.all(turn.map((step) => step.run(storage)));
            expect(results).toStrictEqual(turn.map((step) => step.expected(model)));
          }
          const entries = [...model].sort(([a], [b]) => byBytes(a, b));
          expect(await Array.fromAsync(storage.entries())).toStrictEqual(entries);
        }),
        { seed, numRuns: 40 },
      );
    }, 60_000);
  });
}

/** What storages with revisions promise. */
function revisions(open: () => Promise<KeyValueStorage>): void {
  const conflict = async (promise: Promise<unknown>): Promise<ConflictError> => {
    const error = await promise.then(
      () => 'resolved',
      (reason: unknown) => reason,
    );
    expect(error).toBeInstanceOf(ConflictError);
    expect(error).toBeInstanceOf(StorageError);
    expect(error).toMatchObject({ code: 'conflict', name: 'ConflictError' });
    return error as ConflictError;
  };
  const entry = async (storage: KeyValueStorage, key: string) => {
    const found = await storage.getEntry(key);
    if (found === undefined) throw new Error(`${key} is missing.`);
    return found;
  };

  it('reads a value with its revision, which stays while the value does', async () => {
    const storage = await open();
    expect(await storage.getEntry('k')).toBeUndefined();
    await storage.set('k', { a: [new Date(5), 1n] });
    const first = await entry(storage, 'k');
    expect(first).toEqual({ value: { a: [new Date(5), 1n] }, revision: expect.stringMatching(/./) });
    expect(await entry(storage, 'k')).toEqual(first);
    await storage.set('k', { a: [new Date(6), 1n] });
    expect((await entry(storage, 'k')).revision).not.toBe(first.revision);
  });

  for (const [name, value] of VALUES) {
    it(`has a revision for ${name}, and writes over it with that alone`, async () => {
      const storage = await open();
      await storage.set('v', value);
      const { revision } = await entry(storage, 'v');
      const refused = await conflict(storage.set('v', 'lost', { ifRevision: null }));
      expect(refused.current?.revision).toBe(revision);
      await storage.set('v', 'next', { ifRevision: revision });
      expect(await storage.get('v')).toBe('next');
      await conflict(storage.set('v', 'lost', { ifRevision: revision }));
      expect(await storage.get('v')).toBe('next');
    });
  }

  it('has a revision for Blobs, Files and Errors', async () => {
    const storage = await open();
    const file = new File(['text'], 'a.txt', { type: 'text/plain', lastModified: 1 });
    await storage.set('v', [new Blob(['one']), file, new TypeError('e')]);
    const { revision } = await entry(storage, 'v');
    expect((await entry(storage, 'v')).revision).toBe(revision);
    await storage.set('v', [new Blob(['other']), file], { ifRevision: revision });
    await conflict(storage.delete('v', { ifRevision: revision }));
  });

  it('creates with ifRevision null only what does not exist, and shows both sides of a conflict', async () => {
    const storage = await open();
    await storage.set('k', { mine: 1 }, { ifRevision: null });
    const error = await conflict(storage.set('k', { mine: 2 }, { ifRevision: null }));
    expect(error).toMatchObject({ key: 'k', attempted: { mine: 2 }, current: { value: { mine: 1 } } });
    expect(await storage.get('k')).toEqual({ mine: 1 });
    await storage.set('k', { merged: 3 }, { ifRevision: error.current?.revision });
    expect(await storage.get('k')).toEqual({ merged: 3 });
    await storage.set('u', undefined);
    expect((await conflict(storage.set('u', 1, { ifRevision: null }))).current).toMatchObject({
      value: undefined,
    });
  });

  it('writes and deletes only what is still at the revision, and is told when nothing is there', async () => {
    const storage = await open();
    await storage.set('k', 1);
    const { revision } = await entry(storage, 'k');
    await storage.set('k', 2);
    const set = await conflict(storage.set('k', 3, { ifRevision: revision }));
    expect(set).toMatchObject({ attempted: 3, current: { value: 2 } });
    const deleted = await conflict(storage.delete('k', { ifRevision: revision }));
    expect(deleted).toMatchObject({ key: 'k', attempted: undefined, current: { value: 2 } });
    expect(await storage.get('k')).toBe(2);
    await storage.delete('k', { ifRevision: set.current?.revision });
    expect(await storage.has('k')).toBe(false);
    expect((await conflict(storage.set('k', 4, { ifRevision: revision }))).current).toBeUndefined();
    expect((await conflict(storage.delete('k', { ifRevision: revision }))).current).toBeUndefined();
    expect(await storage.keys()).toEqual([]);
  });

  it('takes a revision of another store, or what is none, for one that is not current', async () => {
    const storage = await open();
    await storage.set('k', 1);
    for (const ifRevision of [
      '0',
      '1',
      'k.1',
      'other-epoch.1',
      'idb.a-b',
      '.',
      '.1',
      '\ud800.1',
      'x'.repeat(5000),
    ]) {
      expect((await conflict(storage.set('k', 2, { ifRevision }))).current?.value).toBe(1);
      await conflict(storage.delete('k', { ifRevision }));
      expect((await conflict(storage.set('new', 2, { ifRevision }))).current).toBeUndefined();
    }
    expect(await Array.fromAsync(storage.entries())).toEqual([['k', 1]]);
  });

  it('keeps the program order around conditions, and lets each call of a turn fail by itself', async () => {
    const storage = await open();
    const outcomes = await Promise.allSettled([
      storage.set('k', 1, { ifRevision: null }),
      storage.get('k'),
      storage.set('k', 2, { ifRevision: null }),
      storage.get('k'),
      storage.set('k', 3),
      storage.delete('k', { ifRevision: 'k.1' }),
      storage.get('k'),
      storage.delete('k'),
      storage.set('k', 4, { ifRevision: null }),
      storage.get('k'),
      storage.clear(),
      storage.getEntry('k'),
    ]);
    expect(
      outcomes.map((outcome) => (outcome.status === 'fulfilled' ? outcome.value : outcome.reason.code)),
    ).toEqual([
      ...[undefined, 1, 'conflict', 1, undefined, 'conflict', 3],
      ...[undefined, undefined, 4, undefined, undefined],
    ]);
  });

  it('refuses options that it does not know, before any I/O', async () => {
    const storage = await open();
    const wrong = (options: unknown) => options as never;
    for (const options of [null, 1, 'k.1', { ifRevision: '' }, { ifRevision: 1 }, { ifrevision: 'k.1' }]) {
      expect(await codeOf(storage.set('k', 1, wrong(options)))).toBe('invalid-option');
      expect(await codeOf(storage.delete('k', wrong(options)))).toBe('invalid-option');
    }
    expect(await codeOf(storage.delete('k', wrong({ ifRevision: null })))).toBe('invalid-option');
    await storage.set('k', 1, { ifRevision: undefined });
    await storage.delete('k', {});
    expect(await storage.keys()).toEqual([]);
  });

  it('updates every key that stands beside another, each call with its own result', async () => {
    const storage = await open();
    await storage.setMany([
      ['a', [1]],
      ['b', { n: 1 }],
    ]);
    const append = (item: number) => (list: unknown) => [...((list ?? []) as number[]), item];
    const outcomes = await Promise.allSettled([
      storage.update('a', append(2)),
      storage.update('b', (value) => Object.assign(value as object, { n: 2 })),
      storage.update('c', append(1)),
      storage.update('a', (list) => {
        (list as number[]).push(99);
        throw new Error('mine');
      }),
      storage.update('a', append(3)),
      storage.update('u', () => undefined),
    ]);
    expect(
      outcomes.map((outcome) => (outcome.status === 'fulfilled' ? outcome.value : outcome.reason.message)),
    ).toEqual([[1, 2], { n: 2 }, [1], 'mine', [1, 2, 3], undefined]);
    expect(await storage.getMany(['a', 'b', 'c'])).toEqual([[1, 2, 3], { n: 2 }, [1]]);
    expect(await storage.has('u')).toBe(true);
  });
}

interface Step {
  run(storage: KeyValueStorage): Promise<unknown>;
  expected(model: Map<string, unknown>): unknown;
  toString(): string;
}

/** Random programs: turns of calls that are made together. */
function programs(keys: readonly string[]): fc.Arbitrary<Step[][]> {
  const key = fc.constantFrom(...keys.slice(0, 8), ...keys.slice(-8), 'a', 'b');
  const value = fc.oneof(
    fc.jsonValue({ maxDepth: 3 }).filter((v) => !JSON.stringify(v).includes('-0')),
    fc.constantFrom(undefined, -0, 5n, new Date(7), { $cf: 1 }),
  );
  const step = (name: string, run: Step['run'], expected: Step['expected']): Step => ({
    run,
    expected,
    toString: () => name,
  });
  const steps: fc.Arbitrary<Step> = fc.oneof(
    {
      weight: 4,
      arbitrary: fc.tuple(key, value).map(([k, v]) =>
        step(
          `set ${k}`,
          (s) => s.set(k, v),
          (m) => void m.set(k, v),
        ),
      ),
    },
    {
      weight: 4,
      arbitrary: key.map((k) =>
        step(
          `get ${k}`,
          (s) => s.get(k),
          (m) => m.get(k),
        ),
      ),
    },
    {
      weight: 2,
      arbitrary: key.map((k) =>
        step(
          `delete ${k}`,
          (s) => s.delete(k),
          (m) => void m.delete(k),
        ),
      ),
    },
    {
      weight: 1,
      arbitrary: key.map((k) =>
        step(
          `has ${k}`,
          (s) => s.has(k),
          (m) => m.has(k),
        ),
      ),
    },
    {
      weight: 1,
      arbitrary: fc.constant(
        step(
          'keys',
          (s) => s.keys(),
          (m) => [...m.keys()].sort(byBytes),
        ),
      ),
    },
    {
      weight: 1,
      arbitrary: fc.constant(
        step(
          'clear',
          (s) => s.clear(),
          (m) => m.clear(),
        ),
      ),
    },
    {
      weight: 2,
      arbitrary: fc.array(fc.tuple(key, value), { maxLength: 5 }).map((pairs) =>
        step(
          'setMany',
          (s) => s.setMany(pairs),
          (m) => {
            for (const [k, v] of pairs) m.set(k, v);
          },
        ),
      ),
    },
    {
      weight: 2,
      arbitrary: fc.array(key, { maxLength: 5 }).map((ks) =>
        step(
          'getMany',
          (s) => s.getMany(ks),
          (m) => ks.map((k) => m.get(k)),
        ),
      ),
    },
  );
  return fc.array(fc.array(steps, { minLength: 1, maxLength: 6 }), { minLength: 1, maxLength: 5 });
}

/** The names of a plain object's members in their order. */
const membersOf = (value: unknown): string[] =>
  typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype
    ? Object.keys(value)
    : [];
