/**
 * `npm run bench -- [transfer] [--quick]`: what the project costs, measured. The machines are shared and noisy: figures
 * that are compared are measured in one run.
 */
import { parseArgs } from 'node:util';
import { benchTransfer } from './transfer.ts';

const BENCHES: Readonly<Record<string, (quick: boolean) => Promise<void>>> = { transfer: benchTransfer };

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { quick: { type: 'boolean', default: false } },
});
const unknown = positionals.filter((name) => !(name in BENCHES));
if (unknown.length > 0) {
  process.stderr.write(
    `There is no bench ${unknown.join(', ')}: choose from ${Object.keys(BENCHES).join(', ')}.\n`,
  );
  process.exitCode = 2;
} else {
  for (const [name, bench] of Object.entries(BENCHES))
    if (positionals.length === 0 || positionals.includes(name)) await bench(values.quick);
}
