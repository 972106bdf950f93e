/**
 * What the server says: JSON, and never the text of an exception. Errors have the members of RFC 9457 beside the
 * `error` that old clients read.
 */
import { STATUS_CODES } from 'node:http';

type Headers = Readonly<Record<string, string>>;

/** The beginning of the types of problems that have a name. */
const PROBLEM = 'urn:codeforge-storage:';

/** What an error answer carries besides its status and text. */
export interface Details {
  readonly headers?: Headers;
  /** The problem's name, as docs/contract.md gives it. */
  readonly name?: string;
  /** Further members of the body. */
  readonly members?: Readonly<Record<string, unknown>>;
}

/** Ends a request with an error that is the caller's to read. */
export class Refusal extends Error {
  override readonly name = 'Refusal';
  readonly status: number;
  readonly details: Details;

  constructor(status: number, message: string, details: Details = {}) {
    super(message);
    this.status = status;
    this.details = details;
  }
}

/** @param text JSON. */
export function answer(text: string, status = 200, headers?: Headers): Response {
  const length = { 'Content-Type': 'application/json', 'Content-Length': String(Buffer.byteLength(text)) };
  return new Response(text, { status, headers: headers ? { ...length, ...headers } : length });
}

/** An answer whose text is made while it is sent. */
export function streamed(type: string, text: ReadableStream<Uint8Array>): Response {
  return new Response(text, { headers: { 'Content-Type': type } });
}

/** An error answer. */
export function failure(status: number, message: string, { headers, ...details }: Details = {}): Response {
  return answer(errorText(status, message, details), status, headers);
}

/** The body of an error answer. */
export function errorText(status: number, message: string, { name, members }: Details = {}): string {
  const type = problemType(name);
  const title = STATUS_CODES[status];
  return JSON.stringify({ error: message, type, title, status, detail: message, ...members });
}

/** RFC 9457's `type` of a problem. */
export function problemType(name: string | undefined): string {
  return name === undefined ? 'about:blank' : PROBLEM + name;
}

/** The exact text that old clients look for. */
export function keyNotFound(headers: Headers = {}): Response {
  return failure(404, 'Key not found', { headers });
}

/** A change that is durable now. */
export function success(headers?: Headers): Response {
  return answer('{"success":true}', 200, headers);
}
