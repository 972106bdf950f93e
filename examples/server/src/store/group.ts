/**
 * Group commit: calls that arrive together are carried out together. Writes share a commit, reads share a transaction.
 *
 * The event loop collects them. While a group is carried out, requests queue up in the sockets, and the next turns of the
 * loop read them. As long as each turn brings more calls, the group waits for one more turn. That costs microseconds; a
 * commit for the few calls of one turn costs a whole wait for the disk. A single call starts at the end of its own turn.
 *
 * Calls that arrive while as many groups are carried out as may be at once form the next group, which starts when one of
 * them has finished.
 *
 * A group contains only calls that were made before it started. No call settles before its group has finished.
 */

/** The largest group. It does not wait for further calls. */
const MAX_GROUP = 256;

interface Waiting<Call, Outcome> {
  readonly call: Call;
  readonly resolve: (outcome: Outcome) => void;
  readonly reject: (reason: unknown) => void;
}

export interface Group<Call, Outcome> {
  /** Settles with the call's own outcome, or rejects with the failure of its whole group. */
  submit(call: Call): Promise<Outcome>;
  /** Carries out all waiting calls now. Resolves when they are settled. */
  flush(): Promise<void>;
}

/**
 * @param run Carries out all calls in their order. Resolves with one outcome for each, or rejects and applied nothing.
 * @param concurrency The number of groups that may be carried out at once.
 */
export function createGroup<Call, Outcome>(
  run: (calls: readonly Call[]) => Promise<readonly Outcome[]>,
  concurrency = 1,
): Group<Call, Outcome> {
  const waiting: Array<Waiting<Call, Outcome>> = [];
  const running = new Set<Promise<void>>();

  /** Starts to carry out the waiting calls, unless as many groups as may be at once are carried out already. */
  function start(): void {
    if (waiting.length === 0 || running.size >= concurrency) return;
    const group = carryOut(waiting.splice(0, MAX_GROUP)).then(() => {
      running.delete(group);
      if (waiting.length > 0) setImmediate(collect, waiting.length);
    });
    running.add(group);
    start();
  }

  async function carryOut(group: ReadonlyArray<Waiting<Call, Outcome>>): Promise<void> {
    try {
      const outcomes = await run(group.map(({ call }) => call));
      for (const [index, { resolve }] of group.entries()) resolve(outcomes[index] as Outcome);
    } catch (error) {
      for (const { reject } of group) reject(error);
    }
  }

  /** @param before The number of waiting calls when this turn of the loop began. */
  function collect(before: number): void {
    if (waiting.length > before && waiting.length < MAX_GROUP) setImmediate(collect, waiting.length);
    else start();
  }

  return {
    submit(call) {
      return new Promise((resolve, reject) => {
        const isFirst = waiting.push({ call, resolve, reject }) === 1;
        if (isFirst && running.size < concurrency) setImmediate(collect, 1);
      });
    },
    async flush() {
      while (waiting.length > 0 || running.size > 0) {
        start();
        await Promise.all(running);
      }
    },
  };
}

/** A group for each name that has calls under way. */
export interface NamedGroups<Call, Outcome> {
  /** The number of names that have calls under way. */
  readonly size: number;
  /** See `Group.submit`. */
  submit(name: string, call: Call): Promise<Outcome>;
  /** Carries out all waiting calls now. Resolves when they are settled. */
  flush(): Promise<void>;
}

/** @param run Carries out calls of one name, like `run` of `createGroup`. Names do not wait for each other. */
export function createNamedGroups<Call, Outcome>(
  run: (name: string, calls: readonly Call[]) => Promise<readonly Outcome[]>,
): NamedGroups<Call, Outcome> {
  const groups = new Map<string, { readonly group: Group<Call, Outcome>; calls: number }>();

  return {
    get size() {
      return groups.size;
    },
    async submit(name, call) {
      const named = groups.get(name) ?? { group: createGroup((calls) => run(name, calls)), calls: 0 };
      groups.set(name, named);
      named.calls += 1;
      try {
        return await named.group.submit(call);
      } finally {
        named.calls -= 1;
        if (named.calls === 0) groups.delete(name);
      }
    },
    async flush() {
      await Promise.all([...groups.values()].map(({ group }) => group.flush()));
    },
  };
}
