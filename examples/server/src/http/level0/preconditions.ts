/** If-Match and If-None-Match. Spec: RFC 9110 §8.8.3 and §13. */
import type { IncomingHttpHeaders } from 'node:http';

/** `failed`: 412. `unchanged`: the caller already has this state, so 304 to a GET and 412 to a write. */
export type PreconditionResult = 'proceed' | 'failed' | 'unchanged';

export function hasPrecondition(headers: IncomingHttpHeaders): boolean {
  return headers['if-match'] !== undefined || headers['if-none-match'] !== undefined;
}

/** @param tag The entry's current tag; `undefined` when the key is missing. */
export function evaluatePreconditions(
  headers: IncomingHttpHeaders,
  tag: string | undefined,
): PreconditionResult {
  const ifMatch = headers['if-match'];
  if (ifMatch !== undefined && !lists(ifMatch, tag, 'strong')) return 'failed';
  const ifNoneMatch = headers['if-none-match'];
  if (ifNoneMatch !== undefined && lists(ifNoneMatch, tag, 'weak')) return 'unchanged';
  return 'proceed';
}

/** A tag as the value of a header field. */
export function entityTag(tag: string): string {
  return `"${tag}"`;
}

function lists(header: string, tag: string | undefined, comparison: 'strong' | 'weak'): boolean {
  if (tag === undefined) return false;
  if (header.trim() === '*') return true;
  for (const [, weak, listed] of header.matchAll(/(W\/)?"([^"]*)"/g)) {
    if (listed === tag && (comparison === 'weak' || weak === undefined)) return true;
  }
  return false;
}
