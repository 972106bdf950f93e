/**
 * Tabs of a real Chromium over servers that may be away. Each tab holds one storage as `globalThis.storage`, and notes
 * what its logger and its `watchStatus` were told.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Browser, type BrowserContext, chromium, type Page } from 'playwright';
import type { ViteDevServer } from 'vite';
import { afterAll, afterEach, beforeAll } from 'vitest';
import type { KeyValueStorage, StorageOptions, StorageStatus } from '../../src/index.ts';
import type { Faults } from './faults.ts';
import { chromiumPath, serveLibrary } from './library-page.ts';
import { type MortalServer, mortalServer } from './mortal-server.ts';
import { startProxy, type TcpProxy } from './proxy.ts';

declare global {
  var storage: KeyValueStorage;
  var logLines: string[];
  var statuses: StorageStatus[];
}

/** Where a page comes from: a secure context, or plain http from another machine's address, without Web Locks. */
export type PageOrigin = 'loopback' | 'plain http';

/** An address of RFC 5737, which the browser is told to find here. */
const ELSEWHERE = '192.0.2.1';

const LAUNCH = {
  executablePath: chromiumPath,
  args: [
    '--no-sandbox',
    '--disable-background-networking',
    `--host-resolver-rules=MAP ${ELSEWHERE} 127.0.0.1`,
  ],
};

/** Milliseconds for which a tab is busy, so that its process can be told from the others. */
const BUSY = 500;

/** What the tests of a file have; what a test leaves running ends with it. */
export interface OfflineStage {
  /** A folder of this file. */
  folder(): string;
  /** A browser profile in memory. */
  profile(): Promise<BrowserContext>;
  /** A profile on the disk, and the browser's process over it. */
  profileAt(folder: string): Promise<{ context: BrowserContext; pid: number }>;
  /** A server over a database of its own, which does not run yet. Pages of both origins may call it. */
  server(env?: Record<string, string>): Promise<MortalServer>;
  /** A network in front of it. */
  network(server: MortalServer, faults: Faults): Promise<TcpProxy>;
  /** A tab that holds the library, and no storage yet. */
  tab(context: BrowserContext, origin?: PageOrigin): Promise<Page>;
}

/** For the tests of the file where it is called. */
export function offlineStage(): OfflineStage {
  const endings: Array<() => Promise<unknown>> = [];
  let library: { server: ViteDevServer; url: string };
  let browser: Browser | undefined;
  let folder = '';
  let servers = 0;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'codeforge-offline-'));
    library = await serveLibrary();
  });
  afterEach(async () => {
    for (const end of endings.splice(0).reverse()) await end();
  });
  afterAll(async () => {
    await browser?.close();
    await library.server.close();
    // What a killed browser leaves behind may still be writing.
    await rm(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  });

  const pageUrl = (origin: PageOrigin): URL => {
    const url = new URL(library.url);
    if (origin === 'plain http') url.hostname = ELSEWHERE;
    return url;
  };

  return {
    folder: () => folder,
    async profile() {
      browser ??= await chromium.launch(LAUNCH);
      const context = await browser.newContext();
      endings.push(() => context.close());
      return context;
    },
    async profileAt(path) {
      const context = await chromium.launchPersistentContext(path, LAUNCH);
      endings.push(() => context.close());
      return { context, pid: await browserPid(context) };
    },
    async server(env = {}) {
      servers += 1;
      const allowed = (['loopback', 'plain http'] as const).map((origin) => pageUrl(origin).origin);
      const server = await mortalServer(join(folder, `${servers}.db`), {
        ALLOWED_ORIGINS: allowed.join(),
        ...env,
      });
      endings.push(() => server.kill());
      return server;
    },
    async network(server, faults) {
      const proxy = await startProxy(server.url, { faults });
      endings.push(() => proxy.close());
      return proxy;
    },
    async tab(context, origin = 'loopback') {
      const page = await context.newPage();
      await page.goto(pageUrl(origin).href);
      await page.waitForFunction(() => globalThis.library !== undefined);
      return page;
    },
  };
}

/** Give a tab its storage. */
export async function openStorage(page: Page, flaskUrl: string, options: StorageOptions = {}): Promise<void> {
  await page.waitForFunction(() => globalThis.library !== undefined);
  await page.evaluate(
    (all) => {
      globalThis.logLines = [];
      globalThis.statuses = [];
      const note = (line: string): void => void logLines.push(line);
      globalThis.storage = library.createStorage({ ...all, logger: { info: note, warn: note } });
      storage.watchStatus((status) => void statuses.push(status));
    },
    { useFlask: true, flaskUrl, ...options },
  );
}

/** Resolves when the tab's storage serves operations from the server. */
export const online = (page: Page): Promise<unknown> =>
  page.waitForFunction(() => storage.status().state === 'online');

/** Resolves when a tab has nothing left to send; it is not asked to send. */
export const drained = (page: Page): Promise<unknown> =>
  page.waitForFunction(() => storage.status().state === 'online' && storage.status().pending === 0);

/**
 * The process that runs a tab: a signal to it suspends the tab, as an operating system suspends an app.
 *
 * It is told by the processor time that it uses when the tab is busy.
 */
export async function rendererPid(page: Page): Promise<number> {
  const session = await page.context().browser()?.newBrowserCDPSession();
  const times = async (): Promise<Map<number, number>> => {
    const { processInfo } = (await session?.send('SystemInfo.getProcessInfo')) ?? { processInfo: [] };
    const renderers = processInfo.filter(({ type }) => type === 'renderer');
    return new Map(renderers.map(({ id, cpuTime }) => [id, cpuTime]));
  };
  const before = await times();
  await page.evaluate((ms) => {
    const end = performance.now() + ms;
    while (performance.now() < end);
  }, BUSY);
  const used = [...(await times())].map(([id, time]) => [id, time - (before.get(id) ?? 0)] as const);
  await session?.detach();
  const [id] = used.sort(([, a], [, b]) => b - a)[0] ?? [];
  if (id === undefined) throw new Error('The browser does not tell its processes.');
  return id;
}

async function browserPid(context: BrowserContext): Promise<number> {
  const session = await context.browser()?.newBrowserCDPSession();
  const { processInfo } = (await session?.send('SystemInfo.getProcessInfo')) ?? { processInfo: [] };
  const pid = processInfo.find(({ type }) => type === 'browser')?.id;
  if (pid === undefined) throw new Error('The browser does not tell its process.');
  return pid;
}
