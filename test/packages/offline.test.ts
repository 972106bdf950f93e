/** An app that never had a server, built from the main entry, whose device goes offline after a `set` and a `get`. */
import { afterAll, expect, it } from 'vitest';
import { buildApp } from './bundlers.ts';
import { closeBrowser, firstCalls, loaded, scriptsOfExport, serveFolder, visit } from './site.ts';

afterAll(closeBrowser);

it('all key-value methods work at once, and the transfer methods when the idle app has prefetched them', async ({
  annotate,
}) => {
  const site = await serveFolder(await buildApp('Vite'));
  try {
    const { context, page } = await visit(`${site.url}/`);
    // The parts are prefetched when the page is idle: it is not, so none of them is there.
    await page.evaluate(() => {
      globalThis.requestIdleCallback = () => 0;
    });
    await page.evaluate(firstCalls);
    await context.setOffline(true);
    site.sentScripts();
    const keyValue = await page.evaluate(async () => {
      const { revision } = (await storage.getEntry('first')) ?? {};
      const calls: Record<string, () => Promise<unknown>> = {
        ready: () => storage.ready(),
        set: () => storage.set('a', { when: new Date(5), map: new Map([[1, 2n]]) }),
        'set with ifRevision': () => storage.set('first', 2, { ifRevision: revision ?? null }),
        get: () => storage.get('a'),
        getEntry: () => storage.getEntry('a'),
        has: () => storage.has('a'),
        update: () => storage.update('n', (n) => ((n as number | undefined) ?? 0) + 1),
        setMany: () => storage.setMany([['b', 1]]),
        getMany: () => storage.getMany(['a', 'b']),
        keys: () => storage.keys({ prefix: 'a' }),
        entries: async () => {
          for await (const [key] of storage.entries()) if (key === '') return;
        },
        stats: () => storage.stats(),
        delete: () => storage.delete('a'),
        deleteMany: () => storage.deleteMany(['b']),
        conflicts: () => storage.conflicts(),
        flush: () => storage.flush(),
        clear: () => storage.clear(),
      };
      const outcomes: Record<string, string> = {};
      for (const [name, call] of Object.entries(calls))
        outcomes[name] = await call().then(
          () => 'works',
          (error) => `${error.code}: ${error.message}`,
        );
      return outcomes;
    });
    await context.close();
    expect(keyValue).toEqual(Object.fromEntries(Object.keys(keyValue).map((name) => [name, 'works'])));

    const needed = await scriptsOfExport(site, `${site.url}/`);
    const second = await visit(`${site.url}/`);
    await second.page.evaluate(firstCalls);
    await loaded(second.page, needed);
    await second.context.setOffline(true);
    const transfer = await second.page.evaluate(async () => {
      const file = await storage.export({ as: 'blob' });
      return {
        lines: (await file.text()).trim().split('\n').length,
        imported: await storage.import(file),
        old: await storage.oldDatabases(),
      };
    });
    expect(transfer).toEqual({ lines: 3, imported: 1, old: [] });
    await second.context.close();
    await annotate(
      `offline, ${Object.keys(keyValue).length} key-value calls of ${Object.keys(keyValue).length} work; export, import and oldDatabases too`,
    );
  } finally {
    await site.close();
  }
});

it('a transfer method whose part was not prefetched rejects with unavailable and names the part', async () => {
  const site = await serveFolder(await buildApp('Vite'));
  try {
    const { context, page } = await visit(`${site.url}/`);
    await page.evaluate(() => {
      globalThis.requestIdleCallback = () => 0;
    });
    await page.evaluate(firstCalls);
    await context.setOffline(true);
    const exported = () =>
      page.evaluate(() =>
        storage.export({ as: 'blob' }).then(
          () => 'works',
          (error) => [error.name, error.code, error.message],
        ),
      );
    expect(await exported()).toEqual([
      'StorageError',
      'unavailable',
      expect.stringMatching(/The part transfer .* could not be loaded/),
    ]);
    await context.close();
  } finally {
    await site.close();
  }
});
