/**
 * A migration to IndexedDB that is killed at random points brings over everything: what is there is not written again, nothing is
 * changed on the way, and the number is exact (docs/guarantees.md, 10.1 and 10.4).
 */
import { expect, it } from 'vitest';
import { chromiumSkipReason } from '../support/library-page.ts';
import { offlineStage } from '../support/offline-page.ts';
import { createLedger, heldOf, KEYS, KILLS, keyOf, PAGE, throughKills } from './killing.ts';

declare global {
  /** Keys that this page has put into the database of the app. */
  var puts: string[];
}

const stage = offlineStage();

it.skipIf(chromiumSkipReason)(
  `a migration to IndexedDB that is killed at ${KILLS} random points writes at most a page again for each, and changes nothing`,
  async ({ annotate }) => {
    const ledger = createLedger();
    const { context, count, summary } = await throughKills({
      stage,
      options: (flaskUrl) => ({ useFlask: true, flaskUrl }),
      async prepare(context, server) {
        const response = await fetch(`${server.url}/api/storage/import`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify(
            Object.fromEntries(Array.from({ length: KEYS }, (_, i) => [keyOf(i), heldOf(i)])),
          ),
        });
        expect(response.status).toBe(200);
        await context.addInitScript(() => {
          globalThis.puts = [];
          const { put } = IDBObjectStore.prototype;
          IDBObjectStore.prototype.put = function (this: IDBObjectStore, ...given: [unknown, IDBValidKey?]) {
            if (this.transaction.db.name === 'codeforge-db') globalThis.puts.push(String(given[1]));
            return put.apply(this, given);
          };
        });
      },
      async looked(tab) {
        ledger.note(await tab.evaluate(() => globalThis.puts.splice(0)));
      },
      migrate: (tab) => tab.evaluate(() => storage.migrateToIndexedDB()),
      runEnded: ledger.runEnded,
    });
    const tab = await stage.tab(context);
    const held = await tab.evaluate(async () => {
      const local = library.createStorage({ logger: false });
      const entries = await Array.fromAsync(local.entries());
      await local.close();
      return entries;
    });
    const wrong = held.filter(([, value], i) => JSON.stringify(value) !== JSON.stringify(heldOf(i)));
    await annotate(
      `${summary}: ${count} of ${KEYS} keys, ${ledger.total()} written again (${ledger.most()} at most after a kill), ${wrong.length} mismatches`,
    );
    expect(wrong).toEqual([]);
    expect(held.map(([key]) => key)).toEqual(Array.from({ length: KEYS }, (_, i) => keyOf(i)));
    expect(count).toBe(KEYS);
    expect(ledger.most()).toBeLessThanOrEqual(PAGE);
  },
  300_000,
);
