/**
 * Values on their way to and from a server: the same as core/json.ts, with errors that name the key.
 */
import type { Snapshot } from '../core/backend.ts';
import { StorageError } from '../core/errors.ts';
import { decode, encode } from '../core/json.ts';

/**
 * The JSON text of a value.
 *
 * @throws {StorageError} `unsupported-value`
 */
export async function encodeAt(key: string, value: Snapshot): Promise<string> {
  try {
    return await encode(value);
  } catch (cause) {
    // A File that changed on the disk since it was picked, for one.
    throw new StorageError('unsupported-value', `The value of ${key} cannot be read: ${cause}`, { cause });
  }
}

/**
 * What a key's JSON stands for.
 *
 * @throws {StorageError} `unsupported-value`
 */
export async function decodeAt(key: string, json: unknown): Promise<unknown> {
  try {
    return await decode(json);
  } catch (cause) {
    throw new StorageError('unsupported-value', `Key ${key}: ${(cause as Error).message}`, { cause });
  }
}
