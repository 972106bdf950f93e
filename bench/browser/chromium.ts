/**
 * A real Chromium with its profile on disk: a fresh one, removed afterwards.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type BrowserContext, chromium } from 'playwright';
import { chromiumPath, chromiumSkipReason } from '../../test/support/library-page.ts';

/** A heap size that is up to date, and a garbage collection when it is asked for. */
const MEASURING = ['--enable-precise-memory-info', '--js-flags=--expose-gc'];

export interface RunningChromium {
  readonly context: BrowserContext;
  /** Its name and version. */
  readonly version: string;
}

/**
 * Run `work` with a Chromium that nothing was stored in yet.
 *
 * @throws {Error} Where there is no Chromium.
 */
export async function withChromium<T>(work: (chromium: RunningChromium) => Promise<T>): Promise<T> {
  if (chromiumSkipReason !== undefined) throw new Error(`${chromiumSkipReason}: set CHROMIUM_PATH`);
  const profile = await mkdtemp(join(tmpdir(), 'codeforge-bench-profile-'));
  try {
    const context = await chromium.launchPersistentContext(profile, {
      executablePath: chromiumPath,
      args: ['--no-sandbox', '--disable-background-networking', ...MEASURING],
    });
    try {
      return await work({ context, version: `Chromium ${context.browser()?.version()}` });
    } finally {
      await context.close();
    }
  } finally {
    await rm(profile, { recursive: true, force: true, maxRetries: 5 });
  }
}
