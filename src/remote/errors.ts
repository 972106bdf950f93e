/**
 * Failures of a storage server: which error code each one has, and its words.
 *
 * A message begins with what failed: the server's address, a request, or a key.
 *
 * Spec: RFC 9110 (statuses).
 */
import { StorageError, type StorageErrorCode } from '../core/errors.ts';
import type { JsonObject } from '../core/json.ts';

/** An answer with a status that is not 2xx. */
export interface RefusedAnswer {
  readonly status: number;
  /** Its media type. */
  readonly type: string;
  /** The body, if it is a JSON object. */
  readonly json: JsonObject | undefined;
}

/** The error code of a status, of a request or of one operation in a batch. `body` is `undefined` where nothing readable came with it. */
export function codeOf(status: number, body: unknown): StorageErrorCode {
  if (status === 413) return 'too-large';
  if (status === 507) return 'quota';
  if (status === 401 || status === 403) return 'forbidden';
  const isDefinite = status >= 400 && status < 500 && status !== 429 && status !== 408 && status !== 404;
  return isDefinite && body !== undefined ? 'refused' : 'unavailable';
}

/** The message of a status that a whole request was answered with. */
export function ofStatus(subject: string, { status, type, json }: RefusedAnswer): string {
  const text = textOf(json?.error);
  // A browser shows a redirect that it did not follow with the status 0.
  if (status < 400) return `${subject}: the server answered with a redirect. Configure its final address.`;
  const isKnown = status !== 404 && (json !== undefined || sentenceOf(status) !== undefined);
  return isKnown ? ofRefusal(subject, status, text) : ofStranger(subject, `${status} ${type}${text}`);
}

/** The message of a status that one operation of a batch was answered with. */
export const ofOperation = (subject: string, status: number, error: string): string =>
  ofRefusal(subject, status, textOf(error));

/** The message for an answer that no storage server gives. */
export const ofStranger = (subject: string, answered: string): string =>
  `${subject} answered ${answered}: is this the storage server?`;

/** The message for an answer that did not come in time. */
export const ofTimeout = (subject: string, limitMs: number): string =>
  `${subject} did not answer within ${Math.round(limitMs)} ms.`;

/** The message for a connection that failed. Node.js gives codes, browsers give nothing. */
export function ofSilence(subject: string, codes: readonly string[]): string {
  const [code = 'no connection'] = codes;
  return codes.includes('ECONNREFUSED')
    ? `${subject} does not answer: the connection was refused (ECONNREFUSED). Start the server, or correct the address.`
    : `${subject} does not answer (${code}): the server is down, or it cannot be reached from here.`;
}

/** A value that is not sent, because the server announced a lower limit. */
export const sizeError = (key: string, bytes: number, most: number): StorageError =>
  new StorageError(
    'too-large',
    `Key ${key}: the value is ${bytes} bytes as JSON, and this server accepts ${most} at most.`,
  );

/** A refusal of writes that an earlier attempt may have carried out. */
export const lateRefusal = (cause: StorageError): StorageError =>
  new StorageError(
    'unavailable',
    `It is not known whether the writes arrived: an answer was lost, and then ${cause.message}`,
    { cause },
  );

/**
 * The token is for another account than the data that a request is for: nothing was read or written (docs/contract.md, 9.16).
 *
 * A class of its own, because a server that forbids a request for any other reason may allow the same request later.
 */
export class OtherAccountError extends StorageError {
  constructor(message: string) {
    super('forbidden', message);
  }
}

/** The error for a request that the server has refused with `other-account`. */
export const otherAccountError = (): OtherAccountError =>
  new OtherAccountError(
    'The token is for another account now, so the server has applied nothing. Read the data of that account before you write to it.',
  );

/**
 * The server has refused a conditional write, and the value that the key has instead could not be read. Nothing was stored.
 *
 * It is not a `ConflictError`, whose `current` would say that the key does not exist. A class of its own, because the server has
 * answered: such a write is not carried out on the device.
 */
export class UnreadConflictError extends StorageError {
  constructor(key: string, cause: StorageError) {
    super(
      'unavailable',
      `Key ${key} has another revision than this write requires; nothing was stored. Its value could not be read: ${cause.message}`,
      { cause },
    );
  }
}

/** Whether a failure says that the server did not answer. */
export const isUnanswered = (error: StorageError): boolean =>
  (error.code === 'unavailable' || error.code === 'timeout') && !(error instanceof UnreadConflictError);

/** An answer that no storage server gives. */
export const strangerError = (subject: string, answered: string): StorageError =>
  new StorageError('unavailable', ofStranger(subject, answered));

/** The platform's codes of a failed connection: Node.js hides them two causes deep. */
export function platformCodes(error: unknown): string[] {
  const codes: string[] = [];
  for (let inner = error; inner instanceof Error; inner = inner.cause) {
    const { code } = inner as Error & { code?: unknown };
    if (typeof code === 'string') codes.push(code);
  }
  return codes;
}

const textOf = (error: unknown): string => (typeof error === 'string' && error !== '' ? `: ${error}` : '');

const ofRefusal = (subject: string, status: number, text: string): string =>
  `${subject}: ${sentenceOf(status) ?? 'the server refused this'} (status ${status})${text}`;

function sentenceOf(status: number): string | undefined {
  if (status === 413) return "this exceeds the server's size limit";
  if (status === 507) return "the server's disk or quota is full";
  if (status === 401) return 'the server requires a valid token, see the option token';
  if (status === 403) return 'the server does not allow this';
  if (status === 429) return 'the server receives too many requests';
  return status >= 500 || status === 408 ? 'the server failed' : undefined;
}
