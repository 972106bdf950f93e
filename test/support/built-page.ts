/** A build of the web app that is served, and a Chromium to show it. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { Browser } from 'playwright';
import { build, preview } from 'vite';
import { launchChromium } from './library-page.ts';
import { freePort } from './ports.ts';

const root = resolve(import.meta.dirname, '../..');

export interface BuiltPage {
  readonly url: string;
  readonly browser: Browser;
  /** For files of the tests; it goes when this is closed. */
  readonly folder: string;
  close(): Promise<void>;
}

export async function startBuiltPage(): Promise<BuiltPage> {
  const folder = await mkdtemp(join(tmpdir(), 'storage-page-'));
  const common = {
    root: join(root, 'examples/web'),
    configFile: false,
    base: './',
    logLevel: 'warn',
  } as const;
  const outDir = join(folder, 'page');
  await build({
    ...common,
    resolve: { alias: { '@codeforge/storage': join(root, 'src/index.ts') } },
    build: { outDir, emptyOutDir: true },
  });
  const app = await preview({
    ...common,
    build: { outDir },
    preview: { host: '127.0.0.1', port: await freePort() },
  });
  const browser = await launchChromium();
  return {
    url: app.resolvedUrls?.local[0] ?? '',
    browser,
    folder,
    async close() {
      await browser.close();
      await app.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
