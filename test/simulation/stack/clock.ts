/**
 * Virtual time. The simulated world carries out one task at a time, and all promise reactions of a task run before the next one.
 *
 * Everything that waits in the world (timers, requests, the disk, locks, messages between tabs) is a task here. The order of tasks
 * and all chance follow from the seed, so one seed is one run: its trace has the same hash each time.
 */
import { createHash } from 'node:crypto';
import { type Random, randomOf, seedOf } from '../../faults/random.ts';

/** Something that runs code and can stop: a tab, or a process of the server. */
export interface Process {
  readonly name: string;
  /** Its tasks are dropped. */
  isDead: boolean;
  /** Its tasks are collected, and run when it continues. */
  isFrozen: boolean;
  readonly postponed: Task[];
}

/** A piece of work at a time. */
export interface Task {
  readonly at: number;
  readonly order: number;
  readonly owner: Process | undefined;
  readonly work: () => void;
  /** A line for the trace. Empty: none. */
  readonly label: string;
  isCancelled: boolean;
}

/** Where virtual time begins, in milliseconds since 1970. */
const START_MS = 1_700_000_000_000;

/** Far more tasks than a run has: what comes to as many goes round without end. */
const MOST_STEPS = 100_000;

/** A world in which tasks follow each other without end. */
export class EndlessError extends Error {}

const realImmediate = setImmediate;
/** Lets all promise reactions run. */
const settleReactions = (): Promise<void> => new Promise((done) => realImmediate(done));

const isEarlier = (a: Task, b: Task): boolean => a.at < b.at || (a.at === b.at && a.order < b.order);

/** Timers as the web has them, on virtual time. */
export interface Timers {
  readonly setTimeout: (work: (...args: unknown[]) => void, ms?: number, ...args: unknown[]) => object;
  readonly setInterval: (work: () => void, ms: number) => object;
  readonly setImmediate: (work: (...args: unknown[]) => void, ...args: unknown[]) => object;
  readonly clearTimeout: (timer: unknown) => void;
  readonly clearInterval: (timer: unknown) => void;
  readonly clearImmediate: (timer: unknown) => void;
}

/** What a timer's handle is: Node.js has `unref`. */
interface Handle {
  task: Task;
  unref(): Handle;
  ref(): Handle;
}

export class Clock {
  /** Milliseconds since the start. */
  nowMs = 0;
  /** Tasks that were carried out. */
  steps = 0;
  /** The lines of the trace, if it is kept. */
  readonly lines: string[] = [];
  readonly random: Random;
  private readonly heap: Task[] = [];
  private readonly hash = createHash('sha1');
  private readonly isTraced: boolean;
  private scheduled = 0;

  constructor(seed: number, isTraced = false) {
    this.random = randomOf(seedOf(seed, 'world'));
    this.isTraced = isTraced;
  }

  /** Adds a line to the trace. */
  note(text: string): void {
    const line = `${this.nowMs.toFixed(3)} ${text}`;
    this.hash.update(`${line}\n`);
    if (this.isTraced) this.lines.push(line);
  }

  /** The hash of the trace so far. */
  digest(): string {
    return this.hash.copy().digest('hex');
  }

  /** Schedules a task. Without an owner it always runs. */
  schedule(owner: Process | undefined, delayMs: number, work: () => void, label = ''): Task {
    const task = {
      at: this.nowMs + Math.max(0, delayMs),
      order: this.scheduled++,
      owner,
      work,
      label,
      isCancelled: false,
    };
    const { heap } = this;
    let i = heap.push(task) - 1;
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (!isEarlier(task, heap[parent] as Task)) break;
      heap[i] = heap[parent] as Task;
      i = parent;
    }
    heap[i] = task;
    return task;
  }

  /** Carries out tasks until `isDone`, or until a time has come. Returns whether `isDone` ended it. */
  async run(untilMs: number, isDone: () => boolean = () => false): Promise<boolean> {
    await settleReactions();
    while (!isDone()) {
      const next = this.heap[0];
      if (next === undefined || next.at > untilMs) {
        if (Number.isFinite(untilMs)) this.nowMs = Math.max(this.nowMs, untilMs);
        return false;
      }
      this.take();
      if (next.isCancelled || next.owner?.isDead) continue;
      this.nowMs = Math.max(this.nowMs, next.at);
      if (next.owner?.isFrozen) {
        next.owner.postponed.push(next);
        continue;
      }
      this.steps += 1;
      if (this.steps > MOST_STEPS) throw new EndlessError(`After ${MOST_STEPS} tasks there are still more.`);
      if (next.label) this.note(next.label);
      next.work();
      await settleReactions();
    }
    return true;
  }

  /** Lets a frozen process continue with everything that it has missed. */
  thaw(process: Process): void {
    process.isFrozen = false;
    for (const { isCancelled, work, label } of process.postponed.splice(0))
      if (!isCancelled) this.schedule(process, 0, work, label);
  }

  /** The timers of a process. They never fire in the task that has set them. */
  timersOf(owner: () => Process): Timers {
    const handleOf = (task: Task): Handle => {
      const handle = { task, unref: () => handle, ref: () => handle };
      return handle;
    };
    const cancel = (handle: unknown): void => {
      const task = (handle as Handle | undefined)?.task;
      if (task) task.isCancelled = true;
    };
    return {
      setTimeout: (work, ms = 0, ...args) =>
        handleOf(this.schedule(owner(), Math.max(1, Number(ms) || 0), () => work(...args))),
      setInterval: (work, ms) => {
        const next = (): Task =>
          this.schedule(owner(), Math.max(1, ms), () => {
            handle.task = next();
            work();
          });
        const handle = handleOf(next());
        return handle;
      },
      setImmediate: (work, ...args) => handleOf(this.schedule(owner(), 0, () => work(...args))),
      clearTimeout: cancel,
      clearInterval: cancel,
      clearImmediate: cancel,
    };
  }

  /** A `Date` on virtual time. `offsetMs`: how much a device's clock is ahead. */
  dateOf(offsetMs: () => number = () => 0): DateConstructor {
    const now = (): number => Math.floor(START_MS + this.nowMs + offsetMs());
    return new Proxy(Date, {
      get: (target, name) => (name === 'now' ? now : Reflect.get(target, name)),
      construct: (target, args) => (args.length > 0 ? Reflect.construct(target, args) : new target(now())),
    });
  }

  private take(): void {
    const { heap } = this;
    const last = heap.pop() as Task;
    if (heap.length === 0) return;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isEarlier(heap[child + 1] as Task, heap[child] as Task)) child++;
      if (!isEarlier(heap[child] as Task, last)) break;
      heap[i] = heap[child] as Task;
      i = child;
    }
    heap[i] = last;
  }
}
