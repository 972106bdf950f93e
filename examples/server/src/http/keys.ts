/**
 * Keys in URLs: whatever follows `/api/storage/` in the request target, unescaped once.
 *
 * It is taken from the target as it was sent. A URL parser would resolve `..`, and a router would tell `a%2Fb` from
 * `a/b`; both are the key `a/b`.
 *
 * Spec: docs/contract.md (Keys), RFC 3986 §2.1, RFC 9112 §3.2.
 */
import type { IncomingMessage } from 'node:http';
import { Refusal } from './answers.ts';

/** What precedes a key. */
export const KEY_PREFIX = '/api/storage/';

const MAX_KEY_BYTES = 1024;

/** In origin or absolute form. A backslash would be a slash to some, so there is none in the path. */
const TARGET = /^(?:https?:\/\/[^/?\\]+|(?=\/))[^?\\]*(?:\?|$)/i;

/** Whether a request names what it is about: a target that is no other server's, and a host. RFC 9112 §3.2. */
export function isWellFormed({ url = '', headers }: IncomingMessage): boolean {
  return TARGET.test(url) && headers.host !== undefined && /^[^\s"/<>?\\^`{|}#@]+$/.test(headers.host);
}

/** The path of a request target, without its query, as it was sent. */
export function pathOf(target: string): string {
  const path = target.startsWith('/') ? target : target.replace(/^https?:\/\/[^/?]*/i, '');
  const query = path.indexOf('?');
  return query === -1 ? path : path.slice(0, query);
}

/**
 * The key that a request target names.
 *
 * @throws {Refusal} 400 for escapes that are malformed or no UTF-8.
 */
export function addressedKey(target: string): string {
  try {
    return decodeURIComponent(pathOf(target).slice(KEY_PREFIX.length));
  } catch {
    throw new Refusal(400, 'Malformed percent-escape in the key');
  }
}

/** @throws {Refusal} 400 unless `key` may be written. */
export function checkKey(key: string): void {
  const refusal = refusalOfKey(key);
  if (refusal !== undefined) throw new Refusal(400, refusal, { name: 'invalid-key' });
}

/** Why `key` may not be written, if so. */
export function refusalOfKey(key: string): string | undefined {
  if (key !== '' && isShort(key) && key.isWellFormed() && !key.includes('\0')) return undefined;
  const shown = JSON.stringify(key.slice(0, 100));
  return `Invalid key ${shown}: 1 to ${MAX_KEY_BYTES} bytes of UTF-8 without U+0000`;
}

function isShort(key: string): boolean {
  return key.length <= MAX_KEY_BYTES && Buffer.byteLength(key) <= MAX_KEY_BYTES;
}
