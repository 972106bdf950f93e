/**
 * Which keys may be written.
 *
 * Spec: docs/contract.md, 10.
 */
import { HttpError } from './errors.ts';

/** UTF-8 bytes. */
export const MAX_KEY_BYTES = 1024;

/** @throws {HttpError} 400 unless `key` may be written. */
export function checkKey(key: string): void {
  const problem = keyProblem(key);
  if (problem !== undefined) throw new HttpError(400, problem, { name: 'invalid-key' });
}

/** Why `key` may not be written; `undefined` if it may. */
export function keyProblem(key: string): string | undefined {
  if (key !== '' && isShort(key) && key.isWellFormed() && !key.includes('\0')) return undefined;
  const shown = JSON.stringify(key.slice(0, 100));
  return `Invalid key ${shown}: a key is 1 to ${MAX_KEY_BYTES} bytes of UTF-8 without U+0000`;
}

function isShort(key: string): boolean {
  return key.length <= MAX_KEY_BYTES && Buffer.byteLength(key) <= MAX_KEY_BYTES;
}
