/** If-Match and If-None-Match. Spec: RFC 9110 §8.8.3, §13. */
import type { IncomingHttpHeaders } from 'node:http';

/** `failed`: 412. `unchanged`: the caller has this state already; 304 to a GET, 412 to a change. */
export type Verdict = 'proceed' | 'failed' | 'unchanged';

/** Whether a request brings a precondition at all. */
export function hasPrecondition(headers: IncomingHttpHeaders): boolean {
  return headers['if-match'] !== undefined || headers['if-none-match'] !== undefined;
}

/**
 * Judge a request's preconditions.
 *
 * @param tag Of the entry as it is now; `undefined` where there is none.
 */
export function judge(headers: IncomingHttpHeaders, tag: string | undefined): Verdict {
  const ifMatch = headers['if-match'];
  if (ifMatch !== undefined && !names(ifMatch, tag, 'strong')) return 'failed';
  const ifNoneMatch = headers['if-none-match'];
  if (ifNoneMatch !== undefined && names(ifNoneMatch, tag, 'weak')) return 'unchanged';
  return 'proceed';
}

/** A tag as a header's value. */
export function entityTag(tag: string): string {
  return `"${tag}"`;
}

function names(header: string, tag: string | undefined, comparison: 'strong' | 'weak'): boolean {
  if (tag === undefined) return false;
  if (header.trim() === '*') return true;
  for (const [, weak, listed] of header.matchAll(/(W\/)?"([^"]*)"/g)) {
    if (listed === tag && (comparison === 'weak' || weak === undefined)) return true;
  }
  return false;
}
