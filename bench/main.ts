/**
 * `npm run bench -- [browser] [sdk] [server] [transfer] [migration] [watch] [size] [--quick]`: the project beside what a user would pick instead.
 *
 * Each bench prints its tables and puts them into docs/performance.md; with `--quick`, which only shows that it runs, it
 * does not, nor where the environment asks for a part (BENCH_ONLY, BENCH_ROUNDS). A contestant that returns wrong data
 * ends the run, and some targets fail it where they are missed.
 */
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { benchBrowser } from './browser.ts';
import { markdownOf, putSection, type Section } from './harness/report.ts';
import { benchMigration } from './migration.ts';
import { benchSdk } from './sdk.ts';
import { benchServer } from './server.ts';
import { benchSize } from './size.ts';
import { benchTransfer } from './transfer.ts';
import { benchWatch } from './watch.ts';

const REPORT = join(import.meta.dirname, '../docs/performance.md');
const BENCHES: Readonly<Record<string, (quick: boolean) => Promise<Section>>> = {
  browser: benchBrowser,
  sdk: benchSdk,
  server: benchServer,
  transfer: benchTransfer,
  migration: benchMigration,
  watch: benchWatch,
  size: benchSize,
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { quick: { type: 'boolean', default: false } },
});
/** Whether what is measured may stand in the report. */
const whole = !values.quick && !process.env.BENCH_ONLY && !process.env.BENCH_ROUNDS;
const unknown = positionals.filter((name) => !(name in BENCHES));
if (unknown.length > 0) {
  process.stderr.write(
    `There is no bench ${unknown.join(', ')}: choose from ${Object.keys(BENCHES).join(', ')}.\n`,
  );
  process.exitCode = 2;
} else {
  for (const [name, bench] of Object.entries(BENCHES)) {
    if (positionals.length > 0 && !positionals.includes(name)) continue;
    const section = await bench(values.quick);
    const markdown = await markdownOf(section);
    process.stdout.write(`\n${markdown}\n`);
    if (whole) await putSection(REPORT, name, markdown);
    if (section.verdicts.some(({ fails, met }) => fails && !met)) process.exitCode = 1;
  }
}
