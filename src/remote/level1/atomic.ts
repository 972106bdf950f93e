/**
 * An atomic unit: one batch that the server carries out as a whole, or not at all (docs/contract.md, 5.4).
 */
import { type AtomicPart, fulfilled, type Outcome, rejected } from '../../core/backend.ts';
import { conflictOf, type Delivery, errorOf } from './batches.ts';
import type { Delivered, Result, Undelivered, WireOp } from './protocol.ts';

/** Carries out all parts or none. One outcome for each part: all are rejected if the condition of one is not met. */
export async function runAtomic(delivery: Delivery, parts: readonly AtomicPart[]): Promise<Outcome[]> {
  const ops: WireOp[] = [];
  const partsOfOps: AtomicPart[] = [];
  const add = (part: AtomicPart, op: WireOp): void => {
    ops.push(op);
    partsOfOps.push(part);
  };
  for (const part of parts) {
    const { type, key, ifRevision } = part;
    // To a server the delete of a missing key is no failure.
    if (type === 'check' || (type === 'delete' && ifRevision !== undefined))
      add(part, { op: 'check', key, ifRevision });
    if (type === 'delete') add(part, { op: 'delete', key });
    if (type === 'put') add(part, { op: 'put', key, text: await delivery.textOf(key, part), ifRevision });
  }
  const results = await delivery.deliverAtomic(ops);
  const all = (outcome: Outcome): Outcome[] => parts.map(() => outcome);
  for (const [i, part] of partsOfOps.entries()) {
    const result = results[i] as Delivered;
    // A delete with a condition is two operations, of which the second one is its write.
    if (result.status === undefined)
      return parts.map((part) => {
        const { error, inDoubt } = results[partsOfOps.lastIndexOf(part)] as Undelivered;
        return rejected(error, inDoubt);
      });
    const { status } = result;
    // 424: another part has failed.
    if (status === 200 || status === 404 || status === 424) continue;
    if (status !== 412) return all(rejected(errorOf(part.key, result)));
    const attempted = part.type === 'put' ? part.value : undefined;
    const read = await withValue(delivery, part.key, result);
    return all(rejected(await conflictOf(part.key, attempted, read)));
  }
  return all(fulfilled());
}

/** A refusal with the value that its condition has met: the answer may have had no room for it. */
async function withValue(delivery: Delivery, key: string, refusal: Result): Promise<Result> {
  if (refusal.value !== undefined || refusal.revision === undefined) return refusal;
  const [read] = await delivery.deliver([{ op: 'get', key }]);
  if (read?.status === undefined) return { ...refusal, unread: read?.error };
  return read.status === 200 || read.status === 404 ? read : { ...refusal, unread: errorOf(key, read) };
}
