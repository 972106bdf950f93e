/**
 * The browser's process is killed while a page writes with the server away. What was acknowledged is on the disk: the outbox
 * is written with strict durability, so a write resolves only when the disk has it (docs/guarantees.md, 1.2).
 */
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { chromiumSkipReason } from '../support/library-page.ts';
import { drained, offlineStage, online, openStorage } from '../support/offline-page.ts';

declare global {
  /** Tells the test of a write. It outlives the page. */
  var acknowledged: (key: string, value: number) => void;
}

const KILLS = 2;
const WRITES_BEFORE_KILL = 80;

const stage = offlineStage();

it.skipIf(chromiumSkipReason)(
  'every write acknowledged with the server away survives a killed browser, twice, and arrives at the server',
  async ({ annotate }) => {
    const server = await stage.server();
    const folder = join(stage.folder(), 'profile');
    const known = new Map<string, number>();
    let acknowledged = 0;

    const launch = async () => {
      const { context, pid } = await stage.profileAt(folder);
      await context.exposeFunction('acknowledged', (key: string, value: number) => {
        known.set(key, value);
        acknowledged += 1;
      });
      const tab = await stage.tab(context);
      await openStorage(tab, server.url);
      return { context, pid, tab };
    };
    /** Keys whose value is older than what was acknowledged. A later one was under way when the browser died. */
    const lost = (held: Readonly<Record<string, unknown>>): string[] =>
      [...known].filter(([key, value]) => !(Number(held[key]) >= value)).map(([key]) => key);
    const heldBy = async ({ tab }: Awaited<ReturnType<typeof launch>>) =>
      Object.fromEntries(
        await tab.evaluate(
          (keys) => Promise.all(keys.map(async (key) => [key, await storage.get(key)] as const)),
          [...known.keys()],
        ),
      );

    await server.start();
    let browser = await launch();
    await browser.tab.evaluate(() => storage.set('before', 1));
    await online(browser.tab);
    await server.kill();
    for (let kill = 0; kill < KILLS; kill += 1) {
      const enough = acknowledged + WRITES_BEFORE_KILL;
      await browser.tab.evaluate(writeOn, kill * 1_000_000);
      await expect.poll(() => acknowledged, { timeout: 20_000, interval: 5 }).toBeGreaterThan(enough);
      const gone = browser.context.waitForEvent('close');
      process.kill(browser.pid, 'SIGKILL');
      await gone;
      browser = await launch();
      expect(lost(await heldBy(browser))).toEqual([]);
    }
    const held = await heldBy(browser);
    await server.start();
    await drained(browser.tab);
    const entries = await server.entries();
    await annotate(
      `${KILLS} kills, ${acknowledged} acknowledged to ${known.size} keys, ${lost(entries).length} lost`,
    );
    expect(lost(entries)).toEqual([]);
    // What the page read after it came back is what arrives.
    expect(entries).toMatchObject({ before: 1, ...held });
    expect(await browser.tab.evaluate(() => storage.conflicts())).toEqual([]);
  },
  180_000,
);

/** Write without end, in lanes of their own keys, with values that count up from `first`. It runs in the page. */
function writeOn(first: number): void {
  const lane = async (name: number): Promise<void> => {
    for (let value = first + 1; ; value += 1) {
      // Keys that are written again and again, and keys of this time only.
      const key = value % 2 === 0 ? `lane ${name}, ${value % 6}` : `lane ${name}, value ${value}`;
      await storage.set(key, value);
      acknowledged(key, value);
    }
  };
  for (const name of [1, 2, 3, 4]) void lane(name);
}
