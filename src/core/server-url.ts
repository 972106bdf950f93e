/**
 * The address of a server.
 *
 * Spec: WHATWG URL.
 */
import { invalidOption } from './options.ts';
import { findBaseUrl } from './platform.ts';

/**
 * Checks the base URL of a server. An address that begins with `/` or `.` is resolved against the page, as `fetch()` would do it.
 *
 * @param name Names the option or argument, for the message.
 * @returns The URL with a trailing slash.
 * @throws {StorageError} `invalid-option`
 */
export function checkServerUrl(text: unknown, name = 'createStorage(): flaskUrl'): string {
  const refuse = (why: string): never => {
    throw invalidOption(`${name} must be the address of the server, such as http://localhost:5001${why}`);
  };
  if (typeof text !== 'string') return refuse('.');
  const isRelative = /^[./]/.test(text);
  const base = isRelative ? findBaseUrl() : undefined;
  if (isRelative && base === undefined)
    return refuse(
      `: ${JSON.stringify(text)} is relative, and there is no page that it could be relative to.`,
    );
  if (!isRelative && /^[\w.-]+(:\d+)?([/?#]|$)/.test(text)) return refuse(`: did you mean http://${text}?`);
  if (!URL.canParse(text, base)) return refuse('.');
  const url = new URL(text, base);
  if (!/^https?:$/.test(url.protocol)) return refuse(`, over http or https, not ${url.protocol}`);
  if (/[?#]/.test(url.href)) return refuse(', without a query or fragment.');
  if (url.username || url.password)
    return refuse(', without a user name and password: use the option token.');
  return url.href.replace(/\/*$/, '/');
}
