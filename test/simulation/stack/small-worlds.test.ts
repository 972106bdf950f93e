/**
 * Small worlds, one of each forty-odd; `WORLDS=all` tries every one, which takes some ten minutes.
 *
 * One with everything that happens in it: `npm run simulate -- --world '<name>'`.
 */
import { expect, test } from 'vitest';
import { unexplained } from './known-faults.ts';
import { scriptOf } from './program.ts';
import { run } from './run.ts';
import { smallWorlds } from './small-worlds.ts';

const TRIED = 300;
const MS_PER_WORLD = 1000;

test('every small world keeps the promises, but for known faults', {
  timeout: 14_000 * MS_PER_WORLD,
}, async ({ annotate }) => {
  const all = smallWorlds();
  const step = process.env.WORLDS === 'all' ? 1 : all.length / TRIED;
  const broken: string[] = [];
  let tried = 0;
  for (let at = 0; at < all.length; at += step) {
    const world = all[Math.floor(at)];
    if (!world) continue;
    const { violations } = await run(scriptOf(world.program));
    tried += 1;
    for (const { kind, text } of unexplained(world.name, violations))
      broken.push(`${world.name}: ${kind}: ${text}`);
  }
  await annotate(`${tried} of ${all.length} small worlds`);
  expect(broken).toEqual([]);
  expect(tried).toBeGreaterThanOrEqual(TRIED);
});
