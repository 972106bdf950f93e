/**
 * What a failure of a request is called in words, and what to do about it.
 *
 * Loaded when something has failed. What an error's `code` is was decided before: without this file only the words are fewer.
 */
import type { JsonObject } from '../core/json.ts';

/** An answer with a status that says no. */
export interface Refused {
  readonly status: number;
  /** Its media type. */
  readonly type: string;
  readonly json: JsonObject | undefined;
}

/** Why an answer with that status is none that was hoped for. */
export function ofStatus(subject: string, { status, type, json }: Refused): string {
  const text = typeof json?.error === 'string' ? `: ${json.error}` : '';
  // A browser shows a redirect that it did not follow with the status 0.
  if (status < 400) return `${subject} answered a redirect: give the server's final address instead.`;
  const known = ofKnownStatus(subject, status, text);
  if (known !== undefined) return known;
  if (json === undefined || status === 404) return ofStranger(subject, `${status} ${type}${text}`);
  return `${subject} was refused with status ${status}${text}`;
}

/** Why one operation of a batch was refused. */
export const ofOperation = (subject: string, status: number, error: string): string =>
  ofKnownStatus(subject, status, `: ${error}`) ?? `${subject} was refused with status ${status}: ${error}`;

/** A value that is not sent at all. */
export const ofSize = (key: string, bytes: number, most: number): string =>
  `The value of ${key} is ${bytes} bytes as JSON; this server takes ${most} at most.`;

/** A refusal of something that may have been carried out at an earlier attempt. */
export const ofDoubt = (message: string): string =>
  `An answer was lost, and then: ${message} Whether the writes arrived is not known.`;

/** An answer that no storage server gives. */
export const ofStranger = (subject: string, answered: string): string =>
  `${subject} answered ${answered}: is this the storage server?`;

export const ofTimeout = (subject: string, limit: number): string =>
  `${subject} did not answer within ${Math.round(limit)} ms.`;

/** No answer at all. Node.js tells a code, browsers tell nothing. */
export function ofSilence(subject: string, codes: readonly string[]): string {
  const reason = codes.includes('ECONNREFUSED')
    ? 'the connection was refused; nothing listens there.'
    : (codes[0] ?? 'it is down, or it cannot be reached from here.');
  return `${subject} got no answer: ${reason}`;
}

function ofKnownStatus(subject: string, status: number, text: string): string | undefined {
  if (status === 413) return `${subject} is over the server's size limit${text}`;
  if (status === 507) return `${subject}: the server's disk or quota is full${text}`;
  if (status >= 500 || status === 429 || status === 408)
    return `${subject} failed at the server with status ${status}${text}`;
  if (status !== 401 && status !== 403) return undefined;
  const advice = status === 401 ? '. Give one with the option token.' : '';
  return `${subject} is not allowed (${status})${text}${advice}`;
}
