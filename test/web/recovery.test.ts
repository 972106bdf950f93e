import { expect, it } from 'vitest';
import { chromiumSkipReason, launchChromium, serveLibrary } from '../support/library-page.ts';
import { startProxy } from '../support/proxy.ts';
import { startTypescriptServer } from '../support/typescript-server.ts';
import { hideIndexedDb } from '../support/without-indexeddb.ts';

it.skipIf(chromiumSkipReason)(
  'where what a failure needs cannot be loaded, a write that is lost still rejects with its code, and later ones apply',
  async () => {
    const { server: library, url } = await serveLibrary();
    const server = await startTypescriptServer();
    const proxy = await startProxy(server.url);
    const browser = await launchChromium();
    try {
      const page = await browser.newPage();
      await page.addInitScript(hideIndexedDb);
      // As on a plane: the server is away, and so is where the app came from.
      await page.route('**/flask-recovery.ts*', (route) => route.abort());
      await page.goto(url);
      await page.waitForFunction(() => globalThis.library !== undefined);
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
      expect(outcome).toEqual(['unavailable', `POST ${proxy.url}/api/v1/batch failed (unavailable).`, 3]);
    } finally {
      await browser.close();
      await proxy.close();
      await server.stop();
      await library.close();
    }
  },
);
