/**
 * How the one time limit of a call is divided between the server and the database of this device (docs/guarantees.md, 11).
 *
 * A call has a deadline. The server has to answer before it, so that time is left in which the call can be served here.
 */
import { type Deadline, deadlineWithOwnPart, remainingMs } from '../../core/time.ts';

/** The part of the time limit that is kept for the database of this device. */
const RESERVE = 0.2;
/** The part that a call which the server can serve waits for the database, while the outbox is known not to be empty. */
const PATIENCE_PENDING = 0.5;
/** A call waits at least so many milliseconds for the database, because disks may be slow: if the server can serve it, and if not. */
const LEAST_MS = 1000;
const LEAST_HERE_MS = 2000;

/** The limits of the calls of a storage. */
export interface Limits {
  /** Milliseconds for a request to the server. */
  readonly serverMs: number;
  /** By when the server has to have answered a call. */
  serverDeadline(deadline: Deadline): Deadline;
  /** Milliseconds for the question whether the server allows this caller anything, after it has refused a call. */
  questionMs(deadline: Deadline): number;
  /** Milliseconds that a call which the server can serve waits for the database. */
  databaseMs(deadline?: Deadline): number;
  /** Milliseconds in which a call is to be served here. */
  leftMs(deadline: Deadline): number;
}

/**
 * The limits of calls with a time limit of `timeout` milliseconds.
 *
 * @param isPending Whether the outbox is known not to be empty. Then calls wait longer for the database.
 * @param isSilent Whether calls have waited in vain for the database. Then no call after them waits longer than its own limit.
 */
export function createLimits(timeout: number, isPending: () => boolean, isSilent: () => boolean): Limits {
  const reserveMs = timeout * RESERVE;
  const atLeast = (ms: number): number => Math.min(timeout, Math.max(LEAST_MS, ms));
  const limits: Limits = {
    serverMs: timeout - reserveMs,
    serverDeadline: (deadline) => deadlineWithOwnPart(deadline - reserveMs, timeout),
    questionMs: (deadline) => remainingMs(limits.serverDeadline(deadline)),
    databaseMs(deadline = Number.POSITIVE_INFINITY) {
      const patienceMs = atLeast(isPending() ? timeout * PATIENCE_PENDING : reserveMs);
      return Math.min(patienceMs, limits.leftMs(deadline));
    },
    leftMs: (deadline) => Math.max(isSilent() ? 0 : LEAST_HERE_MS, remainingMs(deadline)),
  };
  return limits;
}
