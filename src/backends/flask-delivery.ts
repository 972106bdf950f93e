/**
 * Operations → requests → results, whatever number and size they have.
 *
 * A list is cut at the server's limits. What is too large alone fails alone. What looks at a key, a read or the precondition
 * of a write, is never in one request with a later write of that key: after a lost answer reads are carried out anew
 * (docs/contract.md, 5.14), and would see that write. A value that an answer left out is read before anything later is sent.
 */
import { StorageError } from '../core/errors.ts';
import { utf8Length } from '../core/keys.ts';
import { isWrite, OP_BYTES, type Result, type WireOp } from './flask-level1.ts';
import { BatchFailure, type Writer } from './flask-writer.ts';

/** What the server announced. */
export interface Limits {
  readonly valueBytes: number;
  readonly batchOps: number;
  readonly bodyBytes: number;
}

/** What became of an operation: the server's result, or why there is none. */
export type Delivered = Result | StorageError;

/** Deliver operations in their order. */
export interface Delivery {
  /**
   * As many as operations. After a request without an answer nothing further is sent.
   *
   * A failed precondition holds what stands against it, or names no revision where nothing is there.
   */
  deliver(ops: readonly WireOp[]): Promise<Delivered[]>;
  /** Why a value's text is not sent at all. */
  refusalOfSize(key: string, text: string): StorageError | undefined;
}

/** Largest body that is sent: half of the usual limit of servers. */
const BODY_BYTES = 4 * 1024 * 1024;
const BATCH_OPS = 500;
/** What stands around the operations of a body. */
const HEAD_BYTES = 256;
/** So many operations may be refused alone before the rest of a list is not tried in parts any more. */
const REFUSED_ALONE = 3;

/** Deliver through `writer`. */
export function createDelivery(writer: Writer, limits: Limits): Delivery {
  const most: Limits = {
    ...limits,
    batchOps: Math.min(limits.batchOps, BATCH_OPS),
    bodyBytes: Math.min(limits.bodyBytes, BODY_BYTES),
  };

  async function deliver(ops: readonly WireOp[]): Promise<Delivered[]> {
    const delivered: Delivered[] = [];
    let refusedAlone = 0;

    const send = async (
      part: readonly number[],
      opAt: (i: number) => WireOp,
    ): Promise<BatchFailure | undefined> => {
      const results = await writer.send(part.map(opAt)).catch((error: unknown) => {
        if (error instanceof BatchFailure) return error;
        throw error;
      });
      if (results instanceof BatchFailure) return results;
      part.forEach((i, at) => {
        delivered[i] = afterwards(delivered[i], results[at] as Result);
      });
      return undefined;
    };

    const lacks = (i: number): boolean => lacksValue(ops[i] as WireOp, delivered[i]);

    /** Returns why nothing further is to be sent, if so. */
    async function sendPart(part: readonly number[]): Promise<StorageError | undefined> {
      const failure = await send(part, (i) => ops[i] as WireOp);
      if (failure === undefined) return readAgain(part.filter(lacks));
      if (failure.together && part.length > 1 && refusedAlone < REFUSED_ALONE) {
        const middle = part.length >> 1;
        return (await sendPart(part.slice(0, middle))) ?? (await sendPart(part.slice(middle)));
      }
      for (const i of part) delivered[i] = failure.error;
      if (!failure.together || part.length > 1) return failure.error;
      refusedAlone += 1;
      return undefined;
    }

    async function readAgain(left: readonly number[]): Promise<StorageError | undefined> {
      if (left.length === 0) return undefined;
      const failure = await send(left, (i) => ({ op: 'get', key: keyOf(ops[i] as WireOp) }));
      const still = left.filter(lacks);
      // Each answer holds the first value at least, so this ends.
      if (failure === undefined && still.length < left.length) return readAgain(still);
      const error =
        failure?.error ??
        new StorageError('unavailable', 'The server answers none of the values that it is asked for.');
      for (const i of still) delivered[i] = error;
      return error;
    }

    for (const part of partsOf(ops, most)) {
      const lost = await sendPart(part);
      if (lost === undefined) continue;
      ops.forEach((_, i) => {
        delivered[i] ??= lost;
      });
      break;
    }
    return delivered;
  }

  return {
    deliver,
    refusalOfSize(key, text) {
      const bytes = text.length * 3 > limits.valueBytes ? utf8Length(text) : 0;
      if (bytes <= limits.valueBytes) return undefined;
      return new StorageError(
        'too-large',
        `The value of ${key} is ${bytes} bytes as JSON; this server takes ${limits.valueBytes} at most.`,
      );
    },
  };
}

const isResult = (delivered: Delivered | undefined): delivered is Result =>
  delivered !== undefined && !(delivered instanceof StorageError);
const isConflict = ({ status }: Result): boolean => status === 412;
const isLeftOut = ({ problem }: Result): boolean => problem === 'answer-too-large';

/** Whether a result lacks a value that is there: the answer had no room for it (5.3, 5.6), or it is a stored one (5.12). */
function lacksValue({ op }: WireOp, delivered: Delivered | undefined): boolean {
  if (!isResult(delivered)) return false;
  if (op === 'get') return isLeftOut(delivered);
  return isConflict(delivered) && delivered.revision !== undefined && delivered.value === undefined;
}

/** The result that stands after an answer: a conflict stays one when what is there has been read for it. */
function afterwards(before: Delivered | undefined, answer: Result): Result {
  if (!isResult(before) || !isConflict(before)) return answer;
  if (isLeftOut(answer)) return before;
  return answer.status === 200 || answer.status === 404 ? { ...answer, status: before.status } : answer;
}

const keyOf = (op: WireOp): string => ('key' in op ? op.key : '');

/** Cut a list, as indexes, where one request would be over a limit or where a write would meet what looked at its key. */
function* partsOf(ops: readonly WireOp[], { batchOps, bodyBytes }: Limits): Iterable<number[]> {
  let part: number[] = [];
  let bytes = HEAD_BYTES;
  let looked = new Set<string>();
  for (const [i, op] of ops.entries()) {
    const size = sizeOf(op);
    const overtakes = isWrite(op) && ('key' in op ? looked.has(op.key) : looked.size > 0);
    if (part.length > 0 && (part.length >= batchOps || bytes + size > bodyBytes || overtakes)) {
      yield part;
      part = [];
      bytes = HEAD_BYTES;
      looked = new Set();
    }
    part.push(i);
    bytes += size;
    if (!isWrite(op) || ('ifRevision' in op && op.ifRevision !== undefined)) looked.add(keyOf(op));
  }
  if (part.length > 0) yield part;
}

function sizeOf(op: WireOp): number {
  const key = 'key' in op ? utf8Length(JSON.stringify(op.key)) : 0;
  const value = op.op === 'put' ? utf8Length(op.text) : 0;
  const revision = 'ifRevision' in op ? (op.ifRevision?.length ?? 0) : 0;
  return OP_BYTES + key + value + revision;
}
