/** That the simulation can fail: with one rule broken it does. */
import { expect, test } from 'vitest';
import { MUTANTS } from './mutants.ts';
import { rules } from './tried-rules.ts';
import { run } from './world.ts';

const MOST = 60_000;
const SLICE = 2000;

test.each(Object.entries(MUTANTS))(
  'the simulation notices when %s',
  { timeout: 600_000 },
  async (_, mutant) => {
    const broken = { ...rules, ...mutant };
    let found: number | undefined;
    for (let seed = 1; seed <= MOST && found === undefined; seed++) {
      if (run(seed, broken).faults.length > 0) found = seed;
      if (seed % SLICE === 0) await new Promise(setImmediate);
    }
    expect(found).toBeDefined();
  },
);
