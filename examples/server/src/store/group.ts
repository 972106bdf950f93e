/**
 * Calls that wait together are carried out together: writes share a commit, reads a transaction.
 *
 * Turns of the event loop gather them: while one group is carried out, requests queue up in the sockets, and the next
 * turns read them. As long as each turn brings more, the group waits for one more turn: that costs microseconds, and a
 * commit for the few of one turn a whole wait for the disk. A call that is alone goes at the end of its own turn.
 *
 * Every call of a group came before the group began. No promise settles before its group is done.
 */

/** From here on a group waits for no others. */
const MOST_TOGETHER = 256;

interface Waiting<Call, Outcome> {
  readonly call: Call;
  readonly resolve: (outcome: Outcome) => void;
  readonly reject: (reason: unknown) => void;
}

/** A queue in front of something that is dearer to begin than to go on with. */
export interface Group<Call, Outcome> {
  /** Settles with the call's own outcome, or with the failure of its whole group. */
  submit(call: Call): Promise<Outcome>;
  /** Carry out what waits now. */
  flush(): void;
}

/** @param run Carries out all calls in their order and returns an outcome each, or throws and has done nothing. */
export function createGroup<Call, Outcome>(
  run: (calls: readonly Call[]) => readonly Outcome[],
): Group<Call, Outcome> {
  let waiting: Array<Waiting<Call, Outcome>> = [];

  function flush(): void {
    const group = waiting;
    waiting = [];
    if (group.length === 0) return;
    try {
      const outcomes = run(group.map(({ call }) => call));
      for (const [index, outcome] of outcomes.entries()) group[index]?.resolve(outcome);
    } catch (error) {
      for (const { reject } of group) reject(error);
    }
  }

  /** @param before How many had come when the turn began. */
  function gather(before: number): void {
    if (waiting.length > before && waiting.length < MOST_TOGETHER) setImmediate(gather, waiting.length);
    else flush();
  }

  return {
    submit(call) {
      return new Promise((resolve, reject) => {
        if (waiting.push({ call, resolve, reject }) === 1) setImmediate(gather, 1);
      });
    },
    flush,
  };
}
