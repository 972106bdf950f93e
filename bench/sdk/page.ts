/**
 * The page of the bench: it connects contestants and times one workload at a time.
 */
import { CONNECT, type ContestantName, type KeyValue } from './contestants.ts';
import { keysOf } from './data.ts';
import { WORK, type WorkName } from './workloads.ts';

/** One timed piece of work. */
export interface Task {
  readonly contestant: ContestantName;
  /** Its server, without a trailing slash. */
  readonly url: string;
  readonly work: WorkName;
  /** How the keys begin. */
  readonly prefix: string;
  readonly count: number;
  readonly version: number;
}

declare global {
  var sdkBench: {
    connect(contestant: ContestantName, url: string): Promise<void>;
    /** Milliseconds. Throws when what was read is wrong. */
    time(task: Task): Promise<number>;
  };
}

const connected = new Map<string, KeyValue>();

/** Make `sdkBench` known: the package says that its modules have no side effects, so an import alone would do nothing. */
export function install(): void {
  globalThis.sdkBench = {
    async connect(contestant, url) {
      connected.set(contestant + url, await CONNECT[contestant](url));
    },
    async time({ contestant, url, work, prefix, count, version }) {
      const keyValue = connected.get(contestant + url);
      if (keyValue === undefined) throw new Error(`${contestant} is not connected to ${url}`);
      const run = WORK[work](keyValue, keysOf(prefix, count), version);
      const begun = performance.now();
      const check = await run();
      const ms = performance.now() - begun;
      check?.();
      return ms;
    },
  };
}
