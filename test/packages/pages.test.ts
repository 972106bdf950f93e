/** Pages of real apps in Chromium: built by each bundler, and without one. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { brotliCompressSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, expect, it, vi } from 'vitest';
import type { RunningServer } from '../support/running-server.ts';
import { startTypescriptServer } from '../support/typescript-server.ts';
import { BUNDLERS, buildApp, plainPages } from './bundlers.ts';
import { closeBrowser, firstCalls, loaded, type Site, scriptsOfExport, serveFolder, visit } from './site.ts';

let server: RunningServer;
let site: Site | undefined;
beforeAll(async () => {
  server = await startTypescriptServer();
});
afterEach(async () => {
  await site?.close();
  site = undefined;
});
afterAll(async () => {
  await closeBrowser();
  await server.stop();
});

/** How the package gets into a page: the folder to serve, the page, and whether parts of it are loaded later. */
const ROWS: ReadonlyArray<
  readonly [name: string, folder: () => Promise<string>, page: string, isSplit: boolean]
> = [
  ...BUNDLERS.map((bundler) => [bundler, () => buildApp(bundler), '', true] as const),
  ...BUNDLERS.map(
    (bundler) =>
      [`${bundler}, full entry`, () => buildApp(bundler, '@codeforge/storage/full'), '', false] as const,
  ),
  ['script tag', plainPages, 'script-tag.html', false],
  ['import map', plainPages, 'import-map.html', false],
  ['module script', plainPages, 'module-script.html', false],
];

for (const [name, folder, path, isSplit] of ROWS)
  it(`${name}: the page works offline after its first calls, and with a server that comes and goes`, async ({
    annotate,
  }) => {
    const served = await folder();
    site = await serveFolder(served);
    const url = `${site.url}/${path}`;
    const needed = await scriptsOfExport(site, url);
    const { context, page } = await visit(url);
    await page.evaluate(firstCalls);
    // Without a call that needs them: they are prefetched when the app is idle.
    await loaded(page, needed);
    await context.setOffline(true);
    expect(
      await page.evaluate(async () => {
        await storage.set('value', { when: new Date(5) });
        const value = (await storage.get('value')) as { when: Date };
        return {
          when: value.when.getTime(),
          n: await storage.update('n', (n) => ((n as number | undefined) ?? 0) + 1),
          keys: await storage.keys(),
          lines: (await (await storage.export({ as: 'blob' })).text()).trim().split('\n').length,
          imported: await storage.import(await storage.export({ as: 'blob' })),
        };
      }),
    ).toEqual({ when: 5, n: 1, keys: ['first', 'n', 'value'], lines: 5, imported: 3 });

    await context.setOffline(false);
    expect(
      await page.evaluate(async (flaskUrl) => {
        await storage.close();
        globalThis.storage = sdk.createStorage({ useFlask: true, flaskUrl, logger: false });
        await storage.ready();
        await storage.clear();
        await storage.set('value', { when: new Date(5) });
        return {
          backend: storage.getBackendType(),
          n: await storage.update('n', (n) => ((n as number | undefined) ?? 0) + 1),
          keys: await storage.keys(),
          lines: (await (await storage.export({ as: 'blob' })).text()).trim().split('\n').length,
        };
      }, server.url),
    ).toEqual({ backend: 'flask', n: 1, keys: ['n', 'value'], lines: 4 });

    await context.setOffline(true);
    await page.evaluate(() => storage.set('while away', { when: new Date(6) }));
    await context.setOffline(false);
    // Chromium is online a moment later.
    await vi.waitFor(() => page.evaluate(() => storage.flush()), { timeout: 20_000, interval: 100 });
    const listed = await fetch(`${server.url}/api/storage/keys`);
    expect(await listed.json()).toEqual({ keys: ['n', 'value', 'while away'] });
    await context.close();

    const scripts = site.sentScripts();
    expect(scripts.length > 1).toBe(isSplit);
    const sizes = scripts.map((script) => brotliCompressSync(readFileSync(join(served, script))).length);
    await annotate(
      `${scripts.length} scripts, ${(sizes.reduce((a, b) => a + b, 0) / 1000).toFixed(1)} kB brotli`,
    );
  });
