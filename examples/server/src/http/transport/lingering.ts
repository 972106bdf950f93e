/**
 * Requests whose body has not been read when they are answered.
 *
 * A socket that is closed while bytes still come is reset, and the reset can overtake the answer. So the answer goes
 * out at once, but ends only when the rest of the body has come and gone, or has taken too long.
 *
 * Spec: RFC 9112 §9.6.
 */
import type { IncomingMessage } from 'node:http';

/** Milliseconds that the rest of a refused body may take. */
const LINGER_LIMIT = 5000;

/** Whether a request says that it has a body. */
export function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
}

/** Read and drop what still comes. Resolves at its end, or at the limit. */
export function rest(incoming: IncomingMessage): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      resolve();
    };
    const timer = setTimeout(done, LINGER_LIMIT);
    incoming.once('end', done).once('error', done).once('close', done).resume();
  });
}
