/**
 * Writes that wait together commit together.
 *
 * Turns of the event loop gather them: while a commit waits for the disk, requests queue up in the sockets, and the next
 * turns read them. As long as each turn brings more, the group waits for one more turn: that costs microseconds, and a
 * commit for the few of one turn a whole wait for the disk. A write that is alone goes at the end of its own turn. No
 * promise settles before its commit has returned.
 */

/** From here on a group waits for no others. */
const MOST_TOGETHER = 256;

interface Waiting<Write, Outcome> {
  readonly write: Write;
  readonly resolve: (outcome: Outcome) => void;
  readonly reject: (reason: unknown) => void;
}

/** A queue in front of a commit. */
export interface GroupCommit<Write, Outcome> {
  /** Settles with the write's own outcome, or with the failure of its whole group. */
  submit(write: Write): Promise<Outcome>;
  /** Commit what waits now. */
  flush(): void;
}

/** @param commit Makes all writes durable in their order and returns an outcome each, or throws and has made none. */
export function createGroupCommit<Write, Outcome>(
  commit: (writes: readonly Write[]) => readonly Outcome[],
): GroupCommit<Write, Outcome> {
  let waiting: Array<Waiting<Write, Outcome>> = [];

  function flush(): void {
    const group = waiting;
    waiting = [];
    if (group.length === 0) return;
    try {
      const outcomes = commit(group.map(({ write }) => write));
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
    submit(write) {
      return new Promise((resolve, reject) => {
        if (waiting.push({ write, resolve, reject }) === 1) setImmediate(gather, 1);
      });
    },
    flush,
  };
}
