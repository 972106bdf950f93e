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
  {
    // Seed 62: what was told while it was queued is told again by its revision, where the listener reads its key again.
    fault: 'the sync data is deleted while writes are queued: a value is told once more',
    kinds: ['told twice'],
    shape: /^watch [\s\S]*^delete-sync-data |^delete-sync-data [\s\S]*^watch /m,
  },
  {
    // Seeds 124 and 201412; docs/guarantees.md, 5.4.
    fault: 'the disk is full: what the mirror had to forget is told again when there is room',
    kinds: ['told twice', 'told in a wrong order'],
    shape: /^watch [\s\S]*^disk .*"isFull":true|^disk .*"isFull":true[\s\S]*^watch /m,
  },
];

/** The fault that explains a violation. */
export const faultOf = (text: string, { kind }: Violation): string | undefined =>
  KNOWN_FAULTS.find(({ kinds, shape }) => kinds.includes(kind) && shape.test(text))?.fault;

/** The violations that no known fault explains. */
export const unexplained = (text: string, violations: readonly Violation[]): Violation[] =>
  violations.filter((violation) => faultOf(text, violation) === undefined);
