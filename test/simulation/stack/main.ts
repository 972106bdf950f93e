/**
 * The simulation by hand.
 *
 *     npm run simulate -- --case A1                       known cases whose names begin so, with all that happens in them
 *     npm run simulate -- --cases                         every known case
 *     npm run simulate -- --all [--only 'one tab: present']  every small world, or those whose names contain a text
 *     npm run simulate -- --seeds 1000 [--from 5000] [--only 'watch']  random programs, or those that contain a text
 *     npm run simulate -- --seed 17                       one of them, with all that happens in it
 *     npm run simulate -- --mutants [--only 'mirror']      whether the oracle notices broken forms of the SDK
 *     npm run simulate -- --world 'one tab: …'            one small world, with all that happens in it
 */
import { parseArgs } from 'node:util';
import { generate } from './generator.ts';
import { KNOWN_CASES } from './known-cases.ts';
import { faultOf, unexplained } from './known-faults.ts';
import { MUTANTS, search, violationsOf } from './mutants.ts';
import type { Violation } from './oracle.ts';
import { programText, scriptOf } from './program.ts';
import { type Run, run, type Script } from './run.ts';
import { smallWorlds } from './small-worlds.ts';
import type { WorldOptions } from './world.ts';

const say = (line: string): void => {
  process.stdout.write(`${line}\n`);
};

/** The random programs that a search for a mutant tries. */
const MOST_SEEDS = 1000;

/** Runs one script, and prints all that happens. */
async function show(script: Script, options: WorldOptions = {}): Promise<void> {
  const { lines, violations } = await run(script, { ...options, isTraced: true });
  for (const line of lines) say(line);
  print(violations);
}

function print(violations: readonly Violation[]): void {
  for (const { kind, text } of violations) say(`  ${kind}: ${text}`);
}

/** Counts violations by their kinds and by the known faults that explain them, with a few examples of each. */
function createSummary() {
  const groups = new Map<string, string[]>();
  let runs = 0;
  let failed = 0;
  const startMs = process.cpuUsage().user / 1000;
  return {
    /** @param shape What the known faults are looked up by. */
    add(name: string, shape: string, { violations }: Run): void {
      runs += 1;
      if (violations.length > 0) failed += 1;
      // At once: a long run may be ended early.
      for (const { kind, text } of unexplained(shape, violations)) say(`NEW ${name}: ${kind}: ${text}`);
      for (const group of new Set(violations.map((one) => `${one.kind} (${faultOf(shape, one) ?? 'NEW'})`)))
        groups.set(group, [...(groups.get(group) ?? []), name]);
    },
    print(examples: number): void {
      const ms = process.cpuUsage().user / 1000 - startMs;
      say(`${runs} runs, ${failed} with violations, ${(ms / runs).toFixed(1)} ms of CPU each`);
      for (const [group, names] of [...groups].sort(([, a], [, b]) => b.length - a.length)) {
        say(`${group}: ${names.length}`);
        for (const name of names.slice(0, examples)) say(`    ${name}`);
      }
    },
  };
}

const { values } = parseArgs({
  options: {
    case: { type: 'string' },
    cases: { type: 'boolean' },
    all: { type: 'boolean' },
    mutants: { type: 'boolean' },
    only: { type: 'string', default: '' },
    world: { type: 'string' },
    seed: { type: 'string' },
    seeds: { type: 'string' },
    from: { type: 'string', default: '1' },
    examples: { type: 'string', default: '5' },
  },
});

for (const { name, title, play, options, fails } of KNOWN_CASES) {
  if (values.case !== undefined && name.startsWith(values.case)) {
    say(`${name}: ${title}`);
    await show(play, options);
  }
  if (values.cases) {
    const { violations } = await run(play, options);
    say(`${name}: ${title}${fails ? ` (known: ${fails.kind})` : ''}`);
    print(violations);
  }
}

if (values.all) {
  const summary = createSummary();
  for (const { name, program } of smallWorlds())
    if (name.includes(values.only)) summary.add(name, name, await run(scriptOf(program)));
  summary.print(Number(values.examples));
}

if (values.world !== undefined)
  for (const { name, program } of smallWorlds()) if (name === values.world) await show(scriptOf(program));

if (values.seeds !== undefined) {
  const summary = createSummary();
  const from = Number(values.from);
  for (let seed = from; seed < from + Number(values.seeds); seed++) {
    const { program, options } = generate(seed);
    if (!programText(program).includes(values.only)) continue;
    summary.add(`seed ${seed}`, programText(program), await run(scriptOf(program), options));
  }
  summary.print(Number(values.examples));
}

if (values.seed !== undefined) {
  const { program, options } = generate(Number(values.seed));
  say(programText(program));
  await show(scriptOf(program), options);
}

if (values.mutants) {
  let found = 0;
  for (const [name, mutant] of Object.entries(MUTANTS)) {
    if (!name.includes(values.only)) continue;
    let schedule: string | undefined = mutant.shownBy;
    let [violation] = await violationsOf(schedule, mutant);
    if (!violation) {
      schedule = await search(mutant, MOST_SEEDS);
      if (schedule) [violation] = await violationsOf(schedule, mutant);
    }
    if (violation) found += 1;
    const note = schedule === mutant.shownBy ? '' : ' (to be entered in mutants.ts)';
    say(violation ? `found by ${schedule}${note}: ${name}` : `NOT FOUND: ${name}`);
    if (violation) say(`    ${violation.kind}: ${violation.text}`);
  }
  say(`${found} of ${Object.keys(MUTANTS).length} found`);
}
