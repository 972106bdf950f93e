/**
 * A migration to a server that is killed at random points brings over everything: what has arrived is not sent again, nothing is
 * changed on the way, and the number is exact (docs/guarantees.md, 10.1 and 10.4).
 */
import { expect, it } from 'vitest';
import { chromiumSkipReason } from '../support/library-page.ts';
import { offlineStage } from '../support/offline-page.ts';
import { createLedger, heldOf, KEYS, KILLS, keyOf, PAGE, throughKills } from './killing.ts';

const stage = offlineStage();

/** Keys of the values that a batch writes. */
function keysPut(target: string, body: string): string[] {
  // A preflight has no body.
  if (!target.endsWith('/batch') || body === '') return [];
  const { ops } = JSON.parse(body) as { ops: ReadonlyArray<{ op: string; key: string }> };
  return ops.filter(({ op }) => op === 'put').map(({ key }) => key);
}

it.skipIf(chromiumSkipReason)(
  `a migration to a server that is killed at ${KILLS} random points sends at most a page again for each, and changes nothing`,
  async ({ annotate }) => {
    const ledger = createLedger();
    const { server, count, summary } = await throughKills({
      stage,
      options: () => ({}),
      async prepare(context) {
        const tab = await stage.tab(context);
        await tab.evaluate(
          async (entries) => {
            const local = library.createStorage({ logger: false });
            await local.setMany(entries);
            await local.close();
          },
          Array.from({ length: KEYS }, (_, i) => [keyOf(i), heldOf(i)] as const),
        );
        await tab.close();
      },
      asked: ({ target, body }) => ledger.note(keysPut(target, body)),
      migrate: (tab, url) => tab.evaluate((url) => storage.migrateToFlask(url), url),
      runEnded: ledger.runEnded,
    });
    const twice = (await server.applied()) - KEYS;
    const held = Object.entries(await server.entries());
    const wrong = held.filter(([, value], i) => JSON.stringify(value) !== JSON.stringify(heldOf(i)));
    await annotate(
      `${summary}: ${count} of ${KEYS} keys, ${ledger.total()} sent again (${ledger.most()} at most after a kill), ${twice} applied twice, ${wrong.length} mismatches`,
    );
    expect(wrong).toEqual([]);
    expect(held.map(([key]) => key)).toEqual(Array.from({ length: KEYS }, (_, i) => keyOf(i)));
    expect(count).toBe(KEYS);
    expect(ledger.most()).toBeLessThanOrEqual(PAGE);
  },
  300_000,
);
