import { expect, it } from 'vitest';
import { chromiumSkipReason, launchChromium, serveLibrary } from '../support/library-page.ts';
import { startOldServer } from '../support/old-server.ts';

it.skipIf(chromiumSkipReason)(
  'a server that answers, but not to this page, is reported as likely CORS',
  async () => {
    const { server, url } = await serveLibrary();
    const withoutCors = await startOldServer();
    const browser = await launchChromium();
    try {
      const page = await browser.newPage();
      await page.goto(url);
      await page.waitForFunction(() => globalThis.library !== undefined);
      const lines = await page.evaluate(async (flaskUrl) => {
        const lines: string[] = [];
        const warn = (line: string): void => void lines.push(line);
        const storage = globalThis.library.createStorage({
          useFlask: true,
          flaskUrl,
          logger: { info: warn, warn },
        });
        await storage.set('a', 1);
        return [...lines, storage.getBackendType(), await storage.get('a')];
      }, withoutCors.url);
      expect(lines).toEqual([
        expect.stringMatching(/likely CORS.*http:\/\/127\.0\.0\.1:\d+/),
        'indexeddb',
        1,
      ]);
    } finally {
      await browser.close();
      await withoutCors.close();
      await server.close();
    }
  },
);
