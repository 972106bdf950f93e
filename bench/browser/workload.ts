/**
 * A workload: what each contestant does in one round, and the rounds of all of them in turns.
 *
 * Only the call of `timed` is measured. What comes before it and the check of the data after it are not.
 */
import { type Figures, inTurns } from '../harness/rounds.ts';
import type { Subject } from './subject.ts';

export interface Workload {
  readonly name: string;
  readonly rounds: number;
  /** Whether it is about the databases of many entries. */
  readonly large?: boolean;
  /** What a database holds before the first round. */
  prepare(subject: Subject): Promise<void>;
  /** One round; gives the milliseconds of its timed part. */
  round(subject: Subject, version: number): Promise<number>;
  takesPart?(subject: Subject): boolean;
}

/** Milliseconds that `work` takes, and what it returned. */
export async function timed<T>(work: () => Promise<T>): Promise<readonly [ms: number, result: T]> {
  globalThis.gc?.();
  const begun = performance.now();
  const result = await work();
  return [performance.now() - begun, result];
}

/** All rounds. None is spared for warming up: a median of seven does not see the first. */
export async function measure(
  { prepare, round, takesPart }: Workload,
  subjects: readonly Subject[],
  rounds: number,
): Promise<Figures> {
  const parts = subjects.filter((subject) => takesPart?.(subject) ?? true);
  for (const subject of parts) await prepare(subject);
  return inTurns(
    parts.map((subject) => {
      let version = 0;
      return {
        name: subject.library.name,
        round() {
          version += 1;
          return round(subject, version);
        },
      };
    }),
    rounds,
  );
}

/** A count as a reader wants it. */
export const shownCount = (count: number): string => count.toLocaleString('en');
