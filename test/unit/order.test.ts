/** The order of keys, and ranges in it, compared with plain lists that are sorted by their bytes. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { boundsOf, compareKeys, isWithin, type KeyRange, restOf, select } from '../../src/core/order.ts';

/** Few units, so that texts begin alike often: of one, two, three and four bytes, and halves of surrogate pairs. */
const text = fc.string({
  unit: fc.constantFrom('a', 'b', '\0', 'é', '\ud7ff', '\ue000', '\uffff', '🗝', '\u{10ffff}'),
  maxLength: 4,
});
const maybe = <T>(of: fc.Arbitrary<T>) => fc.option(of, { nil: undefined });
const range: fc.Arbitrary<KeyRange> = fc.record({
  prefix: maybe(text),
  start: maybe(text),
  end: maybe(text),
  limit: maybe(fc.nat({ max: 10 })),
  reverse: maybe(fc.boolean()),
});
const sortedKeys = fc
  .uniqueArray(text, { maxLength: 30 })
  .map((keys) => keys.sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b))));

const isIn = ({ prefix = '', start, end }: KeyRange, key: string): boolean =>
  key.startsWith(prefix) &&
  (start === undefined || Buffer.compare(Buffer.from(key), Buffer.from(start)) >= 0) &&
  (end === undefined || Buffer.compare(Buffer.from(key), Buffer.from(end)) < 0);

it('compares keys by their UTF-8 bytes', () => {
  fc.assert(
    fc.property(text, text, (a, b) => {
      expect(Math.sign(compareKeys(a, b))).toBe(Buffer.compare(Buffer.from(a), Buffer.from(b)));
    }),
  );
});

it('orders texts that have no UTF-8 form as well', () => {
  const broken = fc.string({ unit: fc.constantFrom('a', '\ud83d', '\udd1d', '\uffff'), maxLength: 4 });
  fc.assert(
    fc.property(broken, broken, broken, (a, b, c) => {
      expect(Math.sign(compareKeys(a, b))).toBe(-Math.sign(compareKeys(b, a)) + 0);
      expect(compareKeys(a, b) === 0).toBe(a === b);
      if (compareKeys(a, b) <= 0 && compareKeys(b, c) <= 0) expect(compareKeys(a, c)).toBeLessThanOrEqual(0);
    }),
  );
});

it('bounds hold exactly the keys that meet every condition of a range', () => {
  fc.assert(
    fc.property(range, text, (range, key) => {
      const bounds = boundsOf(range);
      expect(bounds !== undefined && isWithin(bounds, key)).toBe(isIn(range, key));
      if (!bounds) return;
      expect(bounds.start.startsWith(bounds.stem)).toBe(true);
      expect(bounds.end?.startsWith(bounds.stem) ?? true).toBe(true);
    }),
    { numRuns: 2000 },
  );
});

it('selects the keys of a range in its order, and at most its limit', () => {
  fc.assert(
    fc.property(range, sortedKeys, (range, keys) => {
      const all = keys.filter((key) => isIn(range, key));
      expect(select(keys, range)).toEqual((range.reverse ? all.reverse() : all).slice(0, range.limit));
    }),
  );
});

it('goes on with the rest of a range after each page', () => {
  fc.assert(
    fc.property(range, sortedKeys, fc.integer({ min: 1, max: 5 }), (range, keys, size) => {
      const seen: string[] = [];
      let rest = range;
      for (let page = select(keys, rest); page.length > 0; page = select(keys, rest)) {
        const taken = page.slice(0, size);
        seen.push(...taken);
        rest = restOf(
          rest,
          taken.map((key) => [key, 0] as const),
        );
      }
      expect(seen).toEqual(select(keys, range));
    }),
  );
});
