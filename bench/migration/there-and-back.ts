/**
 * One load, from a page's IndexedDB to a server and back into an empty database, each way by the library and by a loop.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Readable } from 'node:stream';
import type { ReadableStream } from 'node:stream/web';
import type { Page } from 'playwright';
import type { RunningServer } from '../../test/support/running-server.ts';
import { startTypescriptServer } from '../../test/support/typescript-server.ts';
import type { RunningChromium } from '../browser/chromium.ts';
import { type Peak, watchHeap } from './heap.ts';
import type { Copy, Direction } from './page.ts';
import { createCheck, type Size } from './values.ts';

export interface Load {
  readonly size: Size;
  readonly count: number;
  /** How many of them the loop copies: the first ones. */
  readonly each: number;
}

/** A migration, measured. */
export interface Migrated {
  readonly load: Load;
  readonly direction: Direction;
  readonly ms: number;
  readonly peak: Peak;
  /** Milliseconds that the loop took for its keys. */
  readonly eachMs: number;
}

/**
 * @param url Of the page.
 * @throws {Error} Where a key was lost or changed, or the library counts another number of them.
 */
export async function thereAndBack(
  load: Load,
  { context }: RunningChromium,
  url: string,
): Promise<Migrated[]> {
  const { size, count, each } = load;
  const folder = await mkdtemp(join(tmpdir(), 'codeforge-bench-'));
  const servers: RunningServer[] = [];
  const start = async (name: string): Promise<RunningServer> => {
    const server = await startTypescriptServer({ databasePath: join(folder, `${name}.db`) });
    servers.push(server);
    return server;
  };
  const page = await context.newPage();
  page.on('pageerror', (error) => process.stderr.write(`${error.stack ?? error}\n`));
  const run = <T>(work: () => Promise<T>): Promise<T> => afresh(page, url).then(work);
  const check = (database: string): Promise<number> =>
    page.evaluate(([database, size]) => migrationBench.check(database, size), [database, size] as const);
  try {
    await run(() =>
      page.evaluate(([size, count]) => migrationBench.fill('full', size, count), [size, count] as const),
    );
    const aside = await start('aside');
    const server = await start('server');
    const away = { direction: 'to the server', database: 'full' } as const;
    const back = { direction: 'to IndexedDB', url: server.url } as const;

    const eachAway = await run(() => copyEach(page, { ...away, url: aside.url, count: each }));
    expectAll(each, await checkServer(aside, size));
    await aside.stop();
    const there = await run(() => migrate(page, { ...away, url: server.url, count }));
    expectAll(count, await checkServer(server, size));

    const eachBack = await run(() => copyEach(page, { ...back, database: 'aside', count: each }));
    expectAll(each, await check('aside'));
    const again = await run(() => migrate(page, { ...back, database: 'back', count }));
    expectAll(count, await check('back'));

    return [
      { load, direction: away.direction, ...there, eachMs: eachAway },
      { load, direction: back.direction, ...again, eachMs: eachBack },
    ];
  } finally {
    await page.close();
    await Promise.all(servers.map((server) => server.stop()));
    await rm(folder, { recursive: true, force: true });
  }
}

/** The page as it is when it was just loaded: nothing is left of what it did. */
async function afresh(page: Page, url: string): Promise<void> {
  await page.goto(url);
  await page.waitForFunction(() => 'migrationBench' in globalThis, undefined, { timeout: 10_000 });
}

const copyEach = (page: Page, copy: Copy): Promise<number> =>
  page.evaluate((copy) => migrationBench.copyEach(copy), copy);

async function migrate(page: Page, copy: Copy): Promise<{ readonly ms: number; readonly peak: Peak }> {
  await page.evaluate((copy) => migrationBench.open(copy), copy);
  const peakOf = await watchHeap(page);
  const { ms, verified } = await page.evaluate(() => migrationBench.migrate());
  const peak = await peakOf();
  expectAll(copy.count, verified);
  return { ms, peak };
}

/** Look at what a server exports. Returns the number of its entries. */
async function checkServer({ url }: RunningServer, size: Size): Promise<number> {
  const { body } = await fetch(`${url}/api/v1/export`);
  const check = createCheck(size, 'the server');
  let count = 0;
  for await (const line of createInterface({ input: Readable.fromWeb(body as ReadableStream) })) {
    const { key, value } = JSON.parse(line);
    if (key !== undefined) count = check(key, value);
  }
  return count;
}

function expectAll(wanted: number, found: number): void {
  if (found !== wanted) throw new Error(`${found} entries where ${wanted} were to be`);
}
