import { fileURLToPath } from 'node:url';
import { playwright } from '@vitest/browser-playwright';
import { defineConfig, type TestProjectInlineConfiguration } from 'vitest/config';
import type { BrowserProviderOption } from 'vitest/node';
import { browserPath, type EngineName } from './test/support/browsers.ts';
import { webkit } from './test/support/webkit.ts';

const source = (path: string): string => fileURLToPath(new URL(`./src/${path}`, import.meta.url));

/** The tests that run inside a browser, in one engine. */
function inBrowser(browser: EngineName, provider: BrowserProviderOption): TestProjectInlineConfiguration {
  return {
    extends: true,
    optimizeDeps: {
      include: [
        'idb-keyval',
        'ky',
        'devalue',
        'eventsource-parser',
        'fast-check',
        'react',
        'react-dom/client',
        'react-dom/server',
      ],
    },
    test: {
      name: browser,
      include: ['test/browser/**/*.test.ts', 'test/contract/{indexeddb,flask,sync}.test.ts'],
      setupFiles: ['test/support/known-gaps.ts'],
      globalSetup: ['test/support/servers.ts'],
      testTimeout: 60_000,
      hookTimeout: 60_000,
      browser: {
        enabled: true,
        // The display of WebKitGTK is a virtual one.
        headless: browser !== 'webkit',
        screenshotFailures: false,
        provider,
        instances: [{ browser, name: browser }],
      },
    },
  };
}

/** Playwright drives the Firefox of a distribution only through a channel: it speaks WebDriver BiDi to it. */
const launched = (browser: EngineName, channel?: string): BrowserProviderOption => {
  const executablePath = browserPath(browser);
  return playwright({
    launchOptions: { ...(channel && { channel }), ...(executablePath && { executablePath }) },
  });
};

export default defineConfig({
  // An alias is for everything below it too: the longer one comes first.
  resolve: {
    alias: {
      '@codeforge/storage/adapters': source('adapters/index.ts'),
      '@codeforge/storage/observe': source('observe/index.ts'),
      '@codeforge/storage/react': source('react/index.ts'),
      '@codeforge/storage': source('index.ts'),
      // For Node.js it has a build for servers, in which nothing changes.
      'solid-js': fileURLToPath(new URL('./node_modules/solid-js/dist/solid.js', import.meta.url)),
    },
  },
  test: {
    reporters: ['default', './test/support/reporter.ts'],
    // One more than the cores of a small machine: most tests wait for servers.
    maxWorkers: 3,
    // A busy machine is slow. What comes is seen at once all the same.
    expect: { poll: { timeout: 20_000 } },
    projects: [
      {
        extends: true,
        test: {
          name: 'node',
          include: [
            'test/{unit,remote,sync,adapters,observe}/**/*.test.ts',
            'test/contract/{indexeddb,level0}.test.ts',
          ],
          setupFiles: ['fake-indexeddb/auto'],
          testTimeout: 20_000,
        },
      },
      {
        extends: true,
        test: {
          name: 'simulation',
          include: ['test/simulation/**/*.test.ts'],
        },
      },
      {
        extends: true,
        test: {
          name: 'servers',
          include: [
            'test/{servers,web,docs,deploy,conformance,matrix,faults,offline,cli,migration}/**/*.test.ts',
            'test/contract/flask.test.ts',
          ],
          setupFiles: ['fake-indexeddb/auto'],
          globalSetup: ['test/support/servers.ts'],
          testTimeout: 120_000,
          hookTimeout: 120_000,
        },
      },
      {
        // The packed package: the alias to the source is not used.
        test: {
          name: 'packages',
          include: ['test/packages/*.test.ts'],
          globalSetup: ['test/packages/setup.ts'],
          testTimeout: 120_000,
          hookTimeout: 60_000,
        },
      },
      inBrowser('chromium', launched('chromium')),
      inBrowser('firefox', launched('firefox', 'moz-firefox')),
      inBrowser('webkit', webkit(browserPath('webkit'))),
    ],
  },
});
