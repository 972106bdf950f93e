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
      const seen = await page.evaluate(async (flaskUrl) => {
        const lines: string[] = [];
        const warn = (line: string): void => void lines.push(line);
        const storage = globalThis.library.createStorage({
          useFlask: true,
          flaskUrl,
          logger: { info: warn, warn },
        });
        await storage.set('a', 1);
        const { backend, state, pending, reason } = storage.status();
        const seen = [backend, state, pending, reason, await storage.get('a'), [...lines]];
        await storage.close();
        return seen;
      }, withoutCors.url);
      const likely = expect.stringMatching(
        /http:\/\/127\.0\.0\.1:\d+\/ answers, but this page may not read the answer.*CORS/,
      );
      const away = expect.stringMatching(/^(offline|reconnecting)$/);
      // Detection may have reached the server, whose answers the page never saw.
      expect(withoutCors.data.size).toBe(0);
      expect(seen).toEqual(['indexeddb', away, 1, likely, 1, [likely]]);
    } finally {
      await browser.close();
      await withoutCors.close();
      await server.close();
    }
  },
);
