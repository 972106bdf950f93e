/** Waiting for a commit: until there is one, a time has passed, the caller has gone, or the server stops. */
import type { ServerResponse } from 'node:http';
import type { Store } from '../../store/store.ts';

/** Waits for one caller. It takes note of commits from the moment it is made. */
export interface Waiter {
  /** Whether waiting makes no sense any more. */
  readonly ended: boolean;
  /** Resolves when there was a commit since the last call, at once if so, and within `time` milliseconds. */
  next(time: number): Promise<void>;
  stop(): void;
}

export function createWaiter(
  store: Pick<Store, 'onCommit'>,
  outgoing: ServerResponse,
  stopping: AbortSignal,
): Waiter {
  let noticed = false;
  let ended = stopping.aborted;
  let wake = (): void => {};
  const end = (): void => {
    ended = true;
    wake();
    stop();
  };
  const unsubscribe = store.onCommit(() => {
    noticed = true;
    wake();
  });
  const stop = (): void => {
    unsubscribe();
    stopping.removeEventListener('abort', end);
    outgoing.off('close', end);
  };
  stopping.addEventListener('abort', end);
  outgoing.on('close', end);

  return {
    get ended() {
      return ended;
    },
    async next(time) {
      if (!noticed && !ended) {
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, time);
          wake = () => {
            clearTimeout(timer);
            resolve();
          };
        });
      }
      noticed = false;
    },
    stop,
  };
}
