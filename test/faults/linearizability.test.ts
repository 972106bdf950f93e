/**
 * Compare-and-set is linearizable over a network that loses, cuts, delays and reorders: clients of one key, each behind a
 * faulty proxy of its own, and every history of what they were told is checked.
 *
 * `HISTORY_SEED` repeats the faults and the calls; how they interleave is the machine's.
 */
import { describe, expect, it } from 'vitest';
import { createStorage } from '../../src/index.ts';
import { flaskSkipReason, startFlaskServer } from '../support/flask-server.ts';
import type { RunningServer } from '../support/running-server.ts';
import { startTypescriptServer } from '../support/typescript-server.ts';
import { withoutIndexedDb } from '../support/without-indexeddb.ts';
import { type Calls, type History, record } from './histories.ts';
import { isLinearizable } from './linearizability.ts';
import { type Random, randomOf, seedFrom } from './random.ts';
import { openStation } from './stations.ts';

withoutIndexedDb();

/** Histories that run side by side, each on a key of its own. */
const LANES = 12;
const CLIENTS = 4;
const STEPS = 8;
const seed = seedFrom('HISTORY_SEED');

/** Record histories one after the other, on the same storages: what is in doubt at the end of one is settled in the next. */
async function runLane(url: string, lane: number, histories: number): Promise<History[]> {
  let random: Random | undefined;
  const stations = await Promise.all(Array.from({ length: CLIENTS }, () => openStation(url, () => random)));
  const witness = createStorage({ useFlask: true, flaskUrl: url, logger: false });
  const recorded: History[] = [];
  for (let i = 0; i < histories; i += 1) {
    random = randomOf(seed + lane * 10_007 + i);
    const clients = stations.map(({ storage }) => storage).slice(random.below(2));
    const steps = 6 + random.below(STEPS - 5);
    recorded.push(await record({ clients, witness, key: `lane-${lane}-${i}`, steps, random }));
  }
  random = undefined;
  await Promise.all(stations.map(({ storage }) => storage.close()));
  await Promise.all(stations.map(({ proxy }) => proxy.close()));
  await witness.close();
  return recorded;
}

const SUBJECTS = [
  { name: 'TypeScript server', start: startTypescriptServer, skip: undefined, histories: 240 },
  { name: 'Flask server', start: startFlaskServer, skip: flaskSkipReason(), histories: 60 },
];

for (const { name, start, skip, histories } of SUBJECTS)
  describe.skipIf(skip)(name, () => {
    it('explains every history of concurrent clients by one order', async ({ annotate }) => {
      const server: RunningServer = await start();
      const lanes = Array.from({ length: LANES }, (_, lane) => runLane(server.url, lane, histories / LANES));
      const recorded = (await Promise.all(lanes)).flat();
      await server.stop();
      const violations = recorded.filter(({ invocations }) => !isLinearizable(invocations));
      const sum = (which: keyof Calls): number =>
        recorded.reduce((total, { calls }) => total + calls[which], 0);
      await annotate(
        `seed ${seed}: ${recorded.length} histories, ${sum('answered')} calls answered, ${sum('conflicts')} conflicts, ` +
          `${sum('unknown')} writes in doubt, ${sum('lostReads')} reads lost; ${violations.length} violations`,
      );
      expect(violations.slice(0, 3).map(print)).toEqual([]);
      expect(recorded.flatMap(({ ambiguous }) => ambiguous)).toEqual([]);
      for (const which of ['answered', 'conflicts', 'unknown'] as const)
        expect(sum(which)).toBeGreaterThan(0);
    }, 240_000);
  });

/** A history for reading. */
const print = ({ invocations }: History): string[] =>
  invocations.map(
    ({ client, start, end, call }) => `${start} to ${end ?? '?'}, client ${client}: ${JSON.stringify(call)}`,
  );
