/**
 * The address of a server.
 */
import { StorageError } from './errors.ts';

/**
 * The base URL of a server, with a trailing slash.
 *
 * @throws {StorageError} `invalid-option`
 */
export function checkServerUrl(text: unknown): string {
  const url = typeof text === 'string' && URL.canParse(text) ? new URL(text) : undefined;
  const usable =
    url && /^https?:$/.test(url.protocol) && !/[?#]/.test(url.href) && !url.username && !url.password;
  if (!usable)
    throw new StorageError(
      'invalid-option',
      "createStorage: flaskUrl must be the server's address, such as http://localhost:5001.",
    );
  return (url as URL).href.replace(/\/*$/, '/');
}
