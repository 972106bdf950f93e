/**
 * The comparison of values that were stored and read back.
 */
import type { Snapshot } from './backend.ts';
import { encode } from './json.ts';
import { snapshot } from './values.ts';

/**
 * Whether two values are equal, apart from the order of object members, which old servers sort.
 *
 * Values are equal if their canonical texts are: the encoded form of the value with sorted members. This includes cycles, shared
 * references, Blobs and every other value that can be stored.
 */
export async function sameValue(a: Snapshot, b: Snapshot): Promise<boolean> {
  if (a.plain !== b.plain) return false;
  return (await encode(a)) === (await encode(b)) || (await canonical(a)) === (await canonical(b));
}

async function canonical({ value }: Snapshot): Promise<string> {
  const copy = snapshot(value);
  sortKeys(copy.value, new Set());
  return encode(copy);
}

/** Sorts the members of every object that `value` reaches, in place. */
function sortKeys(value: unknown, visited: Set<unknown>): void {
  if (typeof value !== 'object' || value === null || visited.has(value) || ArrayBuffer.isView(value)) return;
  visited.add(value);
  const visit = (member: unknown): void => sortKeys(member, visited);
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
