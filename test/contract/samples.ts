/** Keys and values that every storage takes, and those that it refuses. */

export const PATH_KEYS = ['a/b', '/', '.', '..', '../x'];
export const ORDINARY_KEYS = [
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
export const REFUSED_KEYS: ReadonlyArray<readonly [string, unknown]> = [
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
export const TOO_LONG = ['k'.repeat(1025), 'é'.repeat(513), '🗝'.repeat(257)];

export const shared = { shared: true };
export const cycle: Record<string, unknown> = { name: 'cycle' };
cycle.self = cycle;

export const VALUES: ReadonlyArray<readonly [string, unknown]> = [
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
  ['something that looks like stored Errors', { $cfErrors: ['text', ['Error', 'text', undefined]] }],
  ['something that looks like stored Errors twice', { $cfErrors: [{ $cfErrors: [1] }], other: 2 }],
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

export const REFUSED_VALUES: ReadonlyArray<readonly [string, () => unknown, string]> = [
  ['a function', () => () => 1, 'value is'],
  ['a function inside', () => ({ user: { avatar: () => 1 } }), 'user.avatar'],
  ['a method', () => ({ list: [1, { run() {} }] }), 'list[1].run'],
  ['a symbol', () => Symbol('value'), 'value is'],
  ['a symbol inside', () => ({ 'a key': Symbol('value') }), '["a key"]'],
  ['a symbol key', () => ({ user: { [Symbol('k')]: 1 } }), 'user'],
  ['a class instance', () => ({ user: new Custom() }), 'user'],
  ['a subclass of a platform class', () => ({ map: new (class Own extends Map {})() }), 'map'],
  ['a Promise', () => ({ later: Promise.resolve(1) }), 'later'],
  ['a WeakMap', () => [new WeakMap()], '[0]'],
  ['a boxed primitive', () => ({ n: Object(1) }), 'n'],
  ['a hidden property', () => ({ o: Object.defineProperty({}, 'x', { value: 1 }) }), 'o'],
  ['an array with a property of its own', () => ({ match: /a/.exec('a') }), 'match'],
  ['an Error with a property of its own', () => Object.assign(new Error('e'), { code: 1 }), 'value is'],
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
