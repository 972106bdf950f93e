/**
 * The queue: calls of one turn of the event loop become one batch.
 *
 * The calls of a batch keep their order, and each settles separately. Calls made while a batch runs form the next batch. At most one
 * batch runs at a time, so a call sees the effects of all calls before it. Calls that are not operations, such as listing and
 * counting, keep their position in the same order.
 */
import type { Backend, Operation, Outcome } from './backend.ts';
import { closedError } from './errors.ts';
import type { Deadline } from './time.ts';

interface Call {
  readonly operation: Operation;
  readonly resolve: (value: unknown) => void;
  readonly reject: (reason: unknown) => void;
}

/** Calls that are carried out together, or a task. `deadline` is that of the first call. */
interface Step {
  readonly deadline: Deadline;
  readonly work: Call[] | (() => Promise<void>);
}

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
  alone<T>(task: (backend: Target, deadline: Deadline) => T | Promise<T>): Promise<T>;
  /** Rejects all queued and later calls with `closed`. Resolves when no call is in progress. */
  close(): Promise<void>;
}

/**
 * Creates a queue in front of a backend.
 *
 * @param ready Returns the backend. It is called for each batch, so that a failed start can be repeated.
 * @param timeout The time limit of a call in milliseconds. It begins with the call, not when the calls before it are done.
 */
export function createQueue<Target extends Backend>(
  ready: (deadline: Deadline) => Promise<Target>,
  timeout: number,
): Queue<Target> {
  const steps: Step[] = [];
  let drained: Promise<void> | undefined;
  let closed = false;

  /** Returns the backend, or throws if the storage was closed meanwhile. */
  async function open(deadline: Deadline): Promise<Target> {
    const backend = closed ? undefined : await ready(deadline);
    if (closed || backend === undefined) throw closedError();
    return backend;
  }

  async function drain(): Promise<void> {
    // Lets the other calls of this turn join the batch.
    await undefined;
    for (let step = steps.shift(); step !== undefined; step = steps.shift()) {
      const { work, deadline } = step;
      await (Array.isArray(work) ? runBatch(open, work, deadline) : work());
    }
    drained = undefined;
  }

  const start = (): void => {
    if (closed) throw closedError();
    drained ??= drain();
  };
  const deadlineFromNow = (): Deadline => performance.now() + timeout;
  const add = (call: Call): void => {
    const last = steps.at(-1)?.work;
    if (Array.isArray(last)) last.push(call);
    else steps.push({ deadline: deadlineFromNow(), work: [call] });
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
        const deadline = deadlineFromNow();
        const work = (): Promise<void> =>
          open(deadline)
            .then((backend) => task(backend, deadline))
            .then(resolve, reject);
        steps.push({ deadline, work });
      }),
    async close() {
      // Queued calls are still processed, and `open` rejects each of them at once.
      closed = true;
      await drained;
    },
  };
  return queue;
}

async function runBatch(
  open: (deadline: Deadline) => Promise<Backend>,
  calls: readonly Call[],
  deadline: Deadline,
): Promise<void> {
  try {
    const backend = await open(deadline);
    const outcomes = await backend.run(
      calls.map(({ operation }) => operation),
      { deadline },
    );
    calls.forEach(({ resolve, reject }, i) => {
      const outcome = outcomes[i];
      if (outcome?.status === 'fulfilled') resolve(outcome.value);
      else reject(outcome?.reason);
    });
  } catch (error) {
    for (const { reject } of calls) reject(error);
  }
}
