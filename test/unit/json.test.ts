import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decode, encode } from '../../src/core/json.ts';
import { sameValue } from '../../src/core/same-value.ts';
import { snapshot } from '../../src/core/values.ts';

const roundTrip = async (value: unknown): Promise<unknown> =>
  decode(JSON.parse(await encode(snapshot(value))));

const anything = fc.anything({
  ...{
    withBigInt: true,
    withDate: true,
    withMap: true,
    withSet: true,
    withTypedArray: true,
    withSparseArray: true,
  },
  ...{ maxDepth: 4, key: fc.string().filter((key) => key !== '__proto__') },
});

describe('encode', () => {
  it('leaves plain JSON as it is', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const text = JSON.stringify(value);
        fc.pre(!/-0|\$cf/.test(text));
        expect(encode(snapshot(JSON.parse(text)))).toBe(text);
      }),
    );
  });

  it('escapes what looks like an envelope, and an envelope only', async () => {
    expect(encode(snapshot({ $cf: 1 }))).toBe('{"$cf$":1}');
    expect(encode(snapshot({ $cf$: [2] }))).toBe('{"$cf$$":[2]}');
    expect(encode(snapshot({ $cfx: 1 }))).toBe('{"$cfx":1}');
    expect(encode(snapshot({ $cf: 1, a: 2 }))).toBe('{"$cf":1,"a":2}');
    expect(await encode(snapshot(undefined))).toBe('{"$cf":-1}');
    expect(await encode(snapshot(new Date(0)))).toBe('{"$cf":[["Date","1970-01-01T00:00:00.000Z"]]}');
  });

  it('gives back whatever a snapshot accepts', async () => {
    await fc.assert(
      fc.asyncProperty(anything, async (value) => {
        const copy = snapshot(value).value;
        expect(await roundTrip(value)).toStrictEqual(copy);
      }),
      { numRuns: 300 },
    );
  });

  it('rejects an envelope that another program broke, instead of guessing', async () => {
    for (const broken of [{ $cf: 'x' }, { $cf: [['Unknown', 1]] }, { $cf: [] }, { $cf: [[5]] }]) {
      expect(() => decode(broken)).toThrow(expect.objectContaining({ code: 'unsupported-value' }));
    }
  });

  it('reads a getter and a proxy once, as what they give', () => {
    expect(snapshot(new Proxy({ a: [1] }, {}))).toEqual({ plain: true, value: { a: [1] } });
    const counted = {
      reads: 0,
      get value() {
        counted.reads += 1;
        return counted.reads;
      },
    };
    expect(snapshot(counted).value).toEqual({ reads: 0, value: 1 });
  });
});

describe('sameValue', () => {
  const same = (a: unknown, b: unknown) => sameValue(snapshot(a), snapshot(b));

  it('does not mind the order of members, at any depth', async () => {
    expect(await same({ a: 1, b: { c: 2, d: 3 } }, { b: { d: 3, c: 2 }, a: 1 })).toBe(true);
    expect(
      await same(new Map([['k', { x: new Date(1), y: 2 }]]), new Map([['k', { y: 2, x: new Date(1) }]])),
    ).toBe(true);
  });

  it('minds everything else', async () => {
    const different: ReadonlyArray<readonly [unknown, unknown]> = [
      [
        [1, 2],
        [2, 1],
      ],
      [0, -0],
      [null, undefined],
      [{}, []],
      [{ a: 1 }, { a: 1, b: undefined }],
      [new Date(1), new Date(2)],
      ['1', 1],
      [new Blob(['a']), new Blob(['b'])],
      [new Uint8Array([1]), new Uint8Array([2])],
      [new Error('a'), new Error('b')],
    ];
    for (const [a, b] of different) expect(await same(a, b)).toBe(false);
  });
});
