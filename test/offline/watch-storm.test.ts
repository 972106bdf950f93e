/**
 * `watch()` in a storm: two profiles of a real Chromium, four tabs and a worker, a real server behind a line that is cut at random bytes,
 * tabs that are closed and suspended, and a server that is killed. In the origin no change is missing, of the other profile no last value,
 * none is told twice, and none after a newer one (docs/guarantees.md, 5.4).
 *
 * `WATCH_STORM=5000` makes it whole: 5,000 changes each way and 50 cuts, in some minutes.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { Page } from 'playwright';
import { expect, it, onTestFinished } from 'vitest';
import type * as Library from '../../src/index.ts';
import type { StorageOptions } from '../../src/index.ts';
import { chromiumSkipReason } from '../support/library-page.ts';
import { offlineStage, rendererPid } from '../support/offline-page.ts';
import { startProxy, type TcpProxy } from '../support/proxy.ts';

const CHANGES = Number(process.env.WATCH_STORM ?? 300);
const isWhole = CHANGES >= 5000;
const CUTS = isWhole ? 50 : 6;
const KILLS = isWhole ? 5 : 1;
const CLOSED = isWhole ? 5 : 1;
const SUSPENDED = isWhole ? 3 : 1;
/** Long enough that another tab goes on. */
const SUSPENDED_MS = 13_000;

/** What a tab or a worker has heard, and what it writes. */
interface Listener {
  /**
   * Makes so many changes. Calls reject where neither the server nor the database answers, as beside a tab that is suspended in a
   * transaction. Returns the numbers of those writes, which may have arrived.
   */
  write(writer: string, count: number): Promise<number[]>;
  flush(): Promise<void>;
  report(): Report;
}
interface Report {
  readonly state: Record<string, string>;
  readonly faults: readonly string[];
  readonly told: readonly string[];
  /** Of each key the number from which on every change is to be told: the first one after the last `clear`. */
  readonly floors: Record<string, number>;
  readonly clears: number;
}
declare global {
  var listener: Listener;
}

/** Runs in a tab or a worker. Values are `<writer>.<number>`, and each key has one writer. */
function listen(library: typeof Library, options: StorageOptions): Listener {
  const storage = library.createStorage({ ...options, logger: false });
  const state: Record<string, string> = {};
  const last: Record<string, number> = {};
  const floors: Record<string, number> = {};
  const told = new Set<string>();
  let sinceClear = new Set<string>();
  const faults: string[] = [];
  let clears = 0;
  storage.watch(undefined, ({ type, key = '', value }) => {
    if (type === 'clear') {
      clears += 1;
      sinceClear = new Set();
      for (const one of Object.keys(state)) delete state[one];
      for (const one of Object.keys(floors)) delete floors[one];
    } else if (type === 'delete') faults.push(`${key} was deleted`);
    else {
      const text = String(value);
      const n = Number(text.split('.')[1]);
      if (sinceClear.has(text)) faults.push(`${text} twice`);
      if (n < (last[key] ?? -1)) faults.push(`${text} after ${last[key]}`);
      sinceClear.add(text);
      told.add(text);
      last[key] = n;
      floors[key] ??= n;
      state[key] = text;
    }
  });
  return {
    async write(writer, count) {
      const unsure: number[] = [];
      for (let n = 0; n < count + unsure.length; n += 1)
        await storage.set(`${writer}:${n % 20}`, `${writer}.${n}`).catch(() => {
          unsure.push(n);
          return new Promise((done) => setTimeout(done, 200));
        });
      return unsure;
    },
    flush: () => storage.flush(),
    report: () => ({ state, faults, told: [...told], floors, clears }),
  };
}

const stage = offlineStage();

const optionsOf = (proxy: TcpProxy): StorageOptions => ({
  useFlask: true,
  flaskUrl: proxy.url,
  database: 'storm',
  timeout: 5000,
  conflict: 'keep-local',
});
async function startIn(page: Page, proxy: TcpProxy): Promise<void> {
  await page.evaluate(
    ([source, options]) => {
      globalThis.listener = new Function(`return ${source}`)()(library, options);
    },
    [listen.toString(), optionsOf(proxy)] as const,
  );
}
/** A worker of a tab, which calls its listener by messages. */
async function startWorker(
  page: Page,
  proxy: TcpProxy,
): Promise<(call: string, ...given: unknown[]) => Promise<unknown>> {
  await page.evaluate(
    ([source, options]) => {
      const code = `
        const { createStorage } = await import(${JSON.stringify(new URL('/src/index.ts', location.href).href)});
        const listener = (${source})({ createStorage }, ${options});
        addEventListener('message', async ({ data: [id, call, given] }) => postMessage([id, await listener[call](...given)]));
        postMessage(['ready']);`;
      const worker = new Worker(URL.createObjectURL(new Blob([code], { type: 'text/javascript' })), {
        type: 'module',
      });
      Object.assign(globalThis, { worker });
      return new Promise((ready) => worker.addEventListener('message', ready, { once: true }));
    },
    [listen.toString(), JSON.stringify({ ...optionsOf(proxy), logger: false })] as const,
  );
  let calls = 0;
  return (call, ...given) => {
    calls += 1;
    return page.evaluate(
      (message) =>
        new Promise((resolve) => {
          const { worker } = globalThis as unknown as { worker: Worker };
          const answered = ({ data: [id, result] }: MessageEvent): void => {
            if (id !== message[0]) return;
            worker.removeEventListener('message', answered);
            resolve(result);
          };
          worker.addEventListener('message', answered);
          worker.postMessage(message);
        }),
      [calls, call, given] as const,
    );
  };
}

it.skipIf(chromiumSkipReason)(
  'no change is missing, doubled or out of order, whatever is cut, closed, suspended and killed',
  async ({ annotate }) => {
    const begin = performance.now();
    const server = await stage.server();
    await server.start();
    const proxies = [await startProxy(server.url), await startProxy(server.url)] as const;
    onTestFinished(async () => {
      for (const proxy of proxies) await proxy.close();
    });
    const [one, two] = [await stage.profile(), await stage.profile()];
    const [a1, b1] = [await stage.tab(one), await stage.tab(two)];
    let a2 = await stage.tab(one);
    const b2 = await stage.tab(two);
    const pid = await rendererPid(b2);
    expect(await rendererPid(b1)).not.toBe(pid);
    for (const page of [a1, a2]) await startIn(page, proxies[0]);
    for (const page of [b1, b2]) await startIn(page, proxies[1]);
    const worker = await startWorker(a1, proxies[0]);
    for (const [i, page] of [a1, a2, b1, b2].entries())
      await page.evaluate((writer) => listener.write(writer, 1), `warm${i}`);
    // From now on a tab that is heard knows of the others.
    await delay(1000);

    let isOver = false;
    const done = { cuts: 0, kills: 0, closed: 0, suspended: 0 };
    const faults = [
      async () => {
        for (; done.cuts < CUTS && !isOver; done.cuts += 1)
          await proxies[done.cuts % 2]?.cutAfter(1 + Math.floor(Math.random() * 20_000));
      },
      async () => {
        for (; done.kills < KILLS; done.kills += 1) {
          await delay(4000);
          await server.kill();
          await delay(500);
          await server.start();
        }
      },
      async () => {
        for (; done.closed < CLOSED; done.closed += 1) {
          await delay(3000);
          await a2.close();
          a2 = await stage.tab(one);
          await startIn(a2, proxies[0]);
        }
      },
      async () => {
        for (; done.suspended < SUSPENDED; done.suspended += 1) {
          await delay(2000);
          process.kill(pid, 'SIGSTOP');
          await delay(SUSPENDED_MS).finally(() => process.kill(pid, 'SIGCONT'));
        }
      },
    ].map((fault) => fault());
    const half = CHANGES / 2;
    const write = (page: Page, writer: string, count: number): Promise<number[]> =>
      page.evaluate(([name, to]) => listener.write(name, to), [writer, count] as const);
    const unsure = await Promise.all([
      write(a1, 'a1', half),
      worker('write', 'worker', half) as Promise<number[]>,
      write(b1, 'b1', CHANGES),
    ]);
    // What is left of the cuts meets the requests that follow.
    for (let n = 0; done.cuts < CUTS; n += 1) {
      await write(a1, `more${n}`, 50);
      await write(b1, `rest${n}`, 50);
    }
    isOver = true;
    await Promise.all(faults);
    for (const page of [a1, b1])
      await expect
        .poll(
          () =>
            page.evaluate(() =>
              listener.flush().then(
                () => true,
                () => false,
              ),
            ),
          { timeout: 60_000 },
        )
        .toBe(true);
    await worker('flush');

    const reports = async (): Promise<Array<readonly [string, Report]>> => [
      ['a1', await a1.evaluate(() => listener.report())],
      ['worker', (await worker('report')) as Report],
      ['b1', await b1.evaluate(() => listener.report())],
      ['b2', await b2.evaluate(() => listener.report())],
    ];
    const truth = await server.entries();
    const wrongIn = ({ state }: Report): string[] =>
      // A tab that opened later knows what has changed since.
      Object.keys(truth).filter((key) => !key.startsWith('warm') && state[key] !== truth[key]);
    await expect
      .poll(
        async () =>
          (await reports()).flatMap(([name, report]) => wrongIn(report).map((key) => `${name}: ${key}`)),
        {
          timeout: 60_000,
          interval: 500,
        },
      )
      .toEqual([]);
    const found = await reports();
    const missing = (report: Report, writer: string, count: number, notSure: readonly number[]): string[] => {
      const told = new Set(report.told);
      return Array.from({ length: count + notSure.length }, (_, n) => n)
        .filter((n) => n >= (report.floors[`${writer}:${n % 20}`] ?? 0))
        .filter((n) => !told.has(`${writer}.${n}`) && !notSure.includes(n))
        .map((n) => `${writer}.${n}`);
    };
    const [fromA1 = [], fromWorker = [], fromB1 = []] = unsure;
    for (const [name, report] of found) {
      await annotate(`${name}: ${report.told.length} told, ${report.clears} times everything`);
      expect(report.faults).toEqual([]);
      if (name === 'a1' || name === 'worker') {
        expect(missing(report, 'a1', half, fromA1)).toEqual([]);
        expect(missing(report, 'worker', half, fromWorker)).toEqual([]);
      } else if (name === 'b1') expect(missing(report, 'b1', CHANGES, fromB1)).toEqual([]);
    }
    const seconds = (performance.now() - begin) / 1000;
    await annotate(
      `${CHANGES} changes each way, ${JSON.stringify(done)}, ${unsure.flat().length} writes rejected, ${seconds.toFixed(0)} s`,
    );
  },
  isWhole ? 1_200_000 : 120_000,
);
