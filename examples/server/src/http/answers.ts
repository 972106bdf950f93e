/** What the server says: always JSON, and never the text of an exception. */

type Headers = Readonly<Record<string, string>>;

const JSON_TYPE: Headers = { 'Content-Type': 'application/json' };

/** Ends a request with an error that is the caller's to read. */
export class Refusal extends Error {
  override readonly name = 'Refusal';
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** @param text JSON. */
export function answer(text: string | ReadableStream<Uint8Array>, status = 200, headers?: Headers): Response {
  return new Response(text, { status, headers: headers ? { ...JSON_TYPE, ...headers } : JSON_TYPE });
}

/** An error answer. */
export function failure(status: number, message: string, headers?: Headers): Response {
  return answer(errorText(message), status, headers);
}

/** The body of an error answer. */
export function errorText(message: string): string {
  return JSON.stringify({ error: message });
}

/** The exact text that old clients look for. */
export function keyNotFound(headers?: Headers): Response {
  return failure(404, 'Key not found', headers);
}

/** A change that is durable now. */
export function success(headers?: Headers): Response {
  return answer('{"success":true}', 200, headers);
}
