/**
 * The page's side of the browser bench: all contestants in one page, called by bench/browser.ts, a workload a time.
 */
import { library as byHand } from './contestants/by-hand.ts';
import { library as dexie } from './contestants/dexie.ts';
import { library as idb } from './contestants/idb.ts';
import { library as idbKeyval } from './contestants/idb-keyval.ts';
import { library as localForage } from './contestants/localforage.ts';
import { library as ours } from './contestants/ours.ts';
import { library as unstorage } from './contestants/unstorage.ts';
import { keyOf, textOf } from './data.ts';
import type { Library } from './key-value.ts';
import { openLarge, openSubject, resolvesOnComplete, type Subject } from './subject.ts';
import { measure, type Workload } from './workload.ts';
import { singleCalls } from './workloads.ts';
import { heapOfReading, largeCount, largeWorkloads } from './workloads-large.ts';

const LIBRARIES = [ours, idbKeyval, localForage, dexie, idb, unstorage, byHand];

/** A figure a contestant. */
type Row<T> = Array<[contestant: string, figures: T]>;

/** What the bench asks the page for. */
export interface BenchPage {
  names(scale: number): string[];
  run(name: string, scale: number, rounds: number | undefined): Promise<Row<number[]>>;
  /** MB, a contestant each. */
  heap(scale: number): Promise<Row<number>>;
  durable(): Promise<Row<boolean>>;
  /** Leave one value in each database, for the cold starts. */
  leaveOne(): Promise<void>;
}

declare global {
  var benchPage: BenchPage;
}

const workloadsOf = (scale: number): Workload[] => [...singleCalls(scale), ...largeWorkloads(scale)];

/** Opens all contestants when they are first asked for. */
function subjects(open: (library: Library) => Promise<Subject>): () => Promise<Subject[]> {
  let opened: Promise<Subject[]> | undefined;
  return () => {
    opened ??= Promise.all(LIBRARIES.map(open));
    return opened;
  };
}

const small = subjects(openSubject);
const large = subjects(openLarge);

export const page: BenchPage = {
  names: (scale) => workloadsOf(scale).map(({ name }) => name),
  async run(name, scale, rounds) {
    const workload = workloadsOf(scale).find((known) => known.name === name);
    if (!workload) throw new Error(`There is no workload ${name}`);
    const figures = await measure(
      workload,
      await (workload.large ? large : small)(),
      rounds ?? workload.rounds,
    );
    return [...figures].map(([contestant, list]) => [contestant, [...list]]);
  },
  async heap(scale) {
    const row: Row<number> = [];
    for (const subject of await large())
      if (!subject.library.readsAllSingly)
        row.push([subject.library.name, await heapOfReading(subject, largeCount(scale))]);
    return row;
  },
  async durable() {
    const row: Row<boolean> = [];
    for (const library of LIBRARIES) row.push([library.name, await resolvesOnComplete(library)]);
    return row;
  },
  async leaveOne() {
    for (const { keyValue } of await small()) {
      await keyValue.clear();
      await keyValue.set(keyOf(0), textOf(0, 0));
    }
  },
};
