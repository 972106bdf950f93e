/**
 * Requests that tell when the server has received them: for tests that need one to be under way.
 *
 * Each asks for `100 Continue` (RFC 9110, 10.1.1), which a server sends when it has read the head and begins with the request.
 */
import { request as httpRequest, type IncomingHttpHeaders, type RequestOptions } from 'node:http';
import { text } from 'node:stream/consumers';

/** A request that the server has received, and may not have answered yet. */
export interface ReceivedRequest {
  /** Send more of the body. */
  write(part: string): void;
  /** Send the rest of the body. */
  end(part?: string): void;
  /** Rejects when the connection ends first, and when the request was aborted. */
  readonly answer: Promise<{
    readonly status: number;
    readonly headers: IncomingHttpHeaders;
    readonly text: string;
  }>;
}

/** Send the head of a request. Resolves when the server has received it; its body is still open. */
export async function sendUntilReceived(url: string, options: RequestOptions = {}): Promise<ReceivedRequest> {
  const request = httpRequest(url, {
    ...options,
    agent: false,
    headers: { ...options.headers, expect: '100-continue' },
  });
  const answer = new Promise<Awaited<ReceivedRequest['answer']>>((resolve, reject) => {
    request.on('error', reject).on('response', (response) => {
      const { statusCode: status = 0, headers } = response;
      text(response).then((text) => resolve({ status, headers, text }), reject);
    });
  });
  const received = new Promise<void>((resolve) => request.on('continue', resolve));
  request.flushHeaders();
  await Promise.race([received, answer]);
  return { write: (part) => void request.write(part), end: (part) => void request.end(part), answer };
}

/** Send a GET request. Resolves when the server has received it. */
export async function getUntilReceived(url: string, signal?: AbortSignal): Promise<ReceivedRequest> {
  const sent = await sendUntilReceived(url, signal && { signal });
  sent.end();
  return sent;
}
