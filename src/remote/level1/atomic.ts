/**
 * An atomic unit: one batch that the server carries out as a whole, or not at all (docs/contract.md, 5.4).
 */
import type { AtomicPart, StoredEntry } from '../../core/backend.ts';
import { ConflictError } from '../../core/conflict.ts';
import { StorageError } from '../../core/errors.ts';
import { type Delivery, entryOf, errorOf } from './batches.ts';
import type { Delivered, Result, WireOp } from './protocol.ts';

/**
 * Carries out all parts or none.
 *
 * @throws {ConflictError} of the first part whose condition is not met.
 */
export async function runAtomic(delivery: Delivery, parts: readonly AtomicPart[]): Promise<void> {
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
  for (const [i, part] of partsOfOps.entries()) {
    const result = results[i] as Delivered;
    if (result instanceof StorageError) throw result;
    const { status } = result;
    // 424: another part has failed.
    if (status === 200 || status === 404 || status === 424) continue;
    if (status !== 412) throw errorOf(part.key, result);
    const attempted = part.type === 'put' ? part.value : undefined;
    throw new ConflictError(part.key, attempted, await currentOf(delivery, part.key, result));
  }
}

/** What a condition has met. An answer may have had no room for the value. */
async function currentOf(delivery: Delivery, key: string, result: Result): Promise<StoredEntry | undefined> {
  if (result.value !== undefined || result.revision === undefined) return entryOf(key, result);
  const [read] = await delivery.deliver([{ op: 'get', key }]);
  return read === undefined || read instanceof StorageError ? undefined : entryOf(key, read);
}
