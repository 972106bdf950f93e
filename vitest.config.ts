import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { playwright } from '@vitest/browser-playwright';
import { defineConfig } from 'vitest/config';

const source = fileURLToPath(new URL('./src/index.ts', import.meta.url));
const chromium = process.env.CHROMIUM_PATH ?? '/usr/bin/chromium';

export default defineConfig({
  resolve: { alias: { '@codeforge/storage': source } },
  test: {
    reporters: ['default', './test/support/reporter.ts'],
    // One more than the cores of a small machine: most tests wait for servers.
    maxWorkers: 3,
    projects: [
      {
        extends: true,
        test: {
          name: 'node',
          include: ['test/{unit,remote,sync}/**/*.test.ts', 'test/contract/{indexeddb,level0}.test.ts'],
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
            'test/{servers,web,docs,conformance,matrix,faults,offline,cli,migration}/**/*.test.ts',
            'test/contract/flask.test.ts',
          ],
          setupFiles: ['fake-indexeddb/auto'],
          globalSetup: ['test/support/servers.ts'],
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
      {
        extends: true,
        optimizeDeps: { include: ['idb-keyval', 'ky', 'devalue', 'fast-check'] },
        test: {
          name: 'chromium',
          include: ['test/browser/**/*.test.ts', 'test/contract/{indexeddb,flask,sync}.test.ts'],
          globalSetup: ['test/support/servers.ts'],
          browser: {
            enabled: true,
            headless: true,
            screenshotFailures: false,
            provider: playwright({
              launchOptions: existsSync(chromium) ? { executablePath: chromium } : {},
            }),
            instances: [{ browser: 'chromium', name: 'chromium' }],
          },
        },
      },
    ],
  },
});
