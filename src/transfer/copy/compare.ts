/**
 * Whether two values are the same, whatever the order of their objects' keys: an old server answers them sorted.
 *
 * Two values are the same when their canonical texts are: keys sorted, then the form in which they travel. That covers
 * cycles, shared references, Blobs and everything else that can be stored, exactly as far as it is stored.
 */
import type { Snapshot } from '../../core/backend.ts';
import { encode } from '../../core/json.ts';
import { snapshot } from '../../core/values.ts';

/** Compares two snapshots. */
export async function sameValue(a: Snapshot, b: Snapshot): Promise<boolean> {
  if (a.plain !== b.plain) return false;
  return (await encode(a)) === (await encode(b)) || (await canonical(a)) === (await canonical(b));
}

async function canonical({ value }: Snapshot): Promise<string> {
  const copy = snapshot(value);
  sortKeys(copy.value, new Set());
  return encode(copy);
}

/** Sort the keys of every object that `value` reaches, in place. */
function sortKeys(value: unknown, met: Set<unknown>): void {
  if (typeof value !== 'object' || value === null || met.has(value) || ArrayBuffer.isView(value)) return;
  met.add(value);
  const visit = (member: unknown): void => sortKeys(member, met);
  if (Array.isArray(value)) Object.values(value).forEach(visit);
  else if (value instanceof Set) value.forEach(visit);
  else if (value instanceof Map) [...value].flat().forEach(visit);
  else if (value instanceof Error) visit(value.cause);
  else if (Object.getPrototypeOf(value) === Object.prototype) {
    for (const key of Object.keys(value).sort()) {
      const descriptor = Object.getOwnPropertyDescriptor(value, key) as PropertyDescriptor;
      Reflect.deleteProperty(value, key);
      Object.defineProperty(value, key, descriptor);
      visit(descriptor.value);
    }
  }
}
