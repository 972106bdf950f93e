/**
 * Error answers. A body has the members of RFC 9457 and the `error` that clients of level 0 read. It never contains the
 * text of an exception: that goes to the log.
 *
 * Spec: docs/contract.md, 9.1, 9.2 and the table of statuses; RFC 9457.
 */
import { STATUS_CODES } from 'node:http';
import type { Logger } from '../log.ts';
import { type Quota, quotaText, type Usage } from '../store/quota.ts';
import { OUTCOME_TEXTS, StoreError, type StoreErrorCode } from '../store/store.ts';
import { type Answer, answer, type Fields } from './answers.ts';

/** The prefix of the `type` of problems that have a name. */
const PROBLEM = 'urn:codeforge-storage:';

/** What an error answer has besides its status and text. */
interface Details {
  readonly headers?: Fields;
  /** The problem's name: see docs/contract.md, 9.2. */
  readonly name?: string;
  /** Further members of the body. */
  readonly members?: Readonly<Record<string, unknown>>;
}

/** Ends a request with an error answer. The caller sees `message`. */
export class HttpError extends Error {
  override readonly name = 'HttpError';
  readonly status: number;
  readonly details: Details;

  constructor(status: number, message: string, details: Details = {}) {
    super(message);
    this.status = status;
    this.details = details;
  }
}

/** An error answer. */
export function failure(status: number, message: string, { headers, ...details }: Details = {}): Answer {
  return answer(errorText(status, message, details), status, headers);
}

/** The body of an error answer. */
export function errorText(status: number, message: string, { name, members }: Details = {}): string {
  const type = problemType(name);
  const title = STATUS_CODES[status];
  return JSON.stringify({ error: message, type, title, status, detail: message, ...members });
}

/** The `type` of a problem (RFC 9457 §3.1.1). */
export function problemType(name: string | undefined): string {
  return name === undefined ? 'about:blank' : PROBLEM + name;
}

export function keyNotFound(headers?: Fields): Answer {
  return failure(404, OUTCOME_TEXTS.missing, headers && { headers });
}

export function preconditionFailed(headers: Fields): Answer {
  return failure(412, OUTCOME_TEXTS['condition-failed'], { headers });
}

/** A write without a condition could overwrite what its caller has not seen (RFC 6585 §3). */
export function preconditionRequired(): HttpError {
  return new HttpError(
    428,
    'This server writes a key only under a condition: send If-Match with the ETag that you have read, or If-None-Match: * for a new key',
  );
}

/** A write is over the quota of its tenant. */
export function quotaExceeded({ used, quota }: { readonly used: Usage; readonly quota: Quota }): HttpError {
  return new HttpError(507, quotaText(used, quota), {
    name: 'quota-exceeded',
    members: { used, quota },
  });
}

const RETRY = { headers: { 'Retry-After': '1' } };

/** A request is over a limit of what all callers, or this one, may use at once. */
export function tooManyRequests(): HttpError {
  return new HttpError(503, 'Too many requests at once', RETRY);
}

const STORE_ERRORS: Record<StoreErrorCode, HttpError> = {
  full: new HttpError(507, 'The disk is full'),
  busy: new HttpError(503, 'The database is busy', RETRY),
  unreachable: new HttpError(503, 'The database cannot be reached', RETRY),
  unknown: new HttpError(
    503,
    'The database did not say whether it has committed: the request may have been applied',
    {
      ...RETRY,
      name: 'outcome-unknown',
    },
  ),
  failed: new HttpError(503, 'The database failed: see the log of the server', RETRY),
};

/** What the caller sees of `error`. Everything but an `HttpError` is logged with its stack. */
export function toHttpError(error: unknown, log: Logger): HttpError {
  if (error instanceof HttpError) return error;
  log.error({ err: error }, 'request failed');
  if (error instanceof StoreError) return STORE_ERRORS[error.code];
  return new HttpError(500, 'The server failed: see its log');
}

/** The answer to an error that a route threw. */
export function errorAnswer(error: unknown, log: Logger): Answer {
  const { status, message, details } = toHttpError(error, log);
  return failure(status, message, details);
}
