/**
 * How much memory a page needs while it works, above what it needs before.
 *
 * Garbage is collected every second, so that what is seen then is what is live; in between it is seen with garbage.
 */
import type { Page } from 'playwright';
import { residentBytes } from '../harness/memory.ts';

/** Milliseconds between two looks. */
const SAMPLE = 50;
/** Looks from one collection to the next. */
const COLLECT = 20;

/** MB above idle, at most. */
export interface Peak {
  /** JavaScript heap, right after garbage was collected. */
  readonly live: number;
  /** JavaScript heap, garbage included. */
  readonly used: number;
  /** Resident memory of the page's process. */
  readonly resident: number;
}

/** Watch a page from now on; the function that is returned ends that. */
export async function watchHeap(page: Page): Promise<() => Promise<Peak>> {
  const session = await page.context().newCDPSession(page);
  const pid = await rendererOf(page);
  const used = async (): Promise<number> => (await session.send('Runtime.getHeapUsage')).usedSize;
  const collect = (): Promise<unknown> => session.send('HeapProfiler.collectGarbage');
  const look = async () => ({ used: await used(), resident: await residentBytes(pid) });

  await collect();
  const idle = await look();
  const peak = { live: idle.used, ...idle };
  let ended = false;
  const watching = (async () => {
    for (let looks = 1; !ended; looks += 1) {
      await new Promise((resolve) => setTimeout(resolve, SAMPLE));
      const now = await look();
      peak.used = Math.max(peak.used, now.used);
      peak.resident = Math.max(peak.resident, now.resident);
      if (looks % COLLECT > 0) continue;
      await collect();
      peak.live = Math.max(peak.live, await used());
    }
  })();
  return async () => {
    ended = true;
    await watching;
    await session.detach();
    const above = (bytes: number, before: number): number => (bytes - before) / 1e6;
    return {
      live: above(peak.live, idle.used),
      used: above(peak.used, idle.used),
      resident: above(peak.resident, idle.resident),
    };
  };
}

/** The process of the only page that a browser shows. */
async function rendererOf(page: Page): Promise<number> {
  const browser = page.context().browser();
  if (!browser) throw new Error('The browser is not known');
  const session = await browser.newBrowserCDPSession();
  const { processInfo } = await session.send('SystemInfo.getProcessInfo');
  await session.detach();
  const renderers = processInfo.filter(({ type }) => type === 'renderer');
  const sizes = await Promise.all(renderers.map(async ({ id }) => ({ id, bytes: await residentBytes(id) })));
  // A spare one, without a page, is smaller.
  const [largest] = sizes.sort((a, b) => b.bytes - a.bytes);
  if (!largest) throw new Error('The browser shows no page');
  return largest.id;
}
