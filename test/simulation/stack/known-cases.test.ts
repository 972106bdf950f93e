/** The known faults of the whole stack: each case runs, and shows what it is known to show, or nothing. */
import { expect, test } from 'vitest';
import { KNOWN_CASES } from './known-cases.ts';
import { run } from './run.ts';

// Not inside the tests: a test that is expected to fail must not pass because a script is broken.
const played = [];
for (const known of KNOWN_CASES) played.push({ ...known, ...(await run(known.play, known.options)) });

for (const { name, title, fails, violations } of played) {
  (fails ? test.fails : test)(`${name}: ${title}`, () => expect(violations).toEqual([]));
  if (fails)
    test(`${name} still breaks ${fails.promise}: remove \`fails\` where this test fails`, () =>
      expect(violations.map(({ kind }) => kind)).toContain(fails.kind));
}

test('a run follows from its seed', async () => {
  const [known] = KNOWN_CASES;
  if (!known) throw new Error('There are no cases.');
  const digests = [];
  for (const seed of [1, 1, 2]) digests.push((await run(known.play, { seed })).digest);
  expect(digests[1]).toBe(digests[0]);
  expect(digests[2]).not.toBe(digests[0]);
});
