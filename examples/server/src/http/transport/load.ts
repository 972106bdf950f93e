/**
 * How much is worked on at once. More requests than that are refused at once, before their bodies are read, so that those
 * that were let in are finished. A request that only waits for a change costs little and is counted apart.
 *
 * Spec: docs/contract.md, 9 (503).
 */
import type { ServerResponse } from 'node:http';
import { type Answer, failure } from '../answers.ts';

/** Requests that may wait for changes at once. */
const MOST_WAITING = 1000;

/** The place of a request that was let in. */
export interface Place {
  /** From now on it waits. `false`: too many do. */
  wait(): boolean;
}

/** A counter in front of the routes. */
export interface Load {
  /** A place until the answer is sent or the caller is gone, or `undefined` where there is none. */
  admit(outgoing: ServerResponse): Place | undefined;
}

export function createLoad(maxRequests: number): Load {
  let working = 0;
  let waiting = 0;
  return {
    admit(outgoing) {
      if (working >= maxRequests) return undefined;
      working += 1;
      let leave = (): void => {
        working -= 1;
      };
      outgoing.once('close', () => leave());
      return {
        wait() {
          if (waiting >= MOST_WAITING) return false;
          leave();
          waiting += 1;
          leave = () => {
            waiting -= 1;
          };
          return true;
        },
      };
    },
  };
}

/** The answer to a request that has no place. */
export function busy(): Answer {
  return failure(503, 'Too many requests at once', { headers: { 'Retry-After': '1' } });
}
