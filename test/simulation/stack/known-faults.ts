/**
 * Which generated runs break a promise on the present code, and by which fault of known-cases.ts.
 *
 * Whoever mends a fault removes its lines. `npm run simulate -- --all` and `--seeds` name the faults, and what no line explains.
 */
import type { Kind, Violation } from './oracle.ts';

/** A fault and the runs that show it. */
interface KnownFault {
  readonly fault: string;
  readonly kinds: readonly Kind[];
  /** Found in the name of a small world, or in the text of a random program. */
  readonly shape: RegExp;
}

const KNOWN_FAULTS: readonly KnownFault[] = [
  { fault: 'A2', kinds: ['false missing', 'stale read', 'lost', 'diverged'], shape: /^delete-sync-data/m },
  { fault: 'A11, A12', kinds: ['limit', 'hang'], shape: /^freeze/m },
  { fault: 'S4', kinds: ['false missing'], shape: /^disk \w .*"isFull":true/m },
  { fault: 'S5, S6', kinds: ['lost', 'not recovered', 'status', 'diverged'], shape: /^power-cut/m },
  { fault: 'A8, S2', kinds: ['limit'], shape: /401|503|silent|slow/ },
];

/** The fault that explains a violation. */
export const faultOf = (text: string, { kind }: Violation): string | undefined =>
  KNOWN_FAULTS.find(({ kinds, shape }) => kinds.includes(kind) && shape.test(text))?.fault;

/** The violations that no known fault explains. */
export const unexplained = (text: string, violations: readonly Violation[]): Violation[] =>
  violations.filter((violation) => faultOf(text, violation) === undefined);
