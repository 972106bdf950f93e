/**
 * The queue: calls of one turn of the event loop become one batch.
 *
 * The calls of a batch keep their order, and each settles separately. Calls made while a batch runs form the next batch. At most one
 * batch runs at a time, so a call sees the effects of all calls before it. Calls that are not operations, such as listing and
 * counting, keep their position in the same order.
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
   * Adds the operation that `make` returns to this turn's batch. Settles with its outcome, whose type the caller knows (see
   * {@link Outcome}). Rejects if `make` throws.
   */
  call<Value>(make: () => Operation): Promise<Value>;
  /** The same for several operations. Resolves with their values, or rejects with the first failure. */
  callAll<Value>(make: () => Operation[]): Promise<Value[]>;
  /** Runs `task` after all calls before it and before all calls after it. */
  alone<T>(task: (backend: Target) => T | Promise<T>): Promise<T>;
  /** Rejects all queued and later calls with `closed`. Resolves when no call is in progress. */
  close(): Promise<void>;
}

/**
 * Creates a queue in front of a backend.
 *
 * @param ready Returns the backend. It is called for each batch, so that a failed start can be repeated.
 */
export function createQueue<Target extends Backend>(ready: () => Promise<Target>): Queue<Target> {
  const steps: Step[] = [];
  let drained: Promise<void> | undefined;
  let closed = false;

  /** Returns the backend, or throws if the storage was closed meanwhile. */
  async function open(): Promise<Target> {
    const backend = closed ? undefined : await ready();
    if (closed || backend === undefined) throw closedError();
    return backend;
  }

  async function drain(): Promise<void> {
    // Lets the other calls of this turn join the batch.
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

  // An error thrown inside `new Promise` rejects the promise.
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
      // Queued calls are still processed, and `open` rejects each of them at once.
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
