/** React components over a storage, from the package, with the latest React and with the oldest one that the package supports. */
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
  import { createElement, version } from 'react';
  import { createRoot } from 'react-dom/client';

  globalThis.sdk = sdk;
  const flaskUrl = new URLSearchParams(location.search).get('server');
  globalThis.storage = sdk.createStorage({ useFlask: true, flaskUrl, logger: false });
  globalThis.reactVersion = version;
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

it.each([
  ['React 19', '.'],
  ['React 18', 'react-18'],
])('with %s the hooks show each status and each value, and render only for a change', async (name, app) => {
  const resolveDir = join(inject('packages').tools, app);
  const folder = await mkdtemp(join(resolveDir, 'react-app-'));
  await esbuild.build({
    stdin: { contents: APP, resolveDir },
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
    expect(`React ${await page.evaluate(() => Reflect.get(globalThis, 'reactVersion'))}`).toContain(name);
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
