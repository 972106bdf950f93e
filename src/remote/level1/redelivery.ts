/**
 * Parts of a delivery that one request was not enough for. Loaded when there is one.
 *
 * What the server refused as a whole is tried in halves, so that only what is refused alone fails. A value that an answer left out
 * is asked for again.
 */
import { StorageError } from '../../core/errors.ts';
import type { Delivered, Result, WireOp } from './protocol.ts';
import type { BatchFailure } from './writer.ts';

/** Send operations in one request: their results, or why there are none. */
export type Send = (ops: readonly WireOp[]) => Promise<readonly Result[] | BatchFailure>;

/** So many operations may be refused alone before the rest of a list is not tried in parts any more. */
const REFUSED_ALONE = 3;

/** A list of operations on its way. */
export interface Underway {
  readonly ops: readonly WireOp[];
  readonly delivered: Delivered[];
  readonly send: Send;
  /** Whether an operation's result lacks a value that is there. */
  lacks(i: number): boolean;
  /** How many operations were refused alone. */
  refusedAlone: number;
}

/**
 * Go on with a part that was refused, or, without a failure, that lacks values. Returns why nothing further is to be sent, if so.
 */
export async function redeliver(
  list: Underway,
  part: readonly number[],
  failure: BatchFailure | undefined,
): Promise<StorageError | undefined> {
  const { ops, delivered, send, lacks } = list;

  async function halve(part: readonly number[], failure: BatchFailure): Promise<StorageError | undefined> {
    if (failure.together && part.length > 1 && list.refusedAlone < REFUSED_ALONE) {
      const middle = part.length >> 1;
      return (await sendPart(part.slice(0, middle))) ?? (await sendPart(part.slice(middle)));
    }
    for (const i of part) delivered[i] = failure.error;
    if (!failure.together || part.length > 1) return failure.error;
    list.refusedAlone += 1;
    return undefined;
  }

  async function sendPart(part: readonly number[]): Promise<StorageError | undefined> {
    const answer = await send(part.map((i) => ops[i] as WireOp));
    if ('together' in answer) return halve(part, answer);
    part.forEach((i, at) => {
      delivered[i] = answer[at] as Result;
    });
    return readAgain(part.filter(lacks));
  }

  async function readAgain(left: readonly number[]): Promise<StorageError | undefined> {
    if (left.length === 0) return undefined;
    const answer = await send(left.map((i) => ({ op: 'get', key: (ops[i] as { key: string }).key })));
    if (!('together' in answer)) {
      left.forEach((i, at) => {
        delivered[i] = afterwards(delivered[i], answer[at] as Result);
      });
      const still = left.filter(lacks);
      // Each answer holds the first value at least, so this ends.
      if (still.length < left.length) return readAgain(still);
    }
    const error =
      'together' in answer
        ? answer.error
        : new StorageError('unavailable', 'The server answers none of the values that it is asked for.');
    for (const i of left) if (lacks(i)) delivered[i] = error;
    return error;
  }

  return failure ? halve(part, failure) : readAgain(part.filter(lacks));
}

/** The result that stands after an answer: a conflict stays one when what is there has been read for it. */
function afterwards(before: Delivered | undefined, answer: Result): Result {
  if (before === undefined || before instanceof StorageError || before.status !== 412) return answer;
  if (answer.problem === 'answer-too-large') return before;
  return answer.status === 200 || answer.status === 404 ? { ...answer, status: before.status } : answer;
}
