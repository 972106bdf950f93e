import { expect, it } from 'vitest';
import { chromiumSkipReason, launchChromium, serveLibrary } from '../support/library-page.ts';
import { startProxy } from '../support/proxy.ts';
import { startTypescriptServer } from '../support/typescript-server.ts';
import { hideIndexedDb } from '../support/without-indexeddb.ts';

it.skipIf(chromiumSkipReason)(
  'a write that is lost rejects with its code and its words, also where nothing more can be loaded, and later writes apply',
  async () => {
    const { server: library, url } = await serveLibrary();
    const server = await startTypescriptServer();
    const proxy = await startProxy(server.url);
    const browser = await launchChromium();
    try {
      const page = await browser.newPage();
      await page.addInitScript(hideIndexedDb);
      await page.goto(url);
      await page.waitForFunction(() => globalThis.library !== undefined);
      await page.evaluate(async (flaskUrl) => {
        const storage = globalThis.library.createStorage({ useFlask: true, flaskUrl, logger: false });
        await storage.set('a', 1);
        await storage.close();
      }, proxy.url);
      // As on a plane: the server is away, and so is the app's own server.
      await page.route(/\.(ts|js)(\?|$)/, (route) => route.abort());
      const outcome = await page.evaluate(
        async ([flaskUrl, control]) => {
          const storage = globalThis.library.createStorage({ useFlask: true, flaskUrl, logger: false });
          await storage.set('a', 1);
          await fetch(`${control}/cut`, { method: 'POST' });
          const lost = await storage.set('a', 2).then(
            () => undefined,
            ({ code, message }: { code: string; message: string }) => ({ code, message }),
          );
          await fetch(`${control}/restore`, { method: 'POST' });
          await storage.set('a', 3);
          return [lost?.code, lost?.message, await storage.get('a')];
        },
        [proxy.url, proxy.control] as const,
      );
      expect(outcome).toEqual(['unavailable', expect.stringContaining(`${proxy.url}/ does not answer`), 3]);
    } finally {
      await browser.close();
      await proxy.close();
      await server.stop();
      await library.close();
    }
  },
);
