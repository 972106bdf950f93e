/**
 * Group commit: calls that arrive together are carried out together. Writes share a commit, reads share a transaction.
 *
 * The event loop collects them. While a group is carried out, requests queue up in the sockets, and the next turns of the
 * loop read them. As long as each turn brings more calls, the group waits for one more turn. That costs microseconds; a
 * commit for the few calls of one turn costs a whole wait for the disk. A single call starts at the end of its own turn.
 *
 * A group contains only calls that were made before it started. No call settles before its group has finished.
 */

/** A group of this size does not wait for further calls. */
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

/** @param run Carries out all calls in their order. Resolves with one outcome for each, or rejects and applied nothing. */
export function createGroup<Call, Outcome>(
  run: (calls: readonly Call[]) => Promise<readonly Outcome[]>,
): Group<Call, Outcome> {
  let waiting: Array<Waiting<Call, Outcome>> = [];

  async function flush(): Promise<void> {
    const group = waiting;
    waiting = [];
    if (group.length === 0) return;
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
    else void flush();
  }

  return {
    submit(call) {
      return new Promise((resolve, reject) => {
        if (waiting.push({ call, resolve, reject }) === 1) setImmediate(collect, 1);
      });
    },
    flush,
  };
}
