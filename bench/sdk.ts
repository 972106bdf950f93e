/**
 * The SDK over HTTP beside one `fetch` a call and unstorage's HTTP driver, in a real Chromium page of another origin than
 * the servers, with latency added by a proxy that counts requests and bytes.
 */
import { readFile } from 'node:fs/promises';
import type { Section, Table } from './harness/report.ts';
import { type Measured, ratioTable, type Scale, shown, type Target, verdictsOf } from './harness/report.ts';
import { openArena } from './sdk/arena.ts';
import { LATENCIES, type Latency, PLAN } from './sdk/plan.ts';
import { type MeasuredRow, measureRow } from './sdk/rows.ts';

const ROUNDS = 7;
const QUICK_ROUNDS = 1;
const QUICK_LATENCIES: readonly Latency[] = [0, 20];
/** With `--quick` a row has this part of its calls. */
const QUICK_PART = 0.02;

const OTHERS = ['fetch', 'unstorage', 'ours, level 0'];
const PEERS = ['fetch', 'unstorage'];
const SCALE: Scale = { ours: 'ours', unit: 'ms', costs: true };

const NOTE = `The latency is added to the round trip on loopback, half of it in each direction. The page and the servers have different origins, and
Chromium opens 6 connections a host. \`ours\` (level 1), \`ours, level 0\` and \`fetch\` (one \`fetch\` a call) each have a reference server of their own, which answers when the
data is on the disk; \`unstorage\` is its HTTP driver with its own server, which keeps them in memory. Level 0 is the same server seen without its contract: it has no
batches but \`/import\`, so it is shown without a target. Before a page \`PUT\`s to a URL for the first time the browser asks the server (CORS): a URL a key means a request
more for each new key. Chromium took 1,000 waiting requests and refused 2,000 (ERR_INSUFFICIENT_RESOURCES), so what needs a request a key is measured with 1,000 at most.`;

export async function benchSdk(quick: boolean): Promise<Section> {
  const latencies = quick ? QUICK_LATENCIES : LATENCIES;
  const arena = await openArena(latencies);
  try {
    const byLatency = new Map<Latency, MeasuredRow[]>();
    for (const latency of latencies) {
      for (const { name, proxyOf } of arena.stands)
        await arena.page.evaluate(([name, url]) => globalThis.sdkBench.connect(name, url), [
          name,
          proxyOf(latency).url,
        ] as const);
      // Code is compiled and connections are open before anything counts.
      if (latency === 0 && !quick)
        for (const row of PLAN) await measureRow(arena, { row, latency, count: 64 }, 1);
      const rows: MeasuredRow[] = [];
      for (const row of PLAN) {
        const full = row.counts[latency];
        const count = quick ? Math.ceil(full * QUICK_PART) : full;
        if (full > 0)
          rows.push(await measureRow(arena, { row, latency, count }, quick ? QUICK_ROUNDS : ROUNDS));
      }
      byLatency.set(latency, rows);
    }
    return {
      title: 'SDK over HTTP, in a page',
      versions: [arena.browser, `unstorage ${await versionOf('unstorage')}`],
      tables: [
        ...[...byLatency].map(([latency, rows], i) =>
          ratioTable(
            `${latency} ms of latency added to a round trip`,
            OTHERS,
            measuredOf(rows, latency),
            SCALE,
            i === 0 ? NOTE.replaceAll('\n', ' ') : undefined,
          ),
        ),
        trafficTable(byLatency.get(0) ?? []),
      ],
      verdicts: [...byLatency].flatMap(([latency, rows]) => verdictsOf(measuredOf(rows, latency), SCALE)),
    };
  } finally {
    await arena.close();
  }
}

const measuredOf = (rows: readonly MeasuredRow[], latency: Latency): Measured[] =>
  rows.map(({ row, count, figures }) => ({
    workload: `${row.title(count)}, ${latency} ms`,
    figures,
    targets: targetsOf(row.work === 'setTurn' && latency === 20),
  }));

const targetsOf = (leading: boolean): Target[] =>
  leading ? [{ than: 'fetch', atLeast: 50 }] : [{ than: 'best', atLeast: 0.95, among: PEERS }];

function trafficTable(rows: readonly MeasuredRow[]): Table {
  const names = [SCALE.ours, ...OTHERS];
  return {
    title: 'Requests, and kB up and down',
    note: 'One round without added latency, counted by the proxy, including headers and preflights.',
    header: ['Workload', ...names],
    rows: rows.map(({ row, count, traffic }) => [
      row.title(count),
      ...names.map((name) => {
        const counted = traffic.get(name);
        if (counted === undefined) return '–';
        const { requests, kilobytesUp, kilobytesDown } = counted;
        return `${shown(requests)}; ${shown(kilobytesUp)}; ${shown(kilobytesDown)}`;
      }),
    ]),
  };
}

async function versionOf(name: string): Promise<string> {
  const text = await readFile(new URL(`../node_modules/${name}/package.json`, import.meta.url), 'utf8');
  return JSON.parse(text).version;
}
