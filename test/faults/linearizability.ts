/**
 * Whether a history of one key is linearizable: whether every call can be given one moment between its invocation and its
 * end at which it happened at once, so that all of them make sense in that order.
 *
 * The key is a register with compare-and-set. Every write stores a value of its own, so a value names a revision.
 *
 * A call whose outcome its client does not know has happened at some moment, or never; and not after a later write of the
 * same client (docs/contract.md, 12.5).
 *
 * Algorithm: Wing and Gong's search with Lowe's memory of the configurations that led nowhere.
 */

/** What a key holds; `undefined`: it does not exist. */
export type Held = string | undefined;

/** What was asked, with what came of it. */
export type Call =
  | { readonly type: 'read'; readonly found: Held }
  | { readonly type: 'write'; readonly value: Held }
  /** It applied. */
  | { readonly type: 'cas'; readonly expected: Held; readonly value: Held }
  /** It did not. What its client was shown then is a read of its own, which may have been later. */
  | { readonly type: 'refused'; readonly expected: Held };

/** A call with its times, which are unique and count up. */
export interface Invocation {
  readonly client: number;
  readonly start: number;
  /** `undefined`: its client does not know what came of it. Then its call says what would have been. */
  readonly end: number | undefined;
  readonly call: Call;
}

interface Node {
  readonly start: number;
  readonly end: number;
  readonly bit: bigint;
  readonly call: Call;
  /** Whether it may never have happened. */
  readonly doubtful: boolean;
  /** Calls in doubt that can no longer happen once this one has. */
  readonly fences: bigint;
}

/** Whether one order explains all calls, beginning with `initial`. */
export function isLinearizable(history: readonly Invocation[], initial: Held = undefined): boolean {
  const nodes = history.map((invocation, i) => nodeOf(invocation, i, history));
  const required = nodes.reduce((bits, { bit, doubtful }) => (doubtful ? bits : bits | bit), 0n);
  const failed = new Set<string>();

  function explains(done: bigint, held: Held): boolean {
    if ((done & required) === required) return true;
    const configuration = `${done} ${held}`;
    if (failed.has(configuration)) return false;
    const open = nodes.filter(({ bit }) => (done & bit) === 0n);
    const horizon = Math.min(...open.map(({ end }) => end));
    for (const { start, bit, call, doubtful, fences } of open) {
      if (start > horizon) continue;
      const next = outcome(call, held);
      if (next && explains(done | bit | fences, next.held)) return true;
      if (doubtful && explains(done | bit, held)) return true;
    }
    failed.add(configuration);
    return false;
  }

  return explains(0n, initial);
}

function nodeOf(invocation: Invocation, index: number, history: readonly Invocation[]): Node {
  const { client, start, call } = invocation;
  const ofClient = (other: Invocation): boolean => other.client === client;
  const fence = history.find(
    (other) => ofClient(other) && other.start > start && isWrite(other) && other.end !== undefined,
  );
  let fences = 0n;
  history.forEach((other, i) => {
    if (isWrite(invocation) && ofClient(other) && other.start < start && other.end === undefined)
      fences |= 1n << BigInt(i);
  });
  return {
    start,
    end: invocation.end ?? fence?.end ?? Number.POSITIVE_INFINITY,
    bit: 1n << BigInt(index),
    call,
    doubtful: invocation.end === undefined,
    fences,
  };
}

const isWrite = ({ call }: Invocation): boolean => call.type !== 'read';

/** What the key holds after the call; `undefined` where what came of the call cannot come of it now. */
function outcome(call: Call, held: Held): { readonly held: Held } | undefined {
  switch (call.type) {
    case 'read':
      return call.found === held ? { held } : undefined;
    case 'write':
      return { held: call.value };
    case 'cas':
      return call.expected === held ? { held: call.value } : undefined;
    case 'refused':
      return call.expected !== held ? { held } : undefined;
  }
}
