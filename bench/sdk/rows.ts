/**
 * One row of the plan with one latency: the contestants in turns, their traffic counted, their data checked.
 */
import { type Figures, inTurns, median } from '../harness/rounds.ts';
import type { Arena, Stand } from './arena.ts';
import type { ContestantName } from './contestants.ts';
import { checkValue, keysOf, recordOf } from './data.ts';
import type { Latency, Row } from './plan.ts';

/** What went over the wire in a round. */
export interface Traffic {
  readonly requests: number;
  readonly kilobytesUp: number;
  readonly kilobytesDown: number;
}

export interface MeasuredRow {
  readonly row: Row;
  readonly count: number;
  /** Milliseconds. */
  readonly figures: Figures;
  /** Medians. */
  readonly traffic: ReadonlyMap<string, Traffic>;
}

interface Round {
  readonly row: Row;
  readonly latency: Latency;
  readonly count: number;
}

/** Keys of one page are used up: no two rounds take the same new ones. */
let used = 0;

export async function measureRow(arena: Arena, round: Round, rounds: number): Promise<MeasuredRow> {
  const { row, count } = round;
  const before = row.keys === 'stored' ? keysOf('stored', count).map((key) => recordOf(key, 0)) : [];
  const stands = arena.stands.filter(({ batches }) => batches || !row.batchesOnly);
  for (const stand of stands) await stand.fill(before);
  const seen = new Map<string, Traffic[]>(stands.map(({ name }) => [name, []]));
  const figures = await inTurns(
    stands.map((stand) => {
      let version = 0;
      return {
        name: stand.name,
        round: async () => {
          version += 1;
          const { ms, traffic } = await playRound(arena, stand, round, version);
          seen.get(stand.name)?.push(traffic);
          return ms;
        },
      };
    }),
    rounds,
  );
  return {
    row,
    count,
    figures,
    traffic: new Map([...seen].map(([name, rounds]) => [name, mediansOf(rounds)])),
  };
}

async function playRound(
  { page }: Arena,
  stand: Stand,
  { row, latency, count }: Round,
  version: number,
): Promise<{ ms: number; traffic: Traffic }> {
  const proxy = stand.proxyOf(latency);
  const prefix = row.keys === 'stored' ? 'stored' : `new-${used++}`;
  const before = { ...proxy.traffic };
  const task = {
    contestant: stand.name,
    url: proxy.url,
    work: row.work,
    prefix,
    count,
    version: row.work === 'getTurn' || row.work === 'getsAwaited' || row.work === 'getMany' ? 0 : version,
  };
  const ms = await within(ROUND_LIMIT, describe(stand.name, row, latency), () =>
    page.evaluate((task) => globalThis.sdkBench.time(task), task),
  );
  const traffic = {
    requests: proxy.traffic.requests - before.requests,
    kilobytesUp: (proxy.traffic.bytesUp - before.bytesUp) / 1000,
    kilobytesDown: (proxy.traffic.bytesDown - before.bytesDown) / 1000,
  };
  const stored = row.stored(keysOf(prefix, count), version);
  const keys = [...stored.keys()];
  const found = keys.length > 0 ? await stand.read(keys) : [];
  for (const [i, key] of keys.entries()) checkValue(found[i], key, stored.get(key) ?? 0);
  return { ms, traffic };
}

/** Milliseconds. */
const ROUND_LIMIT = 120_000;

const describe = (name: ContestantName, row: Row, latency: Latency): string =>
  `${name}, ${row.work} at ${latency} ms`;

async function within<T>(ms: number, what: string, work: () => Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} took over ${ms} ms`)), ms);
  });
  try {
    return await Promise.race([work(), late]);
  } finally {
    clearTimeout(timer);
  }
}

function mediansOf(rounds: readonly Traffic[]): Traffic {
  const of = (name: keyof Traffic): number => median(rounds.map((round) => round[name]));
  return {
    requests: of('requests'),
    kilobytesUp: of('kilobytesUp'),
    kilobytesDown: of('kilobytesDown'),
  };
}
