/**
 * Writes that wait together commit together.
 *
 * One turn of the event loop gathers them: while a commit waits for the disk, requests queue up in the sockets, and
 * the next turn reads them all. No promise settles before its commit has returned.
 */

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

  return {
    submit(write) {
      return new Promise((resolve, reject) => {
        if (waiting.push({ write, resolve, reject }) === 1) setImmediate(flush);
      });
    },
    flush,
  };
}
