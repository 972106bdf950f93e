/** The part of the contract suite about ranges of keys: what is listed and counted, in which order, and how much of it. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { KeyValueStorage, ListOptions } from '../../src/index.ts';
import { codeOf } from './codes.ts';
import { byBytes } from './programs.ts';

/** Keys whose order in UTF-8 and in UTF-16 differ, at their begin and after an equal text, and more of a kind than a page holds. */
const KEYS = [
  ...[
    'a',
    'a:1',
    'a:2',
    'aa',
    'ab',
    'b',
    'Z',
    'é',
    '\u0001',
    '\ud7ff',
    '\ue000',
    '\uffff',
    '🗝',
    '🗝b',
    '\u{10ffff}',
  ],
  ...[
    'a🗝',
    'a🗝c',
    'a\ue000',
    'a\uffff',
    'a\ud7ff',
    'a\uff5e🗝',
    'a🗝\uff5e',
    'b🗝',
    'b\uffff',
    'b🗝🗝',
    'b🗝\uffff',
  ],
  ...Array.from({ length: 300 }, (_, i) => `n:${String(i).padStart(3, '0')}`),
  ...Array.from({ length: 120 }, (_, i) => (i % 2 === 0 ? `c🗝${i}` : `c\uff00${i}`)),
];

/** What a plain list would answer. */
function model({ prefix = '', start, end, limit, reverse }: ListOptions): string[] {
  const keys = KEYS.filter(
    (key) =>
      key.startsWith(prefix) &&
      (start === undefined || key === start || byBytes(key, start) > 0) &&
      (end === undefined || (key !== end && byBytes(key, end) < 0)),
  ).sort(byBytes);
  if (reverse) keys.reverse();
  return keys.slice(0, limit);
}

/** What storages promise about ranges. */
export function ranges(open: () => Promise<KeyValueStorage>): void {
  const filled = async (): Promise<KeyValueStorage> => {
    const storage = await open();
    await storage.setMany(KEYS.map((key) => [key, { of: key }]));
    return storage;
  };
  const check = async (storage: KeyValueStorage, options: ListOptions): Promise<void> => {
    const wanted = model(options);
    expect(await storage.keys(options)).toEqual(wanted);
    expect(await Array.fromAsync(storage.entries(options))).toEqual(wanted.map((key) => [key, { of: key }]));
    const { prefix, start, end } = options;
    expect(await storage.count({ prefix, start, end })).toBe(model({ prefix, start, end }).length);
  };

  it('lists and counts from a start, which is included, to an end, which is not', async () => {
    const storage = await filled();
    for (const options of [
      {},
      { start: 'n:010', end: 'n:290' },
      { start: 'n:010' },
      { end: 'n:290' },
      { start: 'n:0105', end: 'n:010' },
      { prefix: 'n:', start: 'n:299' },
      { prefix: 'n:', start: 'o' },
      { prefix: 'n:', start: 'a', end: 'z' },
      { prefix: 'n:', end: 'n:' },
      { start: 'a:1', end: 'a:1' },
      { start: 'a🗝', end: 'a\u{10ffff}' },
      { start: 'c\uff0050', end: 'c🗝50' },
      { start: '', end: '' },
      { prefix: '🗝', start: '\ue000' },
    ])
      await check(storage, options);
  });

  it('lists the first entries, or from the last one down', async () => {
    const storage = await filled();
    for (const options of [
      { limit: 0 },
      { limit: 1 },
      { reverse: true },
      { limit: 1, reverse: true },
      { limit: 150, reverse: true },
      { prefix: 'n:', limit: 3, reverse: true },
      { prefix: 'n:', start: 'n:100', end: 'n:200', limit: 70 },
      { prefix: 'n:', start: 'n:100', end: 'n:200', limit: 70, reverse: true },
      { prefix: 'c', limit: 90, reverse: true },
      { prefix: 'c', limit: 90 },
      { limit: Number.MAX_SAFE_INTEGER, reverse: true },
      { reverse: false, limit: undefined, start: undefined, end: undefined, prefix: undefined },
    ])
      await check(storage, options);
  });

  it('lists and counts what a sorted list would, for random ranges', async ({ annotate }) => {
    const seed = Date.now() & 0x7fffffff;
    await annotate(`seed ${seed}`);
    const storage = await filled();
    const text = fc.oneof(
      fc.constantFrom(...KEYS),
      fc.string({
        unit: fc.constantFrom('a', 'b', 'c', 'n', ':', '0', '1', '🗝', '\uff00', '\ue000', '\ud7ff'),
        maxLength: 4,
      }),
      fc.constantFrom('\0', 'a\0', 'x'.repeat(3000), `a${'🗝'.repeat(500)}`),
    );
    const maybe = <T>(of: fc.Arbitrary<T>) => fc.option(of, { nil: undefined });
    const options = fc.record({
      prefix: maybe(
        fc.oneof(
          text.map((key) => key.slice(0, 2)),
          fc.constantFrom('n:', 'c', 'a', 'n:1', 'a\ud83d', '\udc00', 'c\ud83d'),
        ),
      ),
      start: maybe(text),
      end: maybe(text),
      limit: maybe(fc.nat({ max: 200 })),
      reverse: maybe(fc.boolean()),
    });
    await fc.assert(
      fc.asyncProperty(options, (range) => check(storage, range)),
      { seed, numRuns: 60 },
    );
  }, 120_000);

  it('stops in the middle of a listing without reading on', async () => {
    const storage = await filled();
    for (const reverse of [false, true]) {
      const seen: string[] = [];
      for await (const [key] of storage.entries({ prefix: 'n:', reverse })) {
        seen.push(key);
        if (seen.length === 50) break;
      }
      expect(seen).toEqual(model({ prefix: 'n:', reverse, limit: 50 }));
    }
  });

  it('refuses what is no range, and counts no limit', async () => {
    const storage = await open();
    const wrong = (options: unknown) => options as never;
    for (const limit of [-1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, '1', null])
      expect(await codeOf(storage.keys(wrong({ limit })))).toBe('invalid-option');
    for (const options of [{ start: 1 }, { end: null }, { prefix: 5 }, { reverse: 'yes' }]) {
      expect(await codeOf(storage.keys(wrong(options)))).toBe('invalid-option');
      expect(await codeOf(storage.entries(wrong(options)).next())).toBe('invalid-option');
    }
    expect(await codeOf(storage.count(wrong({ limit: 1 })))).toBe('invalid-option');
    expect(await storage.count()).toBe(0);
  });
}
