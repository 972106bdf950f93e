/**
 * A server for each contestant, each behind a proxy a latency, and a page of another origin that talks to them.
 *
 * What a round needs beforehand and what it left behind is put there and read from Node.js, past the proxies.
 */
import { fileURLToPath } from 'node:url';
import type { Page } from 'playwright';
import { launchChromium } from '../../test/support/library-page.ts';
import { startProxy, type TcpProxy } from '../../test/support/proxy.ts';
import { type RunningServer, startServer } from '../../test/support/running-server.ts';
import { startTypescriptServer } from '../../test/support/typescript-server.ts';
import { bundlePage } from '../browser/bundle.ts';
import { serveFiles } from '../browser/serve.ts';
import type { ContestantName } from './contestants.ts';
import type { Value } from './data.ts';

/** A contestant's place in the arena. */
export interface Stand {
  readonly name: ContestantName;
  /** Whether it carries many keys in one request. */
  readonly batches: boolean;
  proxyOf(latencyMs: number): TcpProxy;
  /** Hold these values and nothing else. */
  fill(values: readonly Value[]): Promise<void>;
  /** What is stored under these keys. */
  read(keys: readonly string[]): Promise<unknown[]>;
}

export interface Arena {
  readonly page: Page;
  /** The browser's name and version. */
  readonly browser: string;
  readonly stands: readonly Stand[];
  close(): Promise<void>;
}

/** How a server is reached from Node.js. */
type Reach = (url: string) => Pick<Stand, 'fill' | 'read'>;

const KINDS: Readonly<Record<ContestantName, { start(): Promise<RunningServer>; reach: Reach }>> = {
  ours: { start: startTypescriptServer, reach: reachReference },
  'ours, level 0': { start: startTypescriptServer, reach: reachReference },
  fetch: { start: startTypescriptServer, reach: reachReference },
  unstorage: { start: startUnstorageServer, reach: reachUnstorage },
};

/**
 * Open the arena.
 *
 * @param latencies Milliseconds that are added to a round trip: half of them each way.
 */
export async function openArena(latencies: readonly number[]): Promise<Arena> {
  const closing: Array<() => Promise<unknown>> = [];
  const close = async (): Promise<void> => {
    for (const end of closing.splice(0).reverse()) await end();
  };
  try {
    const stands: Stand[] = [];
    for (const name of Object.keys(KINDS) as ContestantName[]) {
      const { start, reach } = KINDS[name];
      const server = await start();
      closing.push(() => server.stop());
      const proxies = new Map<number, TcpProxy>();
      for (const latency of latencies) {
        const proxy = await startProxy(server.url, { latencyMs: latency / 2 });
        closing.push(() => proxy.close());
        proxies.set(latency, proxy);
      }
      stands.push({
        name,
        batches: name.startsWith('ours'),
        proxyOf: (latency) => proxies.get(latency) as TcpProxy,
        ...reach(server.url),
      });
    }
    const files = await serveFiles(
      await bundlePage('sdk', `import { install } from '../sdk/page.ts'; install();`),
    );
    closing.push(() => files.close());
    const browser = await launchChromium();
    closing.push(() => browser.close());
    const page = await browser.newPage();
    await page.goto(`${files.url}/sdk/`);
    await page.waitForFunction(() => globalThis.sdkBench !== undefined);
    return { page, browser: `Chromium ${browser.version()}`, stands, close };
  } catch (error) {
    await close();
    throw error;
  }
}

function startUnstorageServer(): Promise<RunningServer> {
  return startServer(process.execPath, [fileURLToPath(new URL('unstorage-server.ts', import.meta.url))], {});
}

function reachReference(url: string): Pick<Stand, 'fill' | 'read'> {
  const ask = async (path: string, init?: RequestInit): Promise<unknown> => {
    const answer = await fetch(`${url}/api/storage/${path}`, init);
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
    return answer.json();
  };
  const json = { method: 'POST', headers: { 'content-type': 'application/json' } };
  return {
    async fill(values) {
      await ask('clear', { method: 'POST' });
      for (let from = 0; from < values.length; from += 2000) {
        const part = values.slice(from, from + 2000).map((value) => [value.key, value] as const);
        await ask('import', { ...json, body: JSON.stringify(Object.fromEntries(part)) });
      }
    },
    async read(keys) {
      const all = new Map(Object.entries((await ask('export')) as Record<string, unknown>));
      return keys.map((key) => all.get(key));
    },
  };
}

function reachUnstorage(url: string): Pick<Stand, 'fill' | 'read'> {
  const ask = async (path: string, init?: RequestInit): Promise<string> => {
    const answer = await fetch(`${url}/${path}`, init);
    if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
    return answer.text();
  };
  return {
    async fill(values) {
      await ask('', { method: 'DELETE' });
      await sideBySide(values, (value) => ask(value.key, { method: 'PUT', body: JSON.stringify(value) }));
    },
    read: (keys) => sideBySide(keys, async (key) => JSON.parse(await ask(key))),
  };
}

/** A few at a time. */
async function sideBySide<T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  for (let from = 0; from < items.length; from += 50)
    results.push(...(await Promise.all(items.slice(from, from + 50).map(work))));
  return results;
}
