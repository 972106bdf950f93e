/** A server that was met at level 1 is not taken for one of level 0 because answers get lost (docs/guarantees.md, 1.3). */
import { expect, it } from 'vitest';
import { answerLost } from '../support/faults.ts';
import { chromiumSkipReason } from '../support/library-page.ts';
import { drained, offlineStage, online, openStorage } from '../support/offline-page.ts';

/** So many answers to `/health` are lost when the server is back. */
const LOST = 4;

const stage = offlineStage();

it.skipIf(chromiumSkipReason)(
  'a server that this origin has met at level 1 is not taken for one of level 0 where /health gets lost',
  async () => {
    let losses = 0;
    const server = await stage.server();
    const proxy = await stage.network(server, ({ target }) => {
      if (target !== '/health' || losses === 0) return undefined;
      losses -= 1;
      return answerLost('rst');
    });
    await server.start();
    const tab = await stage.tab(await stage.profile());
    await openStorage(tab, proxy.url);
    await tab.evaluate(() => storage.set('count', 1));
    await online(tab);
    await server.kill();
    // What the page itself has learned of the server is gone; what the origin has is not.
    await tab.reload();
    await openStorage(tab, proxy.url);
    await tab.evaluate(() => storage.update('count', (current) => Number(current) + 1));
    losses = LOST;
    await server.start();
    await drained(tab);
    expect(losses).toBeLessThan(LOST);
    expect(await tab.evaluate(() => statuses.map(({ level }) => level))).not.toContain(0);
    expect(await tab.evaluate(() => storage.update('count', (current) => Number(current) + 1))).toBe(3);
    expect(await server.entries()).toEqual({ count: 3 });
  },
);
