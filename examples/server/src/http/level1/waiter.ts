/** Waits for a commit, until a time limit, or until the caller disconnects or the server stops. */
import type { ServerResponse } from 'node:http';
import type { Store } from '../../store/store.ts';

/** Waits for one caller. It notices every commit of the tenant from its creation on. */
export interface Waiter {
  /** Whether the caller is gone or the server is stopping. */
  readonly ended: boolean;
  /** Resolves after a commit (immediately if one came since the last call), at the end, or after `time` milliseconds. */
  next(time: number): Promise<void>;
  stop(): void;
}

export function createWaiter(
  store: Pick<Store, 'onCommit'>,
  tenant: string,
  outgoing: ServerResponse,
  stopping: AbortSignal,
): Waiter {
  let committed = false;
  let ended = stopping.aborted;
  let wake = (): void => {};
  const end = (): void => {
    ended = true;
    wake();
    stop();
  };
  const unsubscribe = store.onCommit(tenant, () => {
    committed = true;
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
      if (!committed && !ended) {
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, time);
          wake = () => {
            clearTimeout(timer);
            resolve();
          };
        });
      }
      committed = false;
    },
    stop,
  };
}
