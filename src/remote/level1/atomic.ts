/**
 * An atomic unit: one batch that the server carries out as a whole, or not at all (docs/contract.md, 5.4).
 */
import { type AtomicPart, fulfilled, type Outcome, rejected, type StoredEntry } from '../../core/backend.ts';
import { ConflictError } from '../../core/conflict.ts';
import { type Delivery, entryOf, errorOf } from './batches.ts';
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
    return all(rejected(new ConflictError(part.key, attempted, await currentOf(delivery, part.key, result))));
  }
  return all(fulfilled());
}

/** What a condition has met. An answer may have had no room for the value. */
async function currentOf(delivery: Delivery, key: string, result: Result): Promise<StoredEntry | undefined> {
  if (result.value !== undefined || result.revision === undefined) return entryOf(key, result);
  const [read] = await delivery.deliver([{ op: 'get', key }]);
  return read?.status === undefined ? undefined : entryOf(key, read);
}
