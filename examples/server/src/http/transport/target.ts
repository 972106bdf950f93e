/**
 * The request target: its path, the key in it, and its parameters. All are taken from the target as it was sent.
 *
 * A URL parser would resolve `..`, and a router would distinguish `a%2Fb` from `a/b`: here both are the key `a/b`.
 * Malformed escapes are refused, not repaired.
 *
 * Spec: docs/contract.md, 3.1, 3.2 and 6.4; RFC 3986 §2.1; RFC 9112 §3.2.
 */
import type { IncomingMessage } from 'node:http';
import { HttpError } from '../errors.ts';

/** The path before a key. */
export const KEY_PREFIX = '/api/storage/';

/** A target in origin form or absolute form. Some software reads a backslash as a slash, so a path contains none. */
const TARGET = /^(?:https?:\/\/[^/?\\@]+(?=[/?]|$)|(?=\/))[^?\\]*(?:\?|$)/i;

const AUTHORITY = /^https?:\/\/([^/?]*)/i;

/** Whether a request has a usable target, and exactly one Host header (RFC 9112 §3.2). */
export function isWellFormed({ url = '', headers, rawHeaders }: IncomingMessage): boolean {
  return (
    TARGET.test(url) &&
    headers.host !== undefined &&
    /^[^\s"/<>?\\^`{|}#@]+$/.test(headers.host) &&
    countOf(rawHeaders, 'host') === 1
  );
}

/** How many header fields have this name. Node.js drops all but the first Host from `headers`. */
function countOf(rawHeaders: readonly string[], name: string): number {
  let count = 0;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const field = rawHeaders[i] as string;
    if (field.length === name.length && field.toLowerCase() === name) count += 1;
  }
  return count;
}

/** The host that a request is for. The one in an absolute target replaces the Host header (RFC 9112 §3.2.2). */
export function hostOf({ url = '', headers }: IncomingMessage): string {
  return (url.startsWith('/') ? undefined : AUTHORITY.exec(url)?.[1]) ?? headers.host ?? '';
}

/** The path of a target without its query, escapes included. */
export function pathOf(target: string): string {
  const path = target.startsWith('/') ? target : target.replace(AUTHORITY, '');
  const query = path.indexOf('?');
  return query === -1 ? path : path.slice(0, query);
}

/**
 * The key in a target: everything after the prefix, unescaped once.
 *
 * @throws {HttpError} 400 when an escape is malformed or not UTF-8.
 */
export function keyOf(target: string): string {
  return unescaped(pathOf(target).slice(KEY_PREFIX.length), 'key');
}

/** The parameters of a target. The last of equal names counts. */
export type Query = ReadonlyMap<string, string>;

/** @throws {HttpError} 400 when an escape is malformed or not UTF-8. */
export function queryOf(target: string): Query {
  const at = target.indexOf('?');
  const pairs = at === -1 ? [] : target.slice(at + 1).split('&');
  return new Map(
    pairs
      .filter((pair) => pair !== '')
      .map((pair) => {
        const [, name = '', value = ''] = /^([^=]*)=?(.*)$/s.exec(pair.replaceAll('+', ' ')) ?? [];
        return [unescaped(name, 'query'), unescaped(value, 'query')];
      }),
  );
}

/** @throws {HttpError} 400 unless the parameter is absent or an integer from `least` to `most`. */
export function integerOf(query: Query, name: string, fallback: number, least: number, most: number): number {
  const text = query.get(name);
  if (text === undefined) return fallback;
  const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
  if (value >= least && value <= most) return value;
  throw new HttpError(400, `${name} must be a whole number from ${least} to ${most}`);
}

/** @throws {HttpError} 400 unless the parameter is absent (then the first choice counts) or one of `choices`. */
export function choiceOf<T extends string>(query: Query, name: string, choices: readonly [T, ...T[]]): T {
  const text = query.get(name) ?? choices[0];
  const choice = choices.find((choice) => choice === text);
  if (choice === undefined) throw new HttpError(400, `${name} must be one of ${choices.join(', ')}`);
  return choice;
}

function unescaped(text: string, part: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new HttpError(400, `Malformed percent-escape in the ${part}`);
  }
}
