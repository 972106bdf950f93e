/** React components over a storage, from the package. */
import { mkdtemp, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as esbuild from 'esbuild';
import { afterAll, expect, inject, it } from 'vitest';
import { startTypescriptServer } from '../support/typescript-server.ts';
import { closeBrowser, serveFolder, visit } from './site.ts';

afterAll(closeBrowser);

const APP = `
  import * as sdk from '@codeforge/storage';
  import { useStorageStatus, useStored } from '@codeforge/storage/react';
  import { createElement } from 'react';
  import { createRoot } from 'react-dom/client';

  globalThis.sdk = sdk;
  const flaskUrl = new URLSearchParams(location.search).get('server');
  globalThis.storage = sdk.createStorage({ useFlask: true, flaskUrl, logger: false });
  globalThis.renders = 0;
  function Status() {
    globalThis.renders += 1;
    const { state, pending } = useStorageStatus(storage);
    return createElement('output', null, state + ', ' + pending + ' pending');
  }
  function Value() {
    const [value, , state] = useStored(storage, 'a', { initial: 'none' });
    return createElement('p', null, value + ' ' + state);
  }
  const onUncaughtError = (error) => { document.body.textContent = String(error); };
  createRoot(document.body, { onUncaughtError }).render([Status, Value].map((part, key) => createElement(part, { key })));
`;

it('the hooks show each status and each value, and render only for a change', async () => {
  const { tools } = inject('packages');
  const folder = await mkdtemp(join(tools, 'react-'));
  await esbuild.build({
    stdin: { contents: APP, resolveDir: tools },
    outfile: join(folder, 'app.js'),
    bundle: true,
    format: 'esm',
    define: { 'process.env.NODE_ENV': '"production"' },
    logLevel: 'error',
  });
  await writeFile(
    join(folder, 'index.html'),
    '<!doctype html><body></body><script type="module" src="./app.js"></script>',
  );
  const server = await startTypescriptServer();
  const site = await serveFolder(folder);
  try {
    const { context, page } = await visit(`${site.url}/?server=${encodeURIComponent(server.url)}`);
    const shows = (text: string) => page.locator('output', { hasText: text }).waitFor({ timeout: 30_000 });
    const showsValue = (text: string) => page.locator('p', { hasText: text }).waitFor({ timeout: 30_000 });
    await showsValue('none ready');
    await page.evaluate(() => storage.set('a', 1));
    await shows('online, 0 pending');
    await showsValue('1 ready');
    await context.setOffline(true);
    await page.evaluate(() => storage.set('b', 2));
    await shows('1 pending');
    await context.setOffline(false);
    await shows('online, 0 pending');
    // React asks for the status again and again; only a change may make it render.
    expect(await page.evaluate(() => Reflect.get(globalThis, 'renders'))).toBeLessThan(30);
    await context.close();
  } finally {
    await site.close();
    await server.stop();
  }
});
