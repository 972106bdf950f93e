/**
 * The IndexedDB backend beside other libraries over IndexedDB, and beside IndexedDB written by hand, in a real Chromium.
 *
 * All contestants live in one page and take turns there; only cold starts have a page each. `BENCH_ONLY=<regular
 * expression>` runs the workloads alone whose names it matches, `BENCH_ROUNDS=<count>` another number of rounds.
 */
import type { Page } from 'playwright';
import { bundlePage, type Files } from './browser/bundle.ts';
import { type RunningChromium, withChromium } from './browser/chromium.ts';
import { textOf } from './browser/data.ts';
import { serveFiles } from './browser/serve.ts';
import { versionsOf } from './browser/versions.ts';
import {
  type Measured,
  ratioTable,
  type Scale,
  type Section,
  shown,
  type Target,
  verdictsOf,
} from './harness/report.ts';
import { type Figures, inTurns } from './harness/rounds.ts';

const OURS = 'ours';
const BY_HAND = 'by hand';
const PEERS = ['idb-keyval', 'localForage', 'Dexie', 'idb', 'unstorage'];
const SCALE: Scale = { ours: OURS, unit: 'ms', costs: true };

/** Each contestant and its file. */
const FILES: ReadonlyMap<string, string> = new Map([
  [OURS, 'ours'],
  ['idb-keyval', 'idb-keyval'],
  ['localForage', 'localforage'],
  ['Dexie', 'dexie'],
  ['idb', 'idb'],
  ['unstorage', 'unstorage'],
  [BY_HAND, 'by-hand'],
]);

const COLD_START = 'cold start: page load to first value';
const COLD_ROUNDS = 11;

/** Which workloads are run. */
const ONLY = new RegExp(process.env.BENCH_ONLY ?? '');

/** Part of the counts that a quick run has. */
const QUICK_SCALE = 0.05;

/** Milliseconds that one workload may take. */
const WORKLOAD_LIMIT = 300_000;

const than = (peer: string, atLeast: number): Target => ({ than: peer, atLeast });

/** Targets by the beginning of a workload's name, without its count; every other one has {@link ELSE}. */
const TARGETS: ReadonlyArray<readonly [name: RegExp, targets: readonly Target[]]> = [
  [/^[\d,]+ sets in one turn/, [than('idb-keyval', 6), than(BY_HAND, 0.9)]],
  [/^[\d,]+ mixed/, [than('idb-keyval', 5)]],
  [/^[\d,]+ gets in one turn/, [than('idb-keyval', 1.8)]],
  [/^[\d,]+ concurrent loops/, [than('idb-keyval', 3)]],
  [/hot key/, [than('idb-keyval', 5)]],
  [/^[\d,]+ gets, each awaited/, [than('idb-keyval', 1.2)]],
  [/^[\d,]+ sets, each awaited/, [than('idb-keyval', 1.15)]],
];
const ELSE: readonly Target[] = [{ than: 'best', atLeast: 0.95, among: PEERS }];

const targetsOf = (workload: string): readonly Target[] =>
  TARGETS.find(([name]) => name.test(workload))?.[1] ?? ELSE;

export async function benchBrowser(quick: boolean): Promise<Section> {
  const rounds = quick ? 1 : Number(process.env.BENCH_ROUNDS) || undefined;
  const server = await serveFiles(await bundleAll());
  try {
    return await withChromium(async (chromium) => {
      const found = await inOnePage(chromium, `${server.url}/page/`, quick ? QUICK_SCALE : 1, rounds);
      if (ONLY.test(COLD_START)) {
        const figures = await coldStarts(chromium, server.url, rounds ?? COLD_ROUNDS);
        found.measured.push({ workload: COLD_START, figures, targets: targetsOf(COLD_START) });
      }
      return sectionOf(found, [
        chromium.version,
        ...(await versionsOf(['idb-keyval', 'localforage', 'dexie', 'idb', 'unstorage'])),
      ]);
    });
  } finally {
    await server.close();
  }
}

/** What the page of all contestants found. */
interface Found {
  readonly measured: Measured[];
  readonly heap: ReadonlyArray<readonly [contestant: string, megabytes: number]>;
  readonly durable: ReadonlyArray<readonly [contestant: string, onComplete: boolean]>;
}

async function inOnePage(
  { context }: RunningChromium,
  url: string,
  scale: number,
  rounds: number | undefined,
): Promise<Found> {
  const page = await context.newPage();
  page.on('pageerror', (error) => process.stderr.write(`${error.stack ?? error}\n`));
  await page.goto(url);
  await page.waitForFunction(() => 'benchPage' in globalThis, undefined, { timeout: 10_000 });
  const names = (await page.evaluate((scale) => benchPage.names(scale), scale)).filter((name) =>
    ONLY.test(name),
  );
  const measured: Measured[] = [];
  for (const workload of names) {
    const figures = await within(WORKLOAD_LIMIT, workload, runInPage(page, workload, scale, rounds));
    measured.push({ workload, figures, targets: targetsOf(workload) });
  }
  const heap = names.some((name) => name.startsWith('reading all'))
    ? await page.evaluate((scale) => benchPage.heap(scale), scale)
    : [];
  const durable = await page.evaluate(() => benchPage.durable());
  await page.evaluate(() => benchPage.leaveOne());
  await page.close();
  return { measured, heap, durable };
}

function sectionOf({ measured, heap, durable }: Found, versions: readonly string[]): Section {
  const ratios = ratioTable(
    'IndexedDB: how many times as fast ours is',
    [...PEERS, BY_HAND],
    measured,
    SCALE,
    noteOf(durable),
  );
  const memory = {
    title: 'Memory while all entries are read',
    note: 'Peak growth of the page’s JavaScript heap in MB, without garbage. One measurement each.',
    header: heap.map(([name]) => name),
    rows: [heap.map(([, megabytes]) => shown(megabytes))],
  };
  return {
    title: 'Browser',
    versions,
    tables: heap.length > 0 ? [ratios, memory] : [ratios],
    verdicts: verdictsOf(measured, SCALE),
  };
}

/** The page of all contestants, and one for the cold start of each. */
async function bundleAll(): Promise<Files> {
  const cold = [...FILES.values()].map((file) =>
    bundlePage(
      `cold/${file}`,
      `import { start } from './cold.ts';
       import { library } from './contestants/${file}.ts';
       globalThis.coldStart = start(library);`,
    ),
  );
  const pages = await Promise.all([
    bundlePage('page', `import { page } from './page.ts'; globalThis.benchPage = page;`),
    ...cold,
  ]);
  return new Map(pages.flatMap((files) => [...files]));
}

async function runInPage(
  page: Page,
  workload: string,
  scale: number,
  rounds: number | undefined,
): Promise<Figures> {
  const begun = performance.now();
  const row = await page.evaluate(([name, scale, rounds]) => benchPage.run(name, scale, rounds), [
    workload,
    scale,
    rounds,
  ] as const);
  process.stderr.write(`${workload}: ${((performance.now() - begun) / 1000).toFixed(1)} s\n`);
  return new Map(row);
}

/** A new page a start, over a database that holds a value. */
async function coldStarts({ context }: RunningChromium, url: string, rounds: number): Promise<Figures> {
  const wanted = textOf(0, 0);
  const contestants = [...FILES].map(([name, file]) => ({
    name,
    async round() {
      const page = await context.newPage();
      try {
        await page.goto(`${url}/cold/${file}/#bench-${name.replace(' ', '-')}`);
        await page.waitForFunction(() => 'coldStart' in globalThis, undefined, { timeout: 10_000 });
        const { ms, value } = await page.evaluate(() => coldStart);
        if (value !== wanted) throw new Error(`${name} read ${JSON.stringify(value)} at its cold start`);
        return ms;
      } finally {
        await page.close();
      }
    },
  }));
  for (const { round } of contestants) await round();
  return inTurns(contestants, rounds);
}

const noteOf = (durable: ReadonlyArray<readonly [name: string, onComplete: boolean]>): string => {
  const early = durable.filter(([, onComplete]) => !onComplete).map(([name]) => name);
  return [
    'Values have 1 KB unless the row says otherwise. The browser profile is on disk. Each ratio is computed within a round; the table shows the median and the quartiles.',
    early.length > 0
      ? `Writes resolve before their transaction is complete: ${early.join(', ')}.`
      : 'Every library’s writes resolve when their transaction is complete, which was verified.',
    '“In one turn” means calls that do not wait for each other, such as those of independent parts of an app; “by hand” is one hand-written transaction. Bulk methods of the libraries are in the rows setMany and getMany.',
    'localForage and unstorage use one transaction for each key. They are therefore omitted in setMany and getMany, and unstorage also where all entries are read.',
    'Databases of 100,000 entries are filled without the libraries. Libraries that store plain values read the same database.',
  ].join(' ');
};

async function within<T>(limit: number, what: string, work: Promise<T>): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} took more than ${limit} ms`)), limit);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
