/**
 * A real Chromium with its profile on disk: a fresh one, removed afterwards.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type BrowserContext, chromium } from 'playwright';
import { chromiumPath, chromiumSkipReason } from '../../test/support/library-page.ts';

export interface RunningChromium {
  readonly context: BrowserContext;
  readonly version: string;
  close(): Promise<void>;
}

/** @throws {Error} Where there is no Chromium. */
export async function launchOnDisk(): Promise<RunningChromium> {
  if (chromiumSkipReason !== undefined) throw new Error(`${chromiumSkipReason}: set CHROMIUM_PATH`);
  const profile = await mkdtemp(join(tmpdir(), 'codeforge-bench-profile-'));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: chromiumPath,
    args: [
      '--no-sandbox',
      '--disable-background-networking',
      '--enable-precise-memory-info',
      '--js-flags=--expose-gc',
    ],
  });
  return {
    context,
    version: `Chromium ${context.browser()?.version() ?? ''}`.trim(),
    async close() {
      await context.close();
      await rm(profile, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}
