/** An app whose server is away: from the start, for a while, or when the page is loaded again (docs/guarantees.md, 3 and 4). */
import type { Page } from 'playwright';
import { expect, it } from 'vitest';
import { chromiumSkipReason } from '../support/library-page.ts';
import { offlineStage, online, openStorage } from '../support/offline-page.ts';

/** Milliseconds from the server's start until what waited is there. */
const BACK_WITHIN = 5000;

/** So often the tab has looked for its server before it comes: the pauses have grown by then. */
const ATTEMPTS = 6;

const stage = offlineStage();

it.skipIf(chromiumSkipReason)(
  'with the server away from the start everything works, and within 5 s of its start the data is there',
  async ({ annotate }) => {
    const server = await stage.server();
    const proxy = await stage.network(server, () => undefined);
    const tab = await stage.tab(await stage.profile());
    await openStorage(tab, proxy.url);

    const seen = await tab.evaluate(async () => {
      await Promise.all([storage.set('a', 1), storage.set('b', { deep: [1] }), storage.set('c', 3)]);
      await storage.delete('a');
      const updated = await storage.update('c', (current) => Number(current) + 1);
      const before = [await storage.get('a'), await storage.get('b'), updated, await storage.keys()];
      await storage.clear();
      const cleared = await storage.keys();
      await storage.set('d', 'kept');
      await storage.update('e', (current) => [current ?? 'new']);
      const { state, backend, pending } = storage.status();
      return { before, cleared, keys: await storage.keys(), state, backend, pending };
    });
    expect(seen).toEqual({
      before: [undefined, { deep: [1] }, 4, ['b', 'c']],
      cleared: [],
      keys: ['d', 'e'],
      state: expect.stringMatching(/^(offline|reconnecting)$/),
      backend: 'indexeddb',
      pending: 2,
    });
    expect(await tab.evaluate(() => storage.getBackendType())).toBe('indexeddb');

    await expect.poll(() => proxy.traffic.requests, { timeout: 40_000 }).toBeGreaterThanOrEqual(ATTEMPTS);
    await server.start();
    const begin = performance.now();
    await tab.waitForFunction(() => storage.getBackendType() === 'flask' && storage.status().pending === 0);
    const tookMs = performance.now() - begin;
    expect(await server.entries()).toEqual({ d: 'kept', e: ['new'] });
    const { lines, states } = await notesOf(tab);
    await annotate(`after ${Math.round(tookMs)} ms; states ${states.join(' ')}; log: ${lines.join(' | ')}`);
    expect(tookMs).toBeLessThan(BACK_WITHIN);
    expect(await server.applied()).toBe(2);
    expect(states[0]).toMatch(/^(offline|reconnecting)$/);
    expect(states.indexOf('online')).toBe(states.length - 1);
    expect(lines).toHaveLength(2);
  },
);

it.skipIf(chromiumSkipReason)(
  'watchStatus tells of the server going and coming, and the log has one line for each',
  async () => {
    const server = await stage.server();
    await server.start();
    const tab = await stage.tab(await stage.profile());
    await openStorage(tab, server.url);
    await tab.evaluate(() => storage.set('a', 0));
    await online(tab);
    for (let round = 1; round <= 2; round += 1) {
      await server.kill();
      await tab.evaluate((value) => storage.set('a', value), round);
      expect(await tab.evaluate(() => storage.status())).toMatchObject({ backend: 'indexeddb', pending: 1 });
      await server.start();
      await online(tab);
      await tab.waitForFunction(() => storage.status().pending === 0);
      expect(await server.entries()).toEqual({ a: round });
    }
    const { lines, states } = await notesOf(tab);
    const goneAndBack = states.map((state) => (state === 'online' ? 'online' : 'away'));
    expect(goneAndBack.filter((state, i) => state !== goneAndBack[i - 1])).toEqual([
      // Until it was asked for the first time.
      'away',
      'online',
      'away',
      'online',
      'away',
      'online',
    ]);
    expect(lines).toHaveLength(5);
  },
);

it.skipIf(chromiumSkipReason)(
  'what was read from the server is readable after the server died and the page was loaded again',
  async () => {
    const server = await stage.server();
    await server.start();
    const others = Object.entries({ read: { by: 'get' }, listed: 'by entries', unread: 1 });
    for (const [key, value] of others)
      await fetch(`${server.url}/api/storage/${key}`, {
        method: 'PUT',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ value }),
      });
    const tab = await stage.tab(await stage.profile());
    await openStorage(tab, server.url);
    await tab.evaluate(async () => {
      await storage.get('read');
      await storage.get('missing');
      await Array.fromAsync(storage.entries({ prefix: 'list' }));
      await storage.set('written', new Map([[1, new Date(0)]]));
      await storage.delete('listed too');
    });

    await server.kill();
    await tab.reload();
    await openStorage(tab, server.url);
    const held = await tab.evaluate(() =>
      Promise.all(
        ['read', 'missing', 'listed', 'unread', 'written'].map((key) =>
          storage.get(key).then(
            (value) => (value instanceof Map ? [...value] : value),
            ({ code }: { code: string }) => code,
          ),
        ),
      ),
    );
    expect(held).toEqual([
      { by: 'get' },
      undefined,
      'by entries',
      // Known where all of the server has been fetched, but never said to be missing.
      expect.toSatisfy((value) => value === 1 || value === 'unavailable'),
      [[1, new Date(0)]],
    ]);
    expect(await tab.evaluate(() => storage.getBackendType())).toBe('indexeddb');
  },
);

/** What a tab was told: its log, and the states in their order, each once in a row. */
async function notesOf(tab: Page): Promise<{ lines: string[]; states: string[] }> {
  const { lines, told } = await tab.evaluate(() => ({ lines: logLines, told: statuses }));
  const states = told.map(({ state }) => state);
  return { lines, states: states.filter((state, i) => state !== states[i - 1]) };
}
