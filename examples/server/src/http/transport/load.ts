/**
 * Limits how many requests the server works on at once. It refuses further requests before it reads their bodies, so
 * that those under way can finish. A request that waits for changes costs little and is counted separately.
 *
 * Spec: docs/contract.md, 9 (503).
 */
import type { ServerResponse } from 'node:http';

/** Requests that may wait for changes at once. */
const MAX_WAITING = 1000;

/** The slot of one request. */
export interface LoadSlot {
  /** Counts the request as waiting from now on. Returns `false` when too many requests wait already. */
  wait(): boolean;
}

/** Counts the requests under way. */
export interface LoadLimit {
  /** Returns a slot that is held until the answer is sent or the caller is gone; `undefined` at the limit. */
  acquire(outgoing: ServerResponse): LoadSlot | undefined;
}

export function createLoadLimit(maxRequests: number): LoadLimit {
  let working = 0;
  let waiting = 0;
  return {
    acquire(outgoing) {
      if (working >= maxRequests) return undefined;
      working += 1;
      let release = (): void => {
        working -= 1;
      };
      outgoing.once('close', () => release());
      return {
        wait() {
          if (waiting >= MAX_WAITING) return false;
          release();
          waiting += 1;
          release = () => {
            waiting -= 1;
          };
          return true;
        },
      };
    },
  };
}
