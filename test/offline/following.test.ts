/**
 * Of several tabs one follows the server for all. When it is closed, killed or suspended, or goes into the back/forward cache, another one
 * goes on, and no change is lost or told twice (docs/guarantees.md, 5.4).
 */
import { chromium, type Page } from 'playwright';
import { expect, it, onTestFinished } from 'vitest';
import { chromiumPath, chromiumSkipReason } from '../support/library-page.ts';
import type { MortalServer } from '../support/mortal-server.ts';
import { offlineStage, openStorage, rendererPid } from '../support/offline-page.ts';

declare global {
  /** What the listener of a tab has heard, and when, in milliseconds since 1970. */
  var heard: Array<readonly [value: unknown, atMs: number]>;
}

/** Milliseconds in which another tab goes on: where the browser releases the lock, and where a visible tab takes it. */
const RELEASED_MS = 1000;
const TAKEN_MS = 15_000;

const stage = offlineStage();

async function watchIn(page: Page, server: MortalServer): Promise<void> {
  await openStorage(page, server.url);
  await page.evaluate(async () => {
    globalThis.heard = [];
    await storage.get('a');
    storage.watch('a', ({ value }) => heard.push([value, Date.now()]));
  });
}
/** A change by another client. */
async function theirs(server: MortalServer, value: unknown): Promise<void> {
  const { status } = await fetch(`${server.url}/api/storage/a`, {
    method: 'PUT',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ value }),
  });
  expect(status).toBe(200);
}
const hears = (page: Page, value: unknown): Promise<unknown> =>
  page.waitForFunction((wanted) => heard.at(-1)?.[0] === wanted, value, { timeout: 60_000 });
const valuesIn = (page: Page): Promise<unknown[]> => page.evaluate(() => heard.map(([value]) => value));

/** Two tabs that watch. The first one follows. */
async function twoTabs(): Promise<{ server: MortalServer; first: Page; second: Page }> {
  const server = await stage.server();
  await server.start();
  const context = await stage.profile();
  const [first, second] = [await stage.tab(context), await stage.tab(context)];
  await watchIn(first, server);
  await theirs(server, 'one');
  await hears(first, 'one');
  await watchIn(second, server);
  await theirs(server, 'two');
  for (const tab of [first, second]) await hears(tab, 'two');
  return { server, first, second };
}

/** Milliseconds from now until a tab hears a change that another client makes now. */
async function timeToHear(page: Page, server: MortalServer, value: unknown): Promise<number> {
  const begin = Date.now();
  await theirs(server, value);
  await hears(page, value);
  return (await page.evaluate(() => heard.at(-1)?.[1] ?? 0)) - begin;
}

for (const end of ['closed', 'killed'] as const)
  it.skipIf(chromiumSkipReason)(
    `when the tab that follows is ${end}, another one goes on within a second`,
    async ({ annotate }) => {
      const { server, first, second } = await twoTabs();
      if (end === 'closed') await first.close();
      else process.kill(await rendererPid(first), 'SIGKILL');
      const ms = await timeToHear(second, server, 'three');
      await annotate(`heard after ${ms} ms`);
      expect(ms).toBeLessThan(RELEASED_MS);
      expect(await valuesIn(second)).toEqual(['two', 'three']);
    },
  );

it.skipIf(chromiumSkipReason)(
  'when the tab that follows is suspended, a visible one goes on within 15 s, and the first one hears everything when it resumes',
  async ({ annotate }) => {
    const { server, first, second } = await twoTabs();
    const pid = await rendererPid(first);
    expect(await rendererPid(second)).not.toBe(pid);
    process.kill(pid, 'SIGSTOP');
    let goOn = (): void => {
      goOn = () => {};
      process.kill(pid, 'SIGCONT');
    };
    onTestFinished(() => goOn());
    const ms = await timeToHear(second, server, 'three');
    await annotate(`heard after ${ms} ms`);
    expect(ms).toBeLessThan(TAKEN_MS);
    const next = await timeToHear(second, server, 'four');
    await annotate(`the next one after ${next} ms`);
    goOn();
    await hears(first, 'four');
    await theirs(server, 'five');
    for (const tab of [first, second]) await hears(tab, 'five');
    expect(await valuesIn(second)).toEqual(['two', 'three', 'four', 'five']);
    const told = await valuesIn(first);
    expect(told).toEqual([...new Set(told)]);
  },
);

it.skipIf(chromiumSkipReason)(
  'a page that watches can be restored from the back/forward cache, and hears what has changed meanwhile',
  async () => {
    const server = await stage.server();
    await server.start();
    // Playwright turns that cache off.
    const browser = await chromium.launch({
      executablePath: chromiumPath,
      ignoreDefaultArgs: ['--disable-back-forward-cache'],
      args: ['--no-sandbox'],
    });
    onTestFinished(() => browser.close());
    const context = await browser.newContext();
    const [first, second] = [await stage.tab(context), await stage.tab(context)];
    await watchIn(first, server);
    await theirs(server, 'one');
    await hears(first, 'one');
    await watchIn(second, server);
    await first.evaluate(() => {
      addEventListener('pageshow', ({ persisted }) => heard.push([`persisted: ${persisted}`, Date.now()]));
    });
    await first.goto(`${first.url()}?other`);
    await theirs(server, 'two');
    await hears(second, 'two');
    // A change of this origin, which is sent to all tabs.
    await second.evaluate(() => storage.set('a', 'three'));
    await first.evaluate(() => setTimeout(() => history.back()));
    // While it navigates, it cannot be asked.
    const told = (): Promise<unknown> => valuesIn(first).catch(() => undefined);
    await expect.poll(told, { timeout: 30_000 }).toEqual(['one', 'persisted: true', 'three']);
    await theirs(server, 'four');
    for (const tab of [first, second]) await hears(tab, 'four');
    expect(await valuesIn(second)).toEqual(['two', 'three', 'four']);
  },
);
