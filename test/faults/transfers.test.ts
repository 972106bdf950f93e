/**
 * Atomic units over a network that loses, cuts, delays and reorders: transfers between accounts by several clients, each behind a faulty
 * proxy of its own. Each transfer applies once or not at all, as its client was told; each read of all accounts has the same sum; and
 * the history of each account is linearizable (docs/guarantees.md, 1.7).
 *
 * `HISTORY_SEED` repeats the faults and the calls; how they interleave is the machine's.
 */
import { describe, expect, it } from 'vitest';
import { createStorage } from '../../src/index.ts';
import { flaskSkipReason, startFlaskServer } from '../support/flask-server.ts';
import { startTypescriptServer } from '../support/typescript-server.ts';
import { withoutIndexedDb } from '../support/without-indexeddb.ts';
import { isLinearizable } from './linearizability.ts';
import { type Random, randomOf, seedFrom } from './random.ts';
import { openStation } from './stations.ts';
import { recordTransfers, type Transfers, UNIT_WRITES } from './transfers.ts';

withoutIndexedDb();

/** Histories that run side by side, each on keys of its own. */
const LANES = 6;
const CLIENTS = 4;
const seed = seedFrom('HISTORY_SEED');

async function runLane(url: string, lane: number, histories: number): Promise<Transfers[]> {
  let random: Random | undefined;
  const stations = await Promise.all(Array.from({ length: CLIENTS }, () => openStation(url, () => random)));
  const witness = createStorage({ useFlask: true, flaskUrl: url, logger: false });
  const clients = stations.map(({ storage }) => storage);
  const recorded: Transfers[] = [];
  for (let i = 0; i < histories; i += 1) {
    random = randomOf(seed + lane * 10_007 + i);
    const steps = 3 + random.below(4);
    const heal = (): void => {
      random = undefined;
    };
    recorded.push(await recordTransfers({ clients, witness, heal, prefix: `${lane}-${i}`, steps, random }));
  }
  await Promise.all(clients.map((storage) => storage.close()));
  await Promise.all(stations.map(({ proxy }) => proxy.close()));
  await witness.close();
  return recorded;
}

/** How many writes a server has applied. */
async function writesOf(url: string): Promise<number> {
  const answer = await fetch(`${url}/health`);
  return ((await answer.json()) as { seq: number }).seq;
}

const SUBJECTS = [
  { name: 'TypeScript server', start: startTypescriptServer, skip: undefined, histories: 60 },
  { name: 'Flask server', start: startFlaskServer, skip: flaskSkipReason(), histories: 18 },
];

for (const { name, start, skip, histories } of SUBJECTS)
  describe.skipIf(skip)(name, () => {
    it('applies each transfer once or not at all, and shows nobody a part of one', async ({ annotate }) => {
      const server = await start();
      const before = await writesOf(server.url);
      const lanes = Array.from({ length: LANES }, (_, lane) => runLane(server.url, lane, histories / LANES));
      const recorded = (await Promise.all(lanes)).flat();
      const writes = (await writesOf(server.url)) - before;
      await server.stop();
      const accounts = recorded.flatMap((transfers) => transfers.histories);
      const violations = accounts.filter(({ opening, invocations }) => !isLinearizable(invocations, opening));
      const sum = (of: (transfers: Transfers) => number): number =>
        recorded.reduce((total, transfers) => total + of(transfers), 0);
      const told = (which: keyof Transfers['told']): number => sum((transfers) => transfers.told[which]);
      await annotate(
        `seed ${seed}: ${recorded.length} histories, ${sum(({ reads }) => reads)} reads of all accounts, ` +
          `${told('applied')} transfers answered, ${told('refused')} conflicts, ${told('unknown')} in doubt; ` +
          `${violations.length + sum((transfers) => transfers.violations.length)} violations`,
      );
      expect(recorded.flatMap((transfers) => transfers.violations)).toEqual([]);
      expect(violations.slice(0, 3)).toEqual([]);
      // Applied twice, a unit would have changed the server twice.
      const opening = sum(({ opening }) => opening);
      expect(writes).toBe(opening + UNIT_WRITES * sum(({ applied }) => applied));
      for (const which of ['applied', 'refused', 'unknown'] as const) expect(told(which)).toBeGreaterThan(0);
    }, 240_000);
  });
