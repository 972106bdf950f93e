/**
 * Small worlds, some hundred of them; `WORLDS=all` tries every one, which takes some twenty minutes.
 *
 * One with everything that happens in it: `npm run simulate -- --world '<name>'`.
 */
import { expect, test } from 'vitest';
import { unexplained } from './known-faults.ts';
import { scriptOf } from './program.ts';
import { run } from './run.ts';
import { type SmallWorld, smallWorlds } from './small-worlds.ts';

const TRIED = 300;
const MS_PER_WORLD = 1000;

test('every small world keeps the promises, but for known faults', {
  timeout: 14_000 * MS_PER_WORLD,
}, async ({ annotate }) => {
  const all = smallWorlds();
  const count = process.env.WORLDS === 'all' ? all.length : TRIED;
  const broken: string[] = [];
  for (let i = 0; i < count; i++) {
    const { name, program } = all[Math.floor((i * all.length) / count)] as SmallWorld;
    const { violations } = await run(scriptOf(program));
    for (const { kind, text } of unexplained(name, violations)) broken.push(`${name}: ${kind}: ${text}`);
  }
  await annotate(`${count} of ${all.length} small worlds`);
  expect(broken).toEqual([]);
});
