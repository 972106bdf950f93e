/**
 * Operations → requests → results, whatever number and size they have.
 *
 * A list is cut at the server's limits. What is too large alone fails alone. What looks at a key, a read or the precondition
 * of a write, is never in one request with a later write of that key: after a lost answer reads are carried out anew
 * (docs/contract.md, 5.14), and would see that write. A value that an answer left out is read before anything later is sent.
 */
import type { Snapshot } from '../../core/backend.ts';
import { StorageError } from '../../core/errors.ts';
import { encodeAt } from '../../core/json.ts';
import { utf8Length } from '../../core/keys.ts';
import { load } from '../../core/load.ts';
import { explained } from '../http.ts';
import { type Delivered, isWrite, type Limits, OP_BYTES, type Result, type WireOp } from './protocol.ts';
import type { Send, Underway } from './redelivery.ts';
import { BatchFailure, type Writer } from './writer.ts';

/** Deliver operations in their order. */
export interface Delivery {
  /**
   * As many as operations. After a request without an answer nothing further is sent.
   *
   * A failed precondition holds what stands against it, or names no revision where nothing is there.
   */
  deliver(ops: readonly WireOp[]): Promise<Delivered[]>;
  /**
   * The JSON text of a value.
   *
   * @throws {StorageError} `unsupported-value`, `too-large`
   */
  textOf(key: string, value: Snapshot): Promise<string>;
}

/** Largest body that is sent: half of the usual limit of servers. */
const BODY_BYTES = 4 * 1024 * 1024;
const BATCH_OPS = 2000;
/** What stands around the operations of a body. */
const HEAD_BYTES = 256;
/** Deliver through `writer`. */
export function createDelivery(writer: Writer, limits: Limits): Delivery {
  const most: Limits = {
    ...limits,
    batchOps: Math.min(limits.batchOps, BATCH_OPS),
    bodyBytes: Math.min(limits.bodyBytes, BODY_BYTES),
  };

  async function deliver(ops: readonly WireOp[]): Promise<Delivered[]> {
    const delivered: Delivered[] = [];
    const send: Send = (sent) =>
      writer.send(sent).catch((error: unknown) => {
        if (error instanceof BatchFailure) return error;
        throw error;
      });

    const list: Underway = {
      ops,
      delivered,
      send,
      lacks: (i) => lacksValue(ops[i] as WireOp, delivered[i]),
      refusedAlone: 0,
    };

    /** Returns why nothing further is to be sent, if so. */
    async function sendPart(part: readonly number[]): Promise<StorageError | undefined> {
      const answer = await send(part.map((i) => ops[i] as WireOp));
      const failure = answer instanceof BatchFailure ? answer : undefined;
      part.forEach((i, at) => {
        delivered[i] = failure?.error ?? ((answer as readonly Result[])[at] as Result);
      });
      if (failure ? !failure.together : !part.some(list.lacks)) return failure?.error;
      if (failure && part.length === 1) {
        list.refusedAlone += 1;
        return undefined;
      }
      try {
        return await (await load(import('../recovery.ts'))).redeliver(list, part, failure);
      } catch (error) {
        for (const i of part) if (failure || list.lacks(i)) delivered[i] = error as StorageError;
        return error as StorageError;
      }
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
    async textOf(key, value) {
      const text = await encodeAt(key, value);
      const most = limits.valueBytes;
      const bytes = text.length * 3 > most ? utf8Length(text) : 0;
      if (bytes > most)
        throw await explained('too-large', `put of ${key}`, ({ ofSize }) => ofSize(key, bytes, most));
      return text;
    },
  };
}

/** Whether a result lacks a value that is there: the answer had no room for it (5.3, 5.6), or it is a stored one (5.12). */
function lacksValue({ op }: WireOp, delivered: Delivered | undefined): boolean {
  if (delivered === undefined || delivered instanceof StorageError) return false;
  if (op === 'get') return delivered.problem === 'answer-too-large';
  return delivered.status === 412 && delivered.revision !== undefined && delivered.value === undefined;
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
