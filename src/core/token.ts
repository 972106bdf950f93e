/**
 * What a bearer token may be.
 *
 * Spec: RFC 6750 §2.1; visible ASCII, so that it is one header value whatever the platform makes of it.
 */
import { StorageError } from './errors.ts';

/** A token, or a function that is asked for one before each request: it may fetch a fresh one. */
export type Token = string | (() => string | Promise<string>);

/**
 * Check a token. It is never part of a message.
 *
 * @throws {StorageError} `invalid-option`
 */
export function checkToken(token: unknown): string {
  if (typeof token === 'string' && /^[\x21-\x7e]+$/.test(token)) return token;
  throw new StorageError('invalid-option', 'A token is text of visible ASCII characters without spaces.');
}
