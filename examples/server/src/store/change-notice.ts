/**
 * Notifies the listeners of a tenant of changes, also of those that other processes have made.
 *
 * The truth is a poll of the sequence numbers of all tenants that have listeners: one query for all of them. Hints between
 * processes only make it sooner, and a lost one costs at most the time of a poll.
 */
import type { Driver } from './driver.ts';

/** Milliseconds. */
const POLL_INTERVAL = 1000;

export interface ChangeNotice {
  /** This process has committed changes of the tenant. */
  committed(tenant: string): void;
  /** Calls `listener` after changes. Returns a function that ends this. */
  listen(tenant: string, listener: () => void): () => void;
  stop(): void;
}

/** What is known of a tenant that has listeners. */
interface Watched {
  readonly listeners: Set<() => void>;
  /** `undefined`: not polled yet, or the last poll failed. */
  seq: number | undefined;
}

export function createChangeNotice({ seqs, hints }: Pick<Driver, 'seqs' | 'hints'>): ChangeNotice {
  const watched = new Map<string, Watched>();
  let timer: ReturnType<typeof setTimeout> | undefined;
  let isStopped = false;

  const notify = (tenant: string): void => {
    for (const listener of [...(watched.get(tenant)?.listeners ?? [])]) listener();
  };
  hints?.receive(notify);

  async function poll(): Promise<void> {
    const tenants = [...watched.keys()];
    const found = tenants.length === 0 ? undefined : await seqs(tenants).catch(() => undefined);
    for (const tenant of tenants) {
      const state = watched.get(tenant);
      if (state === undefined) continue;
      // After a failed poll, nothing is known: listeners look themselves, and see the failure.
      const seq = found === undefined ? undefined : (found.get(tenant) ?? 0);
      const isNew = state.seq === undefined ? found !== undefined : state.seq !== seq;
      state.seq = seq;
      if (isNew) notify(tenant);
    }
    schedule();
  }

  function schedule(): void {
    timer = watched.size === 0 || isStopped ? undefined : setTimeout(poll, POLL_INTERVAL);
  }

  return {
    committed(tenant) {
      notify(tenant);
      hints?.send([tenant]);
    },
    listen(tenant, listener) {
      const state = watched.get(tenant) ?? { listeners: new Set(), seq: undefined };
      watched.set(tenant, state);
      state.listeners.add(listener);
      if (timer === undefined) schedule();
      return () => {
        if (state.listeners.delete(listener) && state.listeners.size === 0) watched.delete(tenant);
      };
    },
    stop() {
      isStopped = true;
      clearTimeout(timer);
    },
  };
}
