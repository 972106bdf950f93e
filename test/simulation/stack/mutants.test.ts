/** Broken forms of the SDK and the server: the schedule that each one names shows it. `npm run simulate -- --mutants` finds others. */
import { expect, test } from 'vitest';
import { MUTANTS, violationsOf } from './mutants.ts';

const TIMEOUT_MS = 300_000;

test('the oracle notices each broken form', { timeout: TIMEOUT_MS }, async ({ annotate }) => {
  const missed: string[] = [];
  for (const [name, mutant] of Object.entries(MUTANTS))
    if ((await violationsOf(mutant.shownBy, mutant)).length === 0) missed.push(name);
  await annotate(`${Object.keys(MUTANTS).length} broken forms`);
  expect(missed, 'npm run simulate -- --mutants searches for schedules that show these').toEqual([]);
});
