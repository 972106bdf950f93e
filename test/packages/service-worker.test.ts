/** The package in service workers of a real Chromium. */
import { copyFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Page } from 'playwright';
import { build } from 'vite';
import { afterAll, afterEach, beforeAll, expect, inject, it } from 'vitest';
import type { RunningServer } from '../support/running-server.ts';
import { startTypescriptServer } from '../support/typescript-server.ts';
import { newApp } from './bundlers.ts';
import { closeBrowser, type Site, serveFolder, visit } from './site.ts';

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

/** Answers a message, a server's URL, with what the calls gave; `sdk` is in scope. */
const WORKER = `
  self.addEventListener('install', () => self.skipWaiting());
  self.addEventListener('activate', (event) => event.waitUntil(self.clients.claim()));
  self.addEventListener('message', (event) => event.waitUntil(answer(event)));

  async function answer({ data, ports: [port] }) {
    const outcome = (promise) => promise.catch((error) =>
      ({ isStorageError: error instanceof sdk.StorageError, code: error.code, message: error.message }));
    const local = sdk.createStorage({ database: 'worker', logger: false });
    const remote = sdk.createStorage({ database: 'worker-remote', useFlask: true, flaskUrl: data, logger: false });
    port.postMessage({
      keyValue: await outcome((async () => {
        await local.set('value', { when: new Date(5) });
        const n = await local.update('n', (n) => (n ?? 0) + 1);
        return [(await local.get('value')).when.getTime(), n, await local.keys()];
      })()),
      exported: await outcome((async () => (await (await local.export({ as: 'blob' })).text()).trim().split('\\n').length)()),
      server: await outcome((async () => {
        await remote.set('value', { when: new Date(5) });
        return [(await remote.get('value')).when.getTime(), remote.getBackendType()];
      })()),
    });
    await Promise.all([local.close(), remote.close()]);
  }`;

/** A page that holds the package's main entry, and a worker beside it, both from one build. */
async function viteApp(entry: string): Promise<string> {
  const { source, output } = await newApp();
  await writeFile(
    join(source, 'app.js'),
    `import * as sdk from '@codeforge/storage'; globalThis.sdk = sdk; globalThis.storage = sdk.createStorage({ logger: false });`,
  );
  await writeFile(
    join(source, 'index.html'),
    '<!doctype html><script type="module" src="./app.js"></script>',
  );
  await writeFile(join(source, 'worker.js'), `import * as sdk from '${entry}';${WORKER}`);
  await build({
    root: source,
    configFile: false,
    logLevel: 'error',
    build: {
      outDir: output,
      emptyOutDir: true,
      rollupOptions: {
        input: { page: join(source, 'index.html'), worker: join(source, 'worker.js') },
        output: { entryFileNames: '[name].js' },
      },
    },
  });
  return output;
}

/** What the worker of a page answers. */
async function askWorker(page: Page, type: WorkerType): Promise<unknown> {
  return page.evaluate(
    async ({ type, url }) => {
      await navigator.serviceWorker.register('./worker.js', { type });
      const { active } = await navigator.serviceWorker.ready;
      const { port1, port2 } = new MessageChannel();
      const answer = new Promise((resolve) => {
        port1.onmessage = ({ data }) => resolve(data);
      });
      active?.postMessage(url, [port2]);
      return answer;
    },
    { type, url: server.url },
  );
}

const WORKS = { keyValue: [5, 1, ['n', 'value']], exported: 4, server: [5, 'flask'] };

it('the entry ./full works in a service worker that Vite built beside a page with the main entry', async () => {
  site = await serveFolder(await viteApp('@codeforge/storage/full'));
  const { context, page } = await visit(`${site.url}/`);
  expect(await askWorker(page, 'module')).toEqual(WORKS);
  await context.close();
});

it('the main entry there: what needs a part that is loaded later rejects, and the error names the entry ./full', async () => {
  site = await serveFolder(await viteApp('@codeforge/storage'));
  const { context, page } = await visit(`${site.url}/`);
  const refused = {
    isStorageError: true,
    code: 'unavailable',
    message: expect.stringContaining('@codeforge/storage/full'),
  };
  expect(await askWorker(page, 'module')).toEqual({
    keyValue: WORKS.keyValue,
    exported: refused,
    server: refused,
  });
  await context.close();
});

it('the global build works in a classic service worker', async () => {
  const { output } = await newApp();
  const file = 'codeforge-storage.global.js';
  await copyFile(
    join(inject('packages').alone, 'node_modules/@codeforge/storage/dist', file),
    join(output, file),
  );
  await writeFile(
    join(output, 'index.html'),
    `<!doctype html><script src="./${file}"></script><script>globalThis.sdk = CodeforgeStorage;</script>`,
  );
  await writeFile(
    join(output, 'worker.js'),
    `importScripts('./${file}'); const sdk = CodeforgeStorage;${WORKER}`,
  );
  site = await serveFolder(output);
  const { context, page } = await visit(`${site.url}/`);
  expect(await askWorker(page, 'classic')).toEqual(WORKS);
  await context.close();
});
