import fc from 'fast-check';
import { expect, it } from 'vitest';
import { type ChunkLimits, chunksOf, chunksOfStream, createBisection } from '../../src/core/chunks.ts';

async function* streamOf<T>(items: Iterable<T>): AsyncGenerator<T> {
  yield* items;
}

const cut = (items: readonly number[], limits: ChunkLimits<number>): number[][] => [
  ...chunksOf(items, limits),
];

it('chunks hold all items in their order, within both limits unless one item alone is over them', () =>
  fc.assert(
    fc.asyncProperty(
      fc.array(fc.nat(20)),
      fc.integer({ min: 1, max: 5 }),
      fc.nat(30),
      async (items, count, bytes) => {
        const limits = { count, bytes, sizeOf: (item: number) => item };
        const chunks = cut(items, limits);
        expect(chunks.flat()).toEqual(items);
        for (const [i, chunk] of chunks.entries()) {
          const size = chunk.reduce((sum, item) => sum + item, 0);
          expect(chunk.length).toBeGreaterThan(0);
          expect(chunk.length).toBeLessThanOrEqual(count);
          if (chunk.length > 1) expect(size).toBeLessThanOrEqual(bytes);
          const next = chunks[i + 1]?.[0];
          if (next !== undefined) expect(chunk.length === count || size + next > bytes).toBe(true);
        }
        expect(await Array.fromAsync(chunksOfStream(streamOf(items), limits))).toEqual(chunks);
      },
    ),
  ));

it('an item that must come first begins a chunk, and is told where the list is cut anyway', () => {
  const asked: Array<[number, number]> = [];
  const limits: ChunkLimits<number> = {
    count: 2,
    startsChunk(item, chunk) {
      asked.push([item, chunk.length]);
      return item % 10 === 0;
    },
  };
  expect(cut([10, 1, 2, 20, 30, 3], limits)).toEqual([[10, 1], [2], [20], [30, 3]]);
  expect(asked.map(([, joined]) => joined)).toEqual([0, 1, 0, 1, 1, 1]);
});

/** Carries out 0 to 15; a part that holds one of `bad` is refused. */
async function bisect(bad: readonly number[], more: { counts?: () => boolean; isDivisible?: boolean } = {}) {
  const done: number[] = [];
  const failed: number[][] = [];
  let attempts = 0;
  const { isDivisible = true, ...rest } = more;
  const run = createBisection<number>({
    async attempt(part) {
      attempts += 1;
      if (part.some((item) => bad.includes(item))) throw new Error('refused');
      done.push(...part);
    },
    isDivisible: () => isDivisible,
    fail: (part) => failed.push([...part]),
    ...rest,
  });
  await run(Array.from({ length: 16 }, (_, i) => i));
  return { done, failed, attempts };
}

it('a list of which one item is refused is carried out but for that one, in order', async () => {
  const { done, failed, attempts } = await bisect([5]);
  expect(failed).toEqual([[5]]);
  expect(done).toEqual([0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
  expect(attempts).toBe(9);
});

it('where every item is refused, three are tried alone and the others in no smaller parts', async () => {
  const { done, failed, attempts } = await bisect(Array.from({ length: 16 }, (_, i) => i));
  expect(done).toEqual([]);
  expect(failed).toEqual([[0], [1], [2], [3], [4, 5, 6, 7], [8, 9, 10, 11, 12, 13, 14, 15]]);
  expect(attempts).toBeLessThan(16);
});

it('failures that do not count are all told one by one', async () => {
  const bad = [1, 3, 5, 7, 9];
  const { failed } = await bisect(bad, { counts: () => false });
  expect(failed.flat()).toEqual(bad);
  expect(failed).toHaveLength(bad.length);
});

it('a failure that halves cannot mend fails the whole list after one attempt', async () => {
  const { failed, attempts } = await bisect([5], { isDivisible: false });
  expect(failed).toHaveLength(1);
  expect(attempts).toBe(1);
});
