/**
 * Servers under load, in turns: the reference server beside what else would be there to keep values behind HTTP, and
 * beside Node.js's own HTTP server doing nothing, which is the limit.
 *
 * 64 connections, values of 1 KB. All servers run all the while; each round loads one after the other, and then looks
 * at what they hold.
 */
import { readFile } from 'node:fs/promises';
import {
  type Measured,
  ratioTable,
  type Scale,
  type Section,
  shown,
  type Table,
  type Target,
  verdictsOf,
} from './harness/report.ts';
import { type Contestant, inTurns, median } from './harness/rounds.ts';
import { versionOf } from './server/command.ts';
import { ITSELF, measureDatabases } from './server/databases.ts';
import { findGenerator, type Generator } from './server/load.ts';
import { load, type Peer, type Run, seed, type Workload } from './server/measure.ts';
import { BARE, BATCH, FLASK, findKinds, type Kind, OURS, REDIS, UNSTORAGE } from './server/servers.ts';
import { measureStreams, WITHOUT } from './server/streams.ts';

const ROUNDS = 7;

/** Milliseconds of load. */
const TIME = 1000;
const QUICK_TIME = 200;
const STREAM_TIME = 3000;
const WARM_UP = 2000;

const WORKLOADS: Readonly<Record<Exclude<Workload, 'batch'>, { title: string; targets: readonly Target[] }>> =
  {
    get: {
      title: 'GET of a key that is there',
      targets: [
        { than: BARE.name, atLeast: 0.6 },
        { than: FLASK.name, atLeast: 9 },
        { than: UNSTORAGE.name, atLeast: 1 },
      ],
    },
    put: {
      title: 'PUT of a key that is there',
      targets: [
        { than: BARE.name, atLeast: 0.6 },
        { than: FLASK.name, atLeast: 35 },
      ],
    },
    create: {
      title: 'PUT of a new key',
      targets: [
        { than: BARE.name, atLeast: 0.6 },
        { than: FLASK.name, atLeast: 35 },
      ],
    },
  };

const STREAMS_NOTE =
  '64 connections write as fast as they can, and every write is sent to every stream: each PUT means 1,000 events of about 1 KB, ' +
  'whose clients run on the same machine.';

/** Our own PUTs one by one, beside our batches. */
const SINGLE = 'single PUTs';

const SCALE: Scale = { ours: OURS.name, unit: 'requests/s', costs: false };
const KEYS_SCALE: Scale = { ...SCALE, unit: 'keys/s' };

/** What a workload came to: beside its figures everything that was measured, of each contestant, a round each. */
type Result = Measured & { readonly runs: ReadonlyMap<string, readonly Run[]> };

export async function benchServer(quick: boolean): Promise<Section> {
  const generator = await findGenerator();
  const { kinds, leftOut } = await findKinds();
  const started: Started[] = [];
  try {
    for (const kind of kinds) started.push(await start(kind));
    // What is compiled while it runs is compiled now, in every process alike.
    if (!quick)
      for (const { peer } of started)
        for (const workload of ['get', 'put'] as const)
          await load(generator, peer, workload, 'warm-up', WARM_UP);
    const peers = started.map(({ peer }) => peer);
    const results: Result[] = [];
    for (const [workload, { title, targets }] of Object.entries(WORKLOADS))
      results.push(
        await measure(
          title,
          targets,
          peers.map((peer) => ({ name: peer.kind.name, peer, workload: workload as Workload })),
          { generator, quick },
        ),
      );
    const batches = await measure(
      `${BATCH} puts in a batch`,
      [{ than: SINGLE, atLeast: 5 }],
      peers.flatMap((peer): Entrant[] => [
        ...(peer.kind.batch ? [{ name: peer.kind.name, peer, workload: 'batch' as const }] : []),
        ...(peer.kind === OURS ? [{ name: SINGLE, peer, workload: 'put' as const }] : []),
      ]),
      { generator, quick },
    );
    const main = section(kinds, results, batches, leftOut, await versions(generator, kinds));
    // The other servers are gone by then: these have a database each.
    await Promise.all(started.splice(0).map(({ stop }) => stop()));
    const streams = await measureStreams(generator, quick ? QUICK_TIME : STREAM_TIME, quick ? 1 : ROUNDS);
    return {
      ...main,
      tables: [
        ...main.tables,
        await databaseTable(generator, quick),
        ratioTable('Event streams beside writes', [WITHOUT], [streams.measured], SCALE, STREAMS_NOTE),
        streams.table,
      ],
    };
  } finally {
    await Promise.all(started.map(({ stop }) => stop()));
  }
}

interface Started {
  readonly peer: Peer;
  stop(): Promise<unknown>;
}

async function start(kind: Kind): Promise<Started> {
  const { url, pid, pids = [pid], stop } = await kind.start();
  const peer = { kind, url, pids };
  try {
    await seed(peer);
  } catch (error) {
    await stop();
    throw error;
  }
  return { peer, stop };
}

/** A server and what is asked of it. */
interface Entrant {
  readonly name: string;
  readonly peer: Peer;
  readonly workload: Workload;
}

async function measure(
  workload: string,
  targets: readonly Target[],
  entrants: readonly Entrant[],
  { generator, quick }: { generator: Generator; quick: boolean },
): Promise<Result> {
  const runs = new Map<string, Run[]>();
  const contestants = entrants.map(({ name, peer, workload }): Contestant => {
    const own: Run[] = [];
    runs.set(name, own);
    return {
      name,
      async round() {
        const run = await load(generator, peer, workload, `run-${own.length}`, quick ? QUICK_TIME : TIME);
        own.push(run);
        return (run.requests * (workload === 'batch' ? BATCH : 1)) / run.seconds;
      },
    };
  });
  const figures = await inTurns(contestants, quick ? 1 : ROUNDS);
  return { workload, figures, runs, targets: targets.filter(({ than }) => figures.has(than)) };
}

function section(
  kinds: readonly Kind[],
  results: readonly Result[],
  batches: Result,
  leftOut: readonly string[],
  versions: readonly string[],
): Section {
  const others = kinds.filter((kind) => kind !== OURS);
  const durable = kinds.filter((kind) => kind.durable).map(({ name }) => name);
  const note = [
    `Requests per second of the reference server, divided by those of the other server: median and quartiles of the rounds.`,
    `On the disk before the answer: ${durable.join(', ')}; the others can lose a write.`,
    ...leftOut.map((reason) => `Left out: ${reason}.`),
  ];
  return {
    title: 'Server',
    versions,
    tables: [
      ratioTable(
        'Under load',
        others.map(({ name }) => name),
        results,
        SCALE,
        note.join(' '),
      ),
      ratioTable(
        'Batches',
        [SINGLE, FLASK.name],
        [batches],
        KEYS_SCALE,
        'The same ratio for keys per second.',
      ),
      latencyTable([...results, batches]),
    ],
    verdicts: [...verdictsOf(results, SCALE), ...verdictsOf([batches], KEYS_SCALE)],
  };
}

async function databaseTable(generator: Generator, quick: boolean): Promise<Table> {
  const { measured, leftOut } = await measureDatabases(
    generator,
    quick ? QUICK_TIME : TIME,
    quick ? 1 : ROUNDS,
  );
  const note = [
    'The server over a database server, beside that database itself: 64 connections, each of which reads or overwrites one row with one statement, without HTTP.',
    'Both have each write on the disk before it is answered. Writes of the server share commits.',
    ...leftOut.map((reason) => `Left out: ${reason}.`),
  ];
  return ratioTable('Over database servers', [ITSELF], measured, SCALE, note.join(' '));
}

function latencyTable(results: readonly Result[]): Table {
  const middle = (runs: readonly Run[], of: (run: Run) => number): string => shown(median(runs.map(of)));
  return {
    title: 'Latency and memory',
    note: 'Medians of the rounds. Memory is the resident memory of all processes of a server at the end of a run. It grows for servers that keep values in memory, and for Node.js while memory is plentiful.',
    header: ['Workload', 'Server', 'Keys/s', 'p50, ms', 'p99, ms', 'Memory, MB'],
    rows: results.flatMap(({ workload, figures, runs }) =>
      [...runs].map(([name, own]) => [
        workload,
        name,
        shown(median(figures.get(name) ?? [])),
        middle(own, ({ p50 }) => p50 / 1000),
        middle(own, ({ p99 }) => p99 / 1000),
        middle(own, ({ memory }) => memory / 1e6),
      ]),
    ),
  };
}

async function versions(generator: Generator, kinds: readonly Kind[]): Promise<string[]> {
  const named = async (name: string): Promise<string> => {
    const manifest = await readFile(new URL(`../node_modules/${name}/package.json`, import.meta.url), 'utf8');
    return `${name} ${JSON.parse(manifest).version}`;
  };
  const redis = kinds.some(({ name }) => name === REDIS.name)
    ? [`Redis ${await versionOf('redis-server', ['--version'])}`, 'webdis']
    : [];
  const packages = await Promise.all(['unstorage', 'h3', 'json-server'].map(named));
  return [generator.version, ...packages, ...redis];
}
