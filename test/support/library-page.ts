/**
 * Pages of a real Chromium, driven from Node, that hold the library: for what a page cannot do to itself, such as having
 * its quota lowered.
 */
import { fileURLToPath } from 'node:url';
import { type Browser, chromium } from 'playwright';
import { createServer, type ViteDevServer } from 'vite';
import type * as Library from '../../src/index.ts';
import { browserPath, ENGINES } from './browsers.ts';

declare global {
  /** The library, on a library page. */
  var library: typeof Library;
}

const root = fileURLToPath(new URL('../..', import.meta.url));

const found = browserPath('chromium');

/** Where Chromium is. Where there is none, the path at which it is missing. */
export const chromiumPath = found ?? process.env.CHROMIUM_PATH ?? String(ENGINES.chromium.paths[0]);

/** Why tests that need Chromium are skipped; `undefined` where they can run. */
export const chromiumSkipReason = found === undefined ? `no Chromium at ${chromiumPath}` : undefined;

/** Start Chromium, with its profile in memory. */
export const launchChromium = (): Promise<Browser> =>
  chromium.launch({
    executablePath: chromiumPath,
    args: ['--no-sandbox', '--disable-background-networking'],
  });

/** Serve an empty page that holds the library as `globalThis.library`. Returns the server and the page's address. */
export async function serveLibrary(): Promise<{ server: ViteDevServer; url: string }> {
  const server = await createServer({
    root,
    configFile: false,
    logLevel: 'error',
    server: { host: '127.0.0.1', port: 0, hmr: false, watch: null },
    optimizeDeps: { noDiscovery: true, include: ['idb-keyval', 'ky', 'devalue', 'eventsource-parser'] },
    plugins: [
      {
        name: 'library-page',
        configureServer({ middlewares }) {
          middlewares.use('/library-page', (_, response) => {
            response.setHeader('content-type', 'text/html');
            response.end(
              '<!doctype html><script type="module">globalThis.library = await import("/src/index.ts");</script>',
            );
          });
        },
      },
    ],
  });
  await server.listen();
  return { server, url: `${server.resolvedUrls?.local[0]}library-page` };
}
