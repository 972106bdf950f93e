/**
 * Calls whose answers are cut after each of their bytes, and what of it was believed.
 */
import { isDeepStrictEqual } from 'node:util';
import { ConflictError, type KeyValueStorage, StorageError } from '../../src/index.ts';
import type { Fault, ProxiedRequest } from '../support/faults.ts';
import { first, inLanes, type Lane } from './lanes.ts';

/** A call, and what is true of it. */
export interface Kind {
  readonly name: string;
  /** The request whose answer is cut. */
  readonly cuts: (request: ProxiedRequest) => boolean;
  /** @param key Each call has one of its own, which holds `oldValueOf(key)`. */
  readonly call: (storage: KeyValueStorage, key: string, serverUrl: string) => Promise<unknown>;
  /** What the call resolves with, or `CONFLICT`. */
  readonly outcome: (key: string) => unknown;
  /** What the key holds afterwards, where that is not what it held before. */
  readonly leaves?: (key: string) => unknown;
  /** How many changes a server of level 1 counts. */
  readonly changes: number;
}

/** The outcome of a call that met another revision. */
export const CONFLICT = 'conflict';

export const oldValueOf = (key: string): unknown => ({ of: key });
export const newValueOf = (key: string): unknown => ({ new: key });
export const nothing = (): undefined => undefined;

/** Requests with this method and target. */
export const goesTo =
  (method: string, target: RegExp): Kind['cuts'] =>
  (request) =>
    request.method === method && target.test(request.target);

/** What came of the calls of one kind. */
export interface Tally {
  readonly cuts: number;
  /** Calls that resolved, or were told of a conflict. */
  believed: number;
  /** Of these, the ones that were told what is not so. */
  readonly falseSuccesses: string[];
}

/** How a kind is cut. */
interface Cutting {
  readonly lanes: readonly Lane[];
  /** The cut of an answer's first attempt, or of every one. */
  readonly attempts: number;
  /** How long the answer is that is cut. */
  readonly length: number;
  /** What is really there. */
  readonly held: (key: string) => Promise<unknown>;
  /** Makes sure that a call that was rejected leaves nothing in doubt to the next one. */
  readonly settled?: (storage: KeyValueStorage) => Promise<unknown>;
}

/** The names of the keys of a kind's calls, one for each byte of its answer. */
export const keysOf = (length: number): string[] => Array.from({ length }, (_, i) => `key-${i}`);

/** The length of a whole answer, from a call that is not cut. */
export async function lengthOf(kind: Kind, lane: Lane): Promise<number> {
  let length = 0;
  // Again while the machine is busy: the call may have been given up before its answer came.
  while (length === 0) {
    lane.faults = first(1, kind.cuts, {
      observe(answer) {
        length = answer.length;
      },
    });
    await kind.call(lane.storage, 'whole', lane.proxy.url).catch(nothing);
  }
  return length;
}

/** Cut it after each of its bytes. */
export async function cutEverywhere(
  kind: Kind,
  { lanes, attempts, length, held, settled }: Cutting,
): Promise<Tally> {
  const names = keysOf(length);
  const tally: Tally = { cuts: length, believed: 0, falseSuccesses: [] };
  await inLanes(lanes, length, async (lane, bytes) => {
    const key = names[bytes] as string;
    lane.faults = first(attempts, kind.cuts, cutAfter(bytes));
    const outcome = await outcomeOf(kind.call(lane.storage, key, lane.proxy.url));
    lane.faults = undefined;
    if (outcome === LOST) {
      await settled?.(lane.storage);
      return;
    }
    tally.believed += 1;
    const isTrue =
      isDeepStrictEqual(outcome, kind.outcome(key)) &&
      (!kind.leaves || isDeepStrictEqual(await held(key), kind.leaves(key)));
    if (!isTrue) tally.falseSuccesses.push(`after ${bytes} of ${length} bytes: ${JSON.stringify(outcome)}`);
  });
  return tally;
}

/** For people. */
export const figures = ({ cuts, believed, falseSuccesses }: Tally): string =>
  `${cuts} cuts, ${believed} calls answered, ${cuts - believed} rejected, ${falseSuccesses.length} false successes`;

/** FIN and RST in turn; never the whole of an answer that has grown since it was measured. */
const cutAfter = (bytes: number): Fault => ({
  rewrite: (answer) => answer.subarray(0, Math.min(bytes, answer.length - 1)),
  ending: bytes % 2 === 0 ? 'fin' : 'rst',
});

const LOST = Symbol('lost');

async function outcomeOf(call: Promise<unknown>): Promise<unknown> {
  try {
    return await call;
  } catch (error) {
    if (error instanceof ConflictError) return CONFLICT;
    if (error instanceof StorageError && ['unavailable', 'timeout'].includes(error.code)) return LOST;
    throw error;
  }
}
