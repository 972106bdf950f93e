/**
 * A storm: three tabs of one profile write, and another device does, while the server is killed and started again, and requests
 * and answers of the tabs get lost.
 *
 * Each tab notes what was acknowledged. At the end every acknowledged write is accounted for (storm-accounts.ts): docs/guarantees.md,
 * 1.1, 1.3, 1.4, 3.2 and 3.3.
 *
 * The seed decides everything random: what each lane of each tab writes and how long it pauses, what becomes of the n-th request,
 * and the jitter of the library. The test prints it, and `STORM_SEED=… npx vitest run --project servers test/offline/storm.test.ts`
 * runs the same storm again. How fast the processes run is not decided, so that writes may meet each other differently.
 */
import type { Page } from 'playwright';
import { expect, it } from 'vitest';
import type { BackendType } from '../../src/index.ts';
import { type Random, randomOf, seedFrom, seedOf } from '../faults/random.ts';
import { answerCutAfter, answerLost, type Fault, htmlAnswer, requestLost } from '../support/faults.ts';
import { chromiumSkipReason } from '../support/library-page.ts';
import { offlineStage, openStorage } from '../support/offline-page.ts';
import { account } from './storm-accounts.ts';
import { startDevice } from './storm-device.ts';
import { beginStorm, LANES, SHARED_KEYS } from './storm-writer.ts';

const TABS = 3;
const KILLS = 4;

/** Acknowledged writes of each tab at the server before its next death, and without it before its next start. */
const WRITES_BETWEEN = 10;

/** The share of requests that a fault hits. */
const FAULTY = 0.15;

const stage = offlineStage();

it.skipIf(chromiumSkipReason)(
  'in a storm of killed servers, lost requests and lost answers every acknowledged write of three tabs is accounted for',
  async ({ annotate }) => {
    const seed = seedFrom('STORM_SEED');
    process.stdout.write(`STORM_SEED=${seed}\n`);
    let calm = false;
    const server = await stage.server();
    const proxy = await stage.network(server, ({ index }) => {
      const random = randomOf(seedOf(seed, `request ${index}`));
      return calm || !random.chance(FAULTY) ? undefined : faultOf(random);
    });
    await server.start();
    const context = await stage.profile();
    const tabs = await Promise.all(Array.from({ length: TABS }, () => stage.tab(context)));
    await Promise.all(tabs.map((tab) => openStorage(tab, proxy.url, { timeout: 5000 })));

    await Promise.all(
      tabs.map((tab, i) => {
        const seeds = ['library', ...LANES].map((part) => seedOf(seed, `tab ${i + 1}, ${part}`));
        return tab.evaluate(beginStorm, [i + 1, SHARED_KEYS, seeds] as const);
      }),
    );
    const endDevice = startDevice(server.url, SHARED_KEYS);
    for (let kill = 0; kill < KILLS; kill += 1) {
      await Promise.all(tabs.map((tab) => moreWrites(tab, 'flask')));
      await server.kill();
      await Promise.all(tabs.map((tab) => moreWrites(tab, 'indexeddb')));
      await server.start();
    }
    await Promise.all(tabs.map((tab) => moreWrites(tab, 'flask')));
    const notes = await Promise.all(tabs.map(endStorm));
    const ofDevice = await endDevice();

    calm = true;
    for (const tab of tabs) await tab.evaluate(() => storage.flush());
    const ofTabs = notes.flatMap((note) => note.writes);
    const writes = [...ofTabs, ...ofDevice];
    const keys = [...new Set(writes.map(({ key }) => key))].sort();
    const entries = await server.entries();
    const applied = await server.applied();
    const wanted = keys.map((key) => entries[key]);
    const seenOnline = await Promise.all(tabs.map((tab) => read(tab, keys)));
    const conflicts = await Promise.all(tabs.map((tab) => tab.evaluate(() => storage.conflicts())));
    await server.kill();
    const seenAway = await Promise.all(tabs.map((tab) => read(tab, keys)));

    const [ofProfile = []] = conflicts;
    const { lost, duplicated, invented } = account(writes, { entries, conflicts: ofProfile });
    const diverged = [...seenOnline, ...seenAway].flatMap((seen) =>
      keys.filter((_, i) => JSON.stringify(seen[i]) !== JSON.stringify(wanted[i])),
    );
    const acknowledged = ofTabs.filter(({ rejected }) => rejected === undefined);
    const codes = new Set(ofTabs.flatMap(({ rejected }) => rejected ?? []));
    const away = acknowledged.filter(({ backend }) => backend === 'indexeddb');
    await annotate(
      `${acknowledged.length} acknowledged (${away.length} with the server away, ${ofTabs.length - acknowledged.length} rejected${[' ', ...codes].join(' ').trimEnd()}), ` +
        `${KILLS} kills, ${lost.length} lost, ${duplicated.length} duplicated, ${ofProfile.length} conflicts, ` +
        `${diverged.length} diverged (STORM_SEED=${seed})`,
    );
    expect({ lost, duplicated, invented, diverged }).toEqual({
      lost: [],
      duplicated: [],
      invented: [],
      diverged: [],
    });
    expect(notes.flatMap(({ misread }) => misread)).toEqual([]);
    // Writes that waited for each other are one at the server; none is two.
    expect(applied).toBeLessThanOrEqual(writes.length);
    for (const others of conflicts) expect(others).toEqual(ofProfile);
    // A tab that alone writes a key is never in conflict with itself.
    expect(ofProfile.filter(({ key }) => /^(own|once|count) /.test(key))).toEqual([]);
    expect(ofProfile.length).toBeGreaterThan(0);
  },
  600_000,
);

function faultOf(random: Random): Fault {
  const ending = random.pick(['fin', 'rst'] as const);
  return random.pick([
    requestLost(ending),
    requestLost(ending, 1 + random.below(400)),
    answerLost(ending),
    answerLost(ending),
    answerCutAfter(1 + random.below(400), ending),
    htmlAnswer(502, random.chance(0.5)),
    { delayMs: random.below(300) },
  ]);
}

/** Resolves when `backend` has served `WRITES_BETWEEN` more acknowledged writes of a tab. */
async function moreWrites(tab: Page, backend: BackendType): Promise<void> {
  await tab.evaluate(
    ([more, wanted]) => {
      let left = more;
      return new Promise<void>((resolve) => {
        storm.watchers.add(function watch({ rejected, backend }) {
          if (rejected === undefined && backend === wanted) left -= 1;
          if (left > 0) return;
          storm.watchers.delete(watch);
          resolve();
        });
      });
    },
    [WRITES_BETWEEN, backend] as const,
  );
}

const endStorm = (tab: Page) =>
  tab.evaluate(async () => {
    storm.over = true;
    await storm.ended;
    return { writes: storm.writes, misread: storm.misread };
  });

/** What a tab reads; the code of what it cannot. What takes longer than its limit on a busy machine is asked again. */
const read = (tab: Page, keys: string[]): Promise<unknown[]> =>
  tab.evaluate((all) => {
    const one = (key: string): Promise<unknown> =>
      storage
        .get(key)
        .catch(({ code }: { code: string }) => (code === 'timeout' ? one(key) : Promise.resolve({ code })));
    return Promise.all(all.map(one));
  }, keys);
