/**
 * Operations → requests → results, whatever number and size they have.
 *
 * A list is cut at the server's limits. If the server refuses a request as a whole, its halves are sent, so that only an operation
 * that is refused alone fails. A read, or a write with a precondition, is never in one request with a later write of its key: after a
 * lost answer reads are carried out anew (docs/contract.md, 5.12), and would see that write. A value that an answer left out is read
 * before anything later is sent.
 */
import type { Snapshot, StoredEntry } from '../../core/backend.ts';
import { chunksOf, createBisection } from '../../core/chunks.ts';
import { ConflictError } from '../../core/conflict.ts';
import { StorageError } from '../../core/errors.ts';
import { decodeAt, encodeAt } from '../../core/json.ts';
import { utf8Length } from '../../core/keys.ts';
import type { Deadline } from '../../core/time.ts';
import { codeOf, ofOperation, sizeError, UnreadConflictError } from '../errors.ts';
import { BatchFailure, type Writer } from './mutations.ts';
import {
  type Delivered,
  isWrite,
  type Limits,
  OP_BYTES,
  type Result,
  type Undelivered,
  type WireOp,
} from './protocol.ts';

/** Delivers operations in their order. */
export interface Delivery {
  /**
   * As many as operations. After a request without an answer nothing further is sent.
   *
   * A failed precondition holds the current value and revision, or names no revision where the key does not exist.
   */
  deliver(ops: readonly WireOp[]): Promise<Delivered[]>;
  /**
   * The same in one request, of which all writes apply, or none.
   *
   * @throws {StorageError} `too-large` if one request cannot hold them.
   */
  deliverAtomic(ops: readonly WireOp[]): Promise<readonly Delivered[]>;
  /**
   * The JSON text of a value.
   *
   * @throws {StorageError} `unsupported-value`, `too-large`
   */
  textOf(key: string, value: Snapshot): Promise<string>;
}

/** The largest body that is sent: half of the usual limit of servers. */
const BODY_BYTES = 4 * 1024 * 1024;
const BATCH_OPS = 2000;
/** The bytes around the operations of a body. */
const HEAD_BYTES = 256;

/**
 * Delivers through `writer`.
 *
 * @param deadline By when the first request of a list is to be answered. Each further one has a limit of its own: a long list may
 * take as long as it gets ahead.
 */
export function createDelivery(writer: Writer, limits: Limits, deadline?: Deadline): Delivery {
  const most: Limits = {
    ...limits,
    batchOps: Math.min(limits.batchOps, BATCH_OPS),
    bodyBytes: Math.min(limits.bodyBytes, BODY_BYTES),
  };

  /** An atomic unit cannot be cut, so it may be as large as the server says. Every server takes the smaller limits. */
  const unitLimits = {
    batchOps: Number.isFinite(limits.batchOps) ? limits.batchOps : BATCH_OPS,
    bodyBytes: Number.isFinite(limits.bodyBytes) ? limits.bodyBytes : BODY_BYTES,
  };

  async function deliver(ops: readonly WireOp[]): Promise<Delivered[]> {
    const delivered: Delivered[] = [];
    let by = deadline;
    const lacks = (i: number): boolean => lacksValue(ops[i] as WireOp, delivered[i]);

    async function send(part: readonly number[]): Promise<void> {
      const results = await writer
        .send(
          part.map((i) => ops[i] as WireOp),
          undefined,
          by,
        )
        .finally(() => {
          by = undefined;
        });
      part.forEach((i, at) => {
        delivered[i] = results[at] as Result;
      });
      for (let left = part.filter(lacks); left.length > 0; ) left = await readAgain(left);
    }

    /** Reads values that an answer left out. Returns the operations that still lack theirs. */
    async function readAgain(left: readonly number[]): Promise<number[]> {
      const fail = (error: StorageError): never => {
        for (const i of left) {
          const before = delivered[i] as Result;
          // A write that the server has refused stays refused.
          if (lacks(i)) delivered[i] = before.status === 412 ? { ...before, unread: error } : { error };
        }
        throw new BatchFailure(error);
      };
      const gets = left.map((i): WireOp => ({ op: 'get', key: keyOf(ops[i] as WireOp) }));
      const results = await writer.send(gets).catch((error) => {
        throw error instanceof BatchFailure ? fail(error.error) : error;
      });
      left.forEach((i, at) => {
        delivered[i] = afterwards(delivered[i], results[at] as Result);
      });
      const still = left.filter(lacks);
      // Each answer holds the first value at least, so this ends.
      if (still.length === left.length)
        fail(new StorageError('unavailable', 'The server answered without any of the requested values.'));
      return still;
    }

    const sendPart = createBisection<number>({
      attempt: send,
      isDivisible: (error) => error instanceof BatchFailure && error.isDivisible,
      fail(part, error) {
        if (!(error instanceof BatchFailure)) throw error;
        const undelivered = undeliveredOf(
          part.map((i) => ops[i] as WireOp),
          error,
        );
        for (const [at, i] of part.entries()) delivered[i] ??= undelivered[at] as Undelivered;
        // Nothing further is sent: not after a lost answer, and not where too many operations were refused alone.
        if (!error.isDivisible || part.length > 1) throw error;
      },
    });

    try {
      for (const part of partsOf(ops, most)) await sendPart(part);
    } catch (error) {
      if (!(error instanceof BatchFailure)) throw error;
      // These were not sent.
      ops.forEach((_, i) => {
        delivered[i] ??= { error: error.error };
      });
    }
    return delivered;
  }

  return {
    deliver,
    async deliverAtomic(ops) {
      const bytes = ops.reduce((sum, op) => sum + sizeOf(op), HEAD_BYTES);
      const { batchOps, bodyBytes } = unitLimits;
      if (ops.length > batchOps || bytes > bodyBytes)
        throw new StorageError(
          'too-large',
          `One request to this server holds at most ${batchOps} operations and ${bodyBytes} bytes, and an atomic unit is one request: this one has ${ops.length} operations and ${bytes} bytes.`,
        );
      return writer.send(ops, true, deadline).catch((error) => {
        if (error instanceof BatchFailure) return undeliveredOf(ops, error);
        throw error;
      });
    },
    async textOf(key, value) {
      const text = await encodeAt(key, value);
      const most = limits.valueBytes;
      // A UTF-16 code unit is at most 3 bytes.
      const bytes = text.length * 3 > most ? utf8Length(text) : 0;
      if (bytes > most) throw sizeError(key, bytes, most);
      return text;
    },
  };
}

/** Why there was no answer, if there was none. A server that refuses an operation has answered. */
export function lostOf(delivered: readonly Delivered[]): StorageError | undefined {
  for (const one of delivered)
    if (one.status === undefined && /^(unavailable|timeout)$/.test(one.error.code)) return one.error;
  return undefined;
}

/** Why the operations of one request have no results. In a mutation in doubt each write has its index. */
function undeliveredOf(ops: readonly WireOp[], { error, inDoubt }: BatchFailure): Undelivered[] {
  let writes = 0;
  return ops.map((op) =>
    inDoubt && isWrite(op) ? { error, inDoubt: { ...inDoubt, index: writes++ } } : { error },
  );
}

/** Why the server refused one operation of a batch. Without a key it is a clear. */
export const errorOf = (key: string | undefined, { status, error }: Result): StorageError =>
  new StorageError(
    codeOf(status, error),
    ofOperation(key === undefined ? 'clear()' : `Key ${key}`, status, error),
  );

/** The error of a conditional write that the server has refused. */
export async function conflictOf(key: string, attempted: unknown, refusal: Result): Promise<StorageError> {
  if (refusal.unread) return new UnreadConflictError(key, refusal.unread);
  return new ConflictError(key, attempted, await entryOf(key, refusal));
}

/** The entry that a result shows. */
export async function entryOf(key: string, { value, revision }: Result): Promise<StoredEntry | undefined> {
  if (value === undefined || revision === undefined) return undefined;
  return { value: await decodeAt(key, value.json), revision };
}

/** Whether a result lacks a value that exists: the answer had no room for it (5.3, 5.6), or it is a stored answer (5.12). */
function lacksValue({ op }: WireOp, delivered: Delivered | undefined): boolean {
  if (delivered?.status === undefined) return false;
  if (op === 'get') return delivered.problem === 'answer-too-large';
  return delivered.status === 412 && delivered.revision !== undefined && delivered.value === undefined;
}

/** The result after its value was read: a conflict remains a conflict. */
function afterwards(before: Delivered | undefined, answer: Result): Result {
  if (before?.status !== 412) return answer;
  if (answer.problem === 'answer-too-large') return before;
  return answer.status === 200 || answer.status === 404 ? { ...answer, status: before.status } : answer;
}

const keyOf = (op: WireOp): string => ('key' in op ? op.key : '');

/** Cuts a list, as indexes, where one request would exceed a limit, or where a write follows a read of its key. */
function partsOf(ops: readonly WireOp[], { batchOps, bodyBytes }: Limits): Iterable<number[]> {
  let read = new Set<string>();
  return chunksOf(ops.keys(), {
    count: batchOps,
    bytes: bodyBytes - HEAD_BYTES,
    sizeOf: (i) => sizeOf(ops[i] as WireOp),
    startsChunk(i, chunk) {
      const op = ops[i] as WireOp;
      const isLate = isWrite(op) && ('key' in op ? read.has(op.key) : read.size > 0);
      if (isLate || chunk.length === 0) read = new Set();
      if (!isWrite(op) || ('ifRevision' in op && op.ifRevision !== undefined)) read.add(keyOf(op));
      return isLate;
    },
  });
}

function sizeOf(op: WireOp): number {
  const key = 'key' in op ? utf8Length(JSON.stringify(op.key)) : 0;
  const value = op.op === 'put' ? utf8Length(op.text) : 0;
  const revision = 'ifRevision' in op ? (op.ifRevision?.length ?? 0) : 0;
  return OP_BYTES + key + value + revision;
}
