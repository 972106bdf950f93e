/**
 * One turn's calls → one batch.
 *
 * Calls made in one turn of the event loop travel together, in program order, and settle each by itself. While one
 * batch is under way the next one gathers, so at most one is ever under way, and a call sees whatever was called
 * before it. A call that is no operation (listing, counting) takes its place in the same order.
 */
import type { Backend, Operation, Outcome } from './backend.ts';
import { closedError } from './errors.ts';

interface Call {
  readonly operation: Operation;
  readonly resolve: (value: unknown) => void;
  readonly reject: (reason: unknown) => void;
}

type Step = Call[] | (() => Promise<void>);

/** The order in which calls reach the backend. */
export interface Queue<Target extends Backend> {
  /**
   * Adds the operation that `make` makes to this turn's batch. Settles with its outcome, whose type is the caller's to know (see
   * {@link Outcome}); rejects with what `make` throws.
   */
  call<Value>(make: () => Operation): Promise<Value>;
  /** The same with many: their values, or the first failure. */
  callAll<Value>(make: () => Operation[]): Promise<Value[]>;
  /** Run `task` after everything called before it and before everything called after it. */
  alone<T>(task: (backend: Target) => T | Promise<T>): Promise<T>;
  /** Reject what waits, and everything called from now on. Resolves when nothing is under way. */
  close(): Promise<void>;
}

/**
 * A queue in front of a backend.
 *
 * @param ready The backend, once it is chosen. Asked for each batch, so that a failed start may be tried again.
 */
export function createQueue<Target extends Backend>(ready: () => Promise<Target>): Queue<Target> {
  const steps: Step[] = [];
  let drained: Promise<void> | undefined;
  let closed = false;

  /** The backend, unless the storage is closed by then. */
  async function open(): Promise<Target> {
    const backend = closed ? undefined : await ready();
    if (closed || backend === undefined) throw closedError();
    return backend;
  }

  async function drain(): Promise<void> {
    // The rest of this turn's calls come before the first step starts.
    await undefined;
    for (let step = steps.shift(); step !== undefined; step = steps.shift()) {
      await (Array.isArray(step) ? runBatch(open, step) : step());
    }
    drained = undefined;
  }

  const start = (): void => {
    if (closed) throw closedError();
    drained ??= drain();
  };
  const add = (call: Call): void => {
    const last = steps.at(-1);
    if (Array.isArray(last)) last.push(call);
    else steps.push([call]);
  };

  // What is thrown inside of `new Promise` rejects it.
  const queue: Queue<Target> = {
    call: <Value>(make: () => Operation) =>
      new Promise<Value>((resolve, reject) => {
        start();
        add({ operation: make(), resolve: resolve as Call['resolve'], reject });
      }),
    callAll: async <Value>(make: () => Operation[]) =>
      Promise.all(make().map((operation) => queue.call<Value>(() => operation))),
    alone: (task) =>
      new Promise((resolve, reject) => {
        start();
        steps.push(() => open().then(task).then(resolve, reject));
      }),
    async close() {
      // What waits finds that out when its turn comes, which is at once.
      closed = true;
      await drained;
    },
  };
  return queue;
}

async function runBatch(open: () => Promise<Backend>, calls: readonly Call[]): Promise<void> {
  try {
    const backend = await open();
    const outcomes = await backend.run(calls.map(({ operation }) => operation));
    calls.forEach(({ resolve, reject }, i) => {
      const outcome = outcomes[i];
      if (outcome?.status === 'fulfilled') resolve(outcome.value);
      else reject(outcome?.reason);
    });
  } catch (error) {
    for (const { reject } of calls) reject(error);
  }
}
