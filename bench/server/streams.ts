/**
 * The reference server with 1,000 event streams of the tenant that is written: the writes beside none, and how long events take.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { startTypescriptServer } from '../../test/support/typescript-server.ts';
import { residentBytes } from '../harness/memory.ts';
import { type Measured, shown, type Table } from '../harness/report.ts';
import { inTurns, median } from '../harness/rounds.ts';
import type { Generator } from './load.ts';
import { load, type Peer, seed } from './measure.ts';
import type { StreamReport } from './peers/streams.ts';
import { OURS } from './servers.ts';

export const WITHOUT = 'the same without streams';

const STREAMS = 1000;

/** Changes per second while the time of events is measured. */
const RATE = 10;

/** Clock ticks in a second, in `/proc/<pid>/stat`. */
const TICKS = 100;

/** Clients of one server. */
class Streams {
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  /** Resolves when all streams are open, and have nothing to catch up with. */
  static async open(url: string): Promise<Streams> {
    const { epoch, seq } = await (await fetch(`${url}/health`)).json();
    const main = fileURLToPath(new URL('peers/streams.ts', import.meta.url));
    const env = { ...process.env, SERVER: url, SINCE: `${epoch}.${seq}`, STREAMS: String(STREAMS) };
    const child = fork(main, { env });
    await once(child, 'message');
    return new Streams(child);
  }

  async report(): Promise<StreamReport> {
    this.#child.send('report');
    const [report] = await once(this.#child, 'message');
    return report;
  }

  async close(): Promise<void> {
    const closed = once(this.#child, 'close');
    this.#child.kill('SIGKILL');
    await closed;
  }
}

/** Writes beside the streams and without them, and a table of what the streams get. */
export async function measureStreams(
  generator: Generator,
  time: number,
  rounds: number,
): Promise<{ readonly measured: Measured; readonly table: Table }> {
  // Loopback is one address, which may have half of the places.
  const server = await startTypescriptServer({ env: { MAX_WAITING: String(2 * STREAMS) } });
  try {
    const peer: Peer = { kind: OURS, url: server.url, pids: [server.pid] };
    await seed(peer);
    let round = 0;
    const writes = async (): Promise<number> => {
      round += 1;
      const { requests, seconds } = await load(generator, peer, 'put', `run-${round}`, time);
      return requests / seconds;
    };
    await writes();
    const beside = async (): Promise<number> => {
      const streams = await Streams.open(server.url);
      try {
        return await writes();
      } finally {
        await streams.close();
      }
    };
    const contestants = [
      { name: OURS.name, round: beside },
      { name: WITHOUT, round: writes },
    ];
    const workload = `PUT of a key that is there, beside ${STREAMS} event streams`;
    const measured = { workload, figures: await inTurns(contestants, rounds) };
    return { measured, table: await deliveryTable(server, time, rounds) };
  } finally {
    await server.stop();
  }
}

async function deliveryTable(
  { url, pid }: { readonly url: string; readonly pid: number },
  time: number,
  rounds: number,
): Promise<Table> {
  const streams = await Streams.open(url);
  const runs: Array<StreamReport & { readonly cpu: number; readonly memory: number }> = [];
  try {
    for (let i = 0; i < rounds; i += 1) {
      const before = await cpuSeconds(pid);
      const begun = performance.now();
      for (let n = 0; n < (time * RATE) / 1000; n += 1) {
        await write(url, `delivered-${n}`);
        await delay(Math.max(0, begun + ((n + 1) * 1000) / RATE - performance.now()));
      }
      const cpu = (await cpuSeconds(pid)) - before;
      const seconds = (performance.now() - begun) / 1000;
      runs.push({ ...(await streams.report()), cpu: cpu / seconds, memory: await residentBytes(pid) });
    }
  } finally {
    await streams.close();
  }
  const middle = (of: (run: (typeof runs)[number]) => number): string => shown(median(runs.map(of)));
  return {
    title: `${STREAMS} event streams, ${RATE} changes a second`,
    note: 'From just before a write is sent until its event has arrived, over all streams: medians of the rounds. Events of a stream are gathered for up to 50 ms.',
    header: ['p50, ms', 'p99, ms', 'CPU of the server, %', 'Memory of the server, MB'],
    rows: [
      [
        middle(({ p50 }) => p50),
        middle(({ p99 }) => p99),
        middle(({ cpu }) => 100 * cpu),
        middle(({ memory }) => memory / 1e6),
      ],
    ],
  };
}

async function write(url: string, key: string): Promise<void> {
  const response = await fetch(`${url}/api/storage/${key}`, {
    method: 'PUT',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ value: { at: performance.timeOrigin + performance.now() } }),
  });
  await response.body?.cancel();
  if (!response.ok) throw new Error(`PUT ${key} answered ${response.status}`);
}

/** CPU time that a process has used. */
async function cpuSeconds(pid: number): Promise<number> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8');
  // The name of the program, in parentheses, may contain spaces.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS;
}
