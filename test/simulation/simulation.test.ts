/**
 * The rules of sync in every order of lost requests, lost answers, crashes, restores and clock jumps that chance comes up with
 * (docs/guarantees.md, 1.1, 1.3, 1.7, 2.1, 2.2, 3.3, 6.1).
 *
 * A schedule that fails is named by its seed: `SEED=… npx vitest run --project simulation test/simulation/simulation.test.ts` prints all that
 * happens in it. `SCHEDULES=1000000` looks further.
 */
import { expect, test } from 'vitest';
import { rules } from './tried-rules.ts';
import { type Outcome, run } from './world.ts';

const SCHEDULES = Number(process.env.SCHEDULES ?? 100_000);
const TIMEOUT = Math.max(SCHEDULES * 5, 60_000);
/** As many schedules in a row. The runner of the tests wants to hear of this process now and then. */
const SLICE = 2000;

test('no schedule loses a write, applies one twice, overwrites one unseen, splits a unit, or leaves replicas apart', {
  timeout: TIMEOUT,
}, async ({ annotate }) => {
  const seed = Number(process.env.SEED ?? 0);
  const from = seed || 1;
  const to = seed || SCHEDULES;
  const sum = { schedules: 0, steps: 0, acknowledged: 0, crashes: 0, restores: 0, conflicts: 0 };
  const failed: Array<{ readonly seed: number; readonly faults: Outcome['faults'] }> = [];
  for (let at = from; at <= to; at++) {
    const { faults, trace, ...counted } = run(at, rules, seed > 0);
    if (seed > 0) process.stdout.write(`${trace.join('\n')}\n`);
    sum.schedules += 1;
    for (const name of ['steps', 'acknowledged', 'crashes', 'restores', 'conflicts'] as const)
      sum[name] += counted[name];
    if (faults.length > 0) failed.push({ seed: at, faults });
    if (at % SLICE === 0) await new Promise(setImmediate);
  }
  const number = (fault: Outcome['faults'][number]['fault']): number =>
    failed.filter(({ faults }) => faults.some((one) => one.fault === fault)).length;
  await annotate(
    `simulation: ${sum.schedules} schedules, ${sum.steps} steps, ${sum.acknowledged} acknowledged writes, ` +
      `${sum.crashes} crashes, ${sum.restores} restores, ${sum.conflicts} conflicts; ` +
      `${number('lost')} lost, ${number('applied twice')} applied twice, ${number('diverged')} diverged, ` +
      `${number('blind overwrite')} blind overwrites, ${number('false alarm')} false alarms, ${number('split')} units split`,
  );
  const [first] = failed;
  if (first && seed === 0)
    process.stdout.write(`SEED=${first.seed}\n${run(first.seed, rules, true).trace.join('\n')}\n`);
  expect(failed.slice(0, 10)).toEqual([]);
  expect(seed > 0 || sum.acknowledged > sum.schedules).toBe(true);
});
