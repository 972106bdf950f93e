/**
 * How long changes take until `watch()` tells them, and what following a server costs: by an event stream, and by requests that the server
 * holds back, as where a proxy lets no stream through.
 *
 * Pages of a real Chromium, of another origin than the server, with a token. A proxy counts requests, their preflights included.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { BrowserContext, Page } from 'playwright';
import type { StorageOptions } from '../src/index.ts';
import { newTokens } from '../test/conformance/run.ts';
import { launchChromium, serveLibrary } from '../test/support/library-page.ts';
import { startProxy } from '../test/support/proxy.ts';
import { startTypescriptServer } from '../test/support/typescript-server.ts';
import type { Section } from './harness/report.ts';

const CHANGES = 300;
const QUICK_CHANGES = 20;
/** Milliseconds between changes. */
const PAUSE_MS = 60;
const IDLE_MS = 60_000;
const QUICK_IDLE_MS = 6000;

declare global {
  var heardAt: Record<string, number>;
}

/** Opens a storage in a page. Its clock is that of all pages of this machine. */
const open = (page: Page, options: StorageOptions): Promise<void> =>
  page.evaluate(async (all) => {
    globalThis.heardAt = {};
    globalThis.storage = library.createStorage({ ...all, logger: false });
    await storage.set('first', 0);
    storage.watch({ prefix: 'k' }, ({ value }) => {
      heardAt[String(value)] = performance.timeOrigin + performance.now();
    });
  }, options);

const now = (): number => performance.timeOrigin + performance.now();

/** Milliseconds from each write until a page has heard of it. */
async function latencies(
  page: Page,
  count: number,
  write: (value: string) => Promise<number>,
): Promise<number[]> {
  const sentAt = new Map<string, number>();
  const run = String(Math.random()).slice(2);
  for (let n = 0; n < count; n += 1) {
    sentAt.set(`${run}.${n}`, await write(`${run}.${n}`));
    await delay(PAUSE_MS);
  }
  await page.waitForFunction((last) => last in heardAt, `${run}.${count - 1}`, { timeout: 120_000 });
  const heard = await page.evaluate(() => heardAt);
  // Of changes that follow each other within one request only the last one of a key is told; here each has a key of its own.
  return [...sentAt].map(([value, at]) => (heard[value] ?? Number.NaN) - at).sort((a, b) => a - b);
}
const percentile = (sorted: readonly number[], part: number): string =>
  (sorted[Math.floor((sorted.length - 1) * part)] ?? Number.NaN).toFixed(1);

export async function benchWatch(quick: boolean): Promise<Section> {
  const count = quick ? QUICK_CHANGES : CHANGES;
  const idleMs = quick ? QUICK_IDLE_MS : IDLE_MS;
  const { server: files, url } = await serveLibrary();
  const { env, tokens } = newTokens();
  const server = await startTypescriptServer({ env: { ...env, ALLOWED_ORIGINS: new URL(url).origin } });
  const browser = await launchChromium();
  try {
    const tabIn = async (context: BrowserContext): Promise<Page> => {
      const page = await context.newPage();
      await page.goto(url);
      await page.waitForFunction(() => globalThis.library !== undefined);
      return page;
    };
    const token = String(tokens.admin);
    const times: string[][] = [];
    const note = (workload: string, sorted: readonly number[]): void => {
      times.push([workload, percentile(sorted, 0.5), percentile(sorted, 0.99)]);
    };
    const setIn =
      (page: Page) =>
      (value: string): Promise<number> =>
        page.evaluate(async (one) => {
          const at = performance.timeOrigin + performance.now();
          await storage.set(`k${one}`, one);
          return at;
        }, value);

    for (const [workload, options] of [
      ['tab to tab, IndexedDB only', {}],
      ['tab to tab, with a server', { useFlask: true, flaskUrl: server.url, token }],
    ] as const) {
      const context = await browser.newContext();
      const [writer, reader] = [await tabIn(context), await tabIn(context)];
      for (const page of [writer, reader]) await open(page, options);
      await delay(2000);
      note(workload, await latencies(reader, count, setIn(writer)));
      await context.close();
    }

    const costs: string[][] = [];
    for (const way of ['event stream', 'held requests'] as const) {
      const proxy = await startProxy(server.url);
      const context = await browser.newContext();
      const page = await tabIn(context);
      if (way === 'held requests')
        await page.route('**/health', async (route) => {
          const response = await route.fetch();
          await route.fulfill({ response, body: (await response.text()).replace('"sse",', '') });
        });
      await open(page, { useFlask: true, flaskUrl: proxy.url, token });
      await delay(3000);
      const before = { ...proxy.traffic };
      const since = (): string[] => {
        const { requests, bytesUp, bytesDown } = proxy.traffic;
        return [
          String(requests - before.requests),
          ((bytesUp - before.bytesUp) / 1000).toFixed(1),
          ((bytesDown - before.bytesDown) / 1000).toFixed(1),
        ];
      };
      await delay(idleMs);
      costs.push([`${way}, ${idleMs / 1000} s without a change`, ...since()]);
      Object.assign(before, proxy.traffic);
      const sorted = await latencies(page, count, async (value) => {
        const at = now();
        const response = await fetch(`${server.url}/api/storage/k${value}`, {
          method: 'PUT',
          headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
          body: JSON.stringify({ value }),
        });
        if (!response.ok) throw new Error(await response.text());
        return at;
      });
      note(`server to tab, ${way}`, sorted);
      costs.push([`${way}, ${count} changes`, ...since()]);
      await context.close();
      await proxy.close();
    }
    return {
      title: 'Watching',
      versions: [`Chromium ${browser.version()}`],
      tables: [
        {
          title: 'From a write until another tab hears of it, ms',
          note: `${count} writes, ${PAUSE_MS} ms apart, each of a new key. The time begins with the call or the request, so it includes the commit.`,
          header: ['Workload', 'p50', 'p99'],
          rows: times,
        },
        {
          title: 'What following costs',
          note: 'A page of another origin with a token: a browser asks before each held request, because each has a URL of its own (CORS).',
          header: ['Workload', 'requests', 'kB up', 'kB down'],
          rows: costs,
        },
      ],
      verdicts: [],
    };
  } finally {
    await browser.close();
    await server.stop();
    await files.close();
  }
}
