import { expect, it } from 'vitest';
import { chromiumSkipReason, launchChromium, serveLibrary } from '../support/library-page.ts';
import { startTypescriptServer } from '../support/typescript-server.ts';
import { hideIndexedDb } from '../support/without-indexeddb.ts';

it.skipIf(chromiumSkipReason)(
  'a page of another origin stores and reads 1,000 entries with 4 requests, and pays one preflight',
  async ({ annotate }) => {
    const { server: library, url } = await serveLibrary();
    const server = await startTypescriptServer({ env: { LOG_LEVEL: 'debug' } });
    const browser = await launchChromium();
    try {
      const page = await browser.newPage();
      await page.addInitScript(hideIndexedDb);
      await page.goto(url);
      await page.waitForFunction(() => globalThis.library !== undefined);
      const sum = await page.evaluate(async (flaskUrl) => {
        const storage = globalThis.library.createStorage({ useFlask: true, flaskUrl, logger: false });
        const keys = Array.from({ length: 1000 }, (_, i) => `folder/${i}`);
        await storage.setMany(keys.map((key, i) => [key, { i, text: 'x'.repeat(1000) }] as const));
        const values = (await storage.getMany(keys)) as Array<{ i: number }>;
        return values.reduce((sum, { i }) => sum + i, 0);
      }, server.url);
      expect(sum).toBe(499_500);
      // The log is whole when the server has ended.
      await browser.close();
      await server.stop();
      const requests = server
        .output()
        .split('\n')
        .filter((line) => line.includes('"msg":"request"'))
        .map((line) => JSON.parse(line) as { method: string; url: string })
        .map(({ method, url }) => `${method} ${url}`)
        .slice(1); // The first one asked whether the server is up.
      await annotate(`requests: ${requests.join(', ')}`);
      expect(requests.filter((request) => request.startsWith('OPTIONS'))).toEqual(['OPTIONS /api/v1/batch']);
      expect(requests.filter((request) => request === 'POST /api/v1/batch')).toHaveLength(2);
      expect(requests.filter((request) => request === 'GET /health')).toHaveLength(1);
      expect(requests).toHaveLength(4);
    } finally {
      await browser.close();
      await server.stop();
      await library.close();
    }
  },
);
