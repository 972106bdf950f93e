/**
 * How much an IndexedDB store holds. It keeps no sizes, so every value is read.
 */
import type { Backend, StorageStats } from '../core/backend.ts';
import { StorageError } from '../core/errors.ts';
import { encode } from '../core/json.ts';
import { utf8Length } from '../core/keys.ts';
import { snapshot } from '../core/values.ts';
import type { Connection } from './connection.ts';
import { resultOf } from './errors.ts';
import { rangeOf } from './range.ts';

export async function statsOf(entries: ReturnType<Backend['entries']>): Promise<StorageStats> {
  let keys = 0;
  let sizeBytes = 0;
  for await (const page of entries) {
    keys += page.length;
    for (const [, value] of page) sizeBytes += utf8Length(await textOf(value));
  }
  return { keys, sizeBytes };
}

export async function countOf(read: Connection['read']): Promise<number> {
  const [request] = await read((store) => [store.count(rangeOf(''))] as const);
  return resultOf(request, 'The number of keys') as number;
}

/** How a value would travel; nothing for one of another program that cannot. */
async function textOf(value: unknown): Promise<string> {
  try {
    return await encode(snapshot(value));
  } catch (error) {
    if (error instanceof StorageError && error.code === 'unsupported-value') return '';
    throw error;
  }
}
