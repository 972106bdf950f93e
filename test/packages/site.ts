/**
 * Files of a folder over http, on a free loopback port, and a Chromium to show them.
 */
import { once } from 'node:events';
import { createReadStream, statSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join, normalize } from 'node:path';
import type { Browser, BrowserContext, Page } from 'playwright';
import type * as Library from '../../src/index.ts';
import { launchChromium } from '../support/library-page.ts';

declare global {
  /** The package, on a page of these tests. */
  var sdk: typeof Library;
  /** What {@link firstCalls} has created. */
  var storage: Library.KeyValueStorage;
}

export interface Site {
  /** Without a trailing slash. */
  readonly url: string;
  /** Scripts that were sent since this was last called, each once. */
  sentScripts(): readonly string[];
  close(): Promise<void>;
}

const TYPES: Readonly<Record<string, string>> = {
  html: 'text/html; charset=utf-8',
  js: 'text/javascript',
  map: 'application/json',
};

export async function serveFolder(folder: string): Promise<Site> {
  const sent = new Set<string>();
  const server = createServer(({ url = '/' }, response) => {
    const path = normalize(new URL(url, 'http://any').pathname.replace(/\/$/, '/index.html')).slice(1);
    const file = join(folder, path);
    if (!statSync(file, { throwIfNoEntry: false })?.isFile()) {
      response.writeHead(404).end();
      return;
    }
    const type = TYPES[path.slice(path.lastIndexOf('.') + 1)] ?? 'application/octet-stream';
    response.writeHead(200, { 'content-type': type, 'cache-control': 'no-store' });
    sent.add(path);
    createReadStream(file).pipe(response);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    sentScripts() {
      const scripts = [...sent].filter((path) => path.endsWith('.js'));
      sent.clear();
      return scripts;
    },
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

/** A page with the package, in a browser profile of its own. */
export interface Visit {
  readonly context: BrowserContext;
  readonly page: Page;
}

let browser: Promise<Browser> | undefined;

export async function visit(url: string): Promise<Visit> {
  browser ??= launchChromium();
  const context = await (await browser).newContext();
  const page = await context.newPage();
  const failures: string[] = [];
  page.on('pageerror', ({ message }) => failures.push(message));
  page.on('requestfailed', (request) => failures.push(request.url()));
  await page.goto(url);
  await page
    .waitForFunction(() => globalThis.sdk !== undefined, undefined, { timeout: 15_000 })
    .catch((error) => {
      throw new Error(`${url} does not hold the package: ${failures.join('; ')}`, { cause: error });
    });
  return { context, page };
}

/** Resolves when the page has loaded each of these scripts. */
export async function loaded(page: Page, scripts: readonly string[]): Promise<void> {
  await page.waitForFunction(
    (names) => {
      const resources = performance.getEntriesByType('resource') as PerformanceResourceTiming[];
      return names.every((name) =>
        resources.some((entry) => entry.name.endsWith(name) && entry.responseEnd > 0),
      );
    },
    scripts,
    { timeout: 30_000 },
  );
}

/** For `page.evaluate`: what an app does first. */
export async function firstCalls(): Promise<void> {
  globalThis.storage = sdk.createStorage({ logger: false });
  await storage.set('first', 1);
  await storage.get('first');
}

/** The scripts that a page needs in order to export, seen in a visit of its own. */
export async function scriptsOfExport(site: Site, url: string): Promise<readonly string[]> {
  const { context, page } = await visit(url);
  await page.evaluate(firstCalls);
  await page.evaluate(() => storage.export({ as: 'blob' }).then(() => undefined));
  await context.close();
  return site.sentScripts();
}

export async function closeBrowser(): Promise<void> {
  await (await browser)?.close();
  browser = undefined;
}
