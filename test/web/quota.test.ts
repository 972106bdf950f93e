import { expect, it } from 'vitest';
import { chromiumSkipReason, launchChromium, serveLibrary } from '../support/library-page.ts';

it.skipIf(chromiumSkipReason)(
  'a full quota rejects every call of the batch that met it, and keeps what was there',
  async () => {
    const { server, url } = await serveLibrary();
    const browser = await launchChromium();
    try {
      const page = await browser.newPage();
      await page.goto(url);
      await page.waitForFunction(() => globalThis.library !== undefined);
      const session = await page.context().newCDPSession(page);
      await session.send('Storage.overrideQuotaForOrigin', {
        origin: new URL(url).origin,
        quotaSize: 2_000_000,
      });
      const outcomes = await page.evaluate(async () => {
        const storage = globalThis.library.createStorage({ logger: false });
        await storage.set('before', 1);
        const codes = await Promise.all(
          [
            storage.set('small', 1),
            storage.set('large', 'x'.repeat(8_000_000)),
            storage.delete('before'),
          ].map((call) =>
            call.then(
              () => 'stored',
              (error) => error.code,
            ),
          ),
        );
        const kept = await storage.keys();
        await storage.set('small', 2);
        return { codes, kept, after: await storage.get('small') };
      });
      expect(outcomes).toEqual({ codes: ['quota', 'quota', 'quota'], kept: ['before'], after: 2 });
    } finally {
      await browser.close();
      await server.close();
    }
  },
);
