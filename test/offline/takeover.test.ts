/**
 * Of several tabs one sends what waits. When it is closed on the way, another goes on, and everything arrives once: also what
 * the closed tab had sent without hearing of it (docs/guarantees.md, 1.3 and 5.1).
 */
import type { Page, Request } from 'playwright';
import { expect, it } from 'vitest';
import { chromiumSkipReason } from '../support/library-page.ts';
import { drained, offlineStage, online, openStorage, type PageOrigin } from '../support/offline-page.ts';

const WRITES_OF_A_TAB = 60;

/** Milliseconds that the answer to a write is kept back: the tab is closed while it waits for one. */
const SLOW = 300;

/** Milliseconds until another tab has taken over and sent the rest. */
const TAKEOVER = 20_000;

/** Several batches, with values of up to a thousand characters. */
const SMALL_BODIES = { MAX_BODY_BYTES: '25000' };

const HAS_LOCKS: Record<PageOrigin, boolean> = { loopback: true, 'plain http': false };

const stage = offlineStage();

for (const [origin, hasLocks] of Object.entries(HAS_LOCKS) as Array<[PageOrigin, boolean]>)
  it.skipIf(chromiumSkipReason)(
    `when the tab that sends the outbox is closed, another one goes on and everything arrives once, ${
      hasLocks ? 'with Web Locks' : 'without Web Locks, on plain http'
    }`,
    async ({ annotate }) => {
      const server = await stage.server(SMALL_BODIES);
      const proxy = await stage.network(server, ({ target, body }) =>
        isWrite(target, body) ? { delayMs: SLOW } : undefined,
      );
      await server.start();
      const context = await stage.profile();
      const tabs = await Promise.all([stage.tab(context, origin), stage.tab(context, origin)]);
      for (const tab of tabs) {
        const features = await tab.evaluate(() => [isSecureContext, navigator.locks !== undefined]);
        expect(features).toEqual([hasLocks, hasLocks]);
        await openStorage(tab, proxy.url);
        await tab.evaluate(() => storage.ready());
        await online(tab);
      }
      await server.kill();
      const expected = Object.assign({}, ...(await Promise.all(tabs.map(writeMany))));

      const sending = Promise.race(tabs.map(sends));
      await server.start();
      const sender = await sending;
      await expect.poll(() => server.applied(), { timeout: 10_000, interval: 20 }).toBeGreaterThan(0);
      await sender.close();
      const arrived = await server.applied();
      const left = tabs.find((tab) => tab !== sender) as Page;
      const begin = performance.now();
      await left.waitForFunction(() => storage.status().pending === 0, undefined, { timeout: TAKEOVER });
      const seconds = (performance.now() - begin) / 1000;
      await drained(left);

      const all = tabs.length * WRITES_OF_A_TAB;
      await annotate(`${arrived} of ${all} writes had arrived; the rest took ${seconds.toFixed(1)} s`);
      expect(arrived).toBeLessThan(all);
      expect(await server.entries()).toEqual(expected);
      expect(await server.applied()).toBe(all);
      expect(await left.evaluate(() => storage.conflicts())).toEqual([]);
    },
  );

const isWrite = (url: string, body: string | null): boolean =>
  url.endsWith('/api/v1/batch') && (body?.includes('"m":') ?? false);

/** Resolves with the tab when it sends a write. */
async function sends(tab: Page): Promise<Page> {
  const wanted = (request: Request): boolean => isWrite(request.url(), request.postData());
  // The tabs that do not send never resolve, and one of them is closed.
  await tab.waitForRequest(wanted, { timeout: 0 }).catch(() => new Promise(() => undefined));
  return tab;
}

/** Write with the server away, each key once. Resolves with what was written. */
async function writeMany(tab: Page, number: number): Promise<Record<string, unknown>> {
  const entries = Array.from({ length: WRITES_OF_A_TAB }, (_, i) => [
    `tab ${number}, ${i}`,
    `${i}`.repeat(500),
  ]);
  await tab.evaluate((all) => Promise.all(all.map(([key = '', value]) => storage.set(key, value))), entries);
  return Object.fromEntries(entries);
}
