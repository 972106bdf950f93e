/**
 * One turn's calls → one batch.
 *
 * Calls made in one turn of the event loop travel together, in program order, and settle each by itself. While one
 * batch is under way the next one gathers, so at most one is ever under way, and a call sees whatever was called
 * before it. A call that is no operation (listing, counting) takes its place in the same order.
 */
import type { Backend, Operation } from './backend.ts';
import { closedError } from './errors.ts';

interface Call {
  /** Nothing while it is being made, and when making it failed. */
  operation: Operation | undefined;
  /** Resolves when it is made. */
  readonly making?: Promise<void>;
  readonly resolve: (value: unknown) => void;
  readonly reject: (reason: unknown) => void;
}

type Step = Call[] | (() => Promise<void>);

/** The order in which calls reach the backend. */
export interface Queue {
  /**
   * Add the operation that `make` makes to this turn's batch. Settles with its outcome; rejects with what `make` throws. One that
   * takes time to make has its place in the order all the same.
   */
  call(make: () => Operation | Promise<Operation>): Promise<unknown>;
  /** The same with many: their values, or the first failure. */
  callAll(make: () => Operation[]): Promise<unknown[]>;
  /** Run `task` after everything called before it and before everything called after it. */
  alone<T>(task: (backend: Backend) => T | Promise<T>): Promise<T>;
  /** Reject what waits, and everything called from now on. Resolves when nothing is under way. */
  close(): Promise<void>;
}

/**
 * A queue in front of a backend.
 *
 * @param ready The backend, once it is chosen. Asked for each batch, so that a failed start may be tried again.
 */
export function createQueue(ready: () => Promise<Backend>): Queue {
  const steps: Step[] = [];
  let drained: Promise<void> | undefined;
  let closed = false;

  /** The backend, unless the storage is closed by then. */
  async function open(): Promise<Backend> {
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
  return {
    call: (make) =>
      new Promise((resolve, reject) => {
        start();
        const made = make();
        if (!(made instanceof Promise)) return add({ operation: made, resolve, reject });
        const making = made.then((operation) => {
          call.operation = operation;
        }, reject);
        const call: Call = { operation: undefined, making, resolve, reject };
        add(call);
      }),
    callAll: (make) =>
      new Promise((resolve, reject) => {
        start();
        const operations = make();
        const values: unknown[] = [];
        let left = operations.length;
        if (left === 0) resolve(values);
        operations.forEach((operation, i) => {
          const settle = (value: unknown): void => {
            values[i] = value;
            left -= 1;
            if (left === 0) resolve(values);
          };
          add({ operation, resolve: settle, reject });
        });
      }),
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
}

async function runBatch(open: () => Promise<Backend>, gathered: readonly Call[]): Promise<void> {
  let calls = gathered;
  try {
    const backend = await open();
    for (const { making } of calls) if (making) await making;
    calls = calls.filter(({ operation }) => operation);
    const outcomes = await backend.run(calls.map(({ operation }) => operation as Operation));
    calls.forEach(({ resolve, reject }, i) => {
      const outcome = outcomes[i];
      if (outcome?.status === 'fulfilled') resolve(outcome.value);
      else reject(outcome?.reason);
    });
  } catch (error) {
    for (const { reject } of calls) reject(error);
  }
}
