/** Random programs over a storage, and what a Map would answer to them. */
import fc from 'fast-check';
import type { KeyValueStorage } from '../../src/index.ts';

/** Byte order of UTF-8, written independently of the code under test. */
export const byBytes = (a: string, b: string): number => {
  const [x, y] = [a, b].map((text) =>
    [...text].map((c) => (c.codePointAt(0) ?? 0).toString(16).padStart(6, '0')).join(),
  );
  return (x ?? '') < (y ?? '') ? -1 : 1;
};

interface Step {
  run(storage: KeyValueStorage): Promise<unknown>;
  expected(model: Map<string, unknown>): unknown;
  toString(): string;
}

/** Random programs: turns of calls that are made together. */
export function programs(keys: readonly string[]): fc.Arbitrary<Step[][]> {
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
