/**
 * The simulation by hand:
 *
 *     npm run simulate -- --case A1      one known case, with all that happens in it
 *     npm run simulate -- --cases        every known case
 */
import { parseArgs } from 'node:util';
import { KNOWN_CASES } from './known-cases.ts';
import { run } from './run.ts';

const say = (line: string): void => void process.stdout.write(`${line}\n`);

const { values } = parseArgs({ options: { case: { type: 'string' }, cases: { type: 'boolean' } } });

for (const { name, title, play, options, fails } of KNOWN_CASES) {
  if (values.case !== undefined ? !name.startsWith(values.case) : !values.cases) continue;
  const { violations, lines } = await run(play, { ...options, isTraced: values.case !== undefined });
  for (const line of lines) say(line);
  say(`${name}: ${title}${fails ? ` (known: ${fails.kind})` : ''}`);
  for (const { kind, text } of violations) say(`  ${kind}: ${text}`);
}
