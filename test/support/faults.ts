/**
 * Faults of a network, one request at a time: what a proxy does to a request on its way, and to the answer.
 *
 * The proxy has the whole request before it passes any of it on, and the server's whole answer before the client gets any
 * of it. So where a fault hits is exact: an answer that was dropped is one of a server that has committed.
 */

/** A request as it came from the client. */
export interface ProxiedRequest {
  /** Counted from 0, a proxy. */
  readonly index: number;
  readonly method: string;
  /** With the query. */
  readonly target: string;
  readonly body: string;
}

/** How the client's connection ends: in order, by a reset, or never, for as long as the client waits. */
export type Ending = 'fin' | 'rst' | 'silence';

/** What becomes of one request. Nothing of it: it is passed on, and its answer passed back. */
export interface Fault {
  /**
   * The request goes on only when this has resolved, even where its client has gone by then. Where an `ending` is told, the
   * client's connection comes to it at once, without an answer.
   */
  readonly hold?: Promise<unknown>;
  /** So many bytes of the request reach the server, which then sees a reset. With 0 it is not connected to at all. */
  readonly requestBytes?: number;
  /** Is told the server's answer; empty where it gave none. */
  readonly observe?: (answer: Buffer) => void;
  /** What the client gets of the server's answer; empty where the server gave none. */
  readonly rewrite?: (answer: Buffer) => Buffer;
  /** Milliseconds that the answer is kept back. */
  readonly delayMs?: number;
  /** After the answer, or what is left of it. `fin` unless told. */
  readonly ending?: Ending;
}

/** Decides about every request. */
export type Faults = (request: ProxiedRequest) => Fault | undefined;

const NOTHING = Buffer.alloc(0);
const nothing = (): Buffer => NOTHING;

/** The server has done it, and its answer stops after so many bytes. */
export const answerCutAfter = (bytes: number, ending: Ending): Fault => ({
  rewrite: (answer) => answer.subarray(0, bytes),
  ending,
});

/** The server has done it, and the client hears nothing of it. */
export const answerLost = (ending: Ending): Fault => ({ rewrite: nothing, ending });

/** The server sees so many bytes of the request, none unless told, and the client no answer. */
export const requestLost = (ending: Ending, requestBytes = 0): Fault => ({
  requestBytes,
  rewrite: nothing,
  ending,
});

/** A page of somebody in between stands in for the answer, whether or not the server has done it. */
export const htmlAnswer = (status: number, reachesServer: boolean): Fault => ({
  rewrite: () => htmlPage(status),
  ...(!reachesServer && { requestBytes: 0 }),
});

/** A straggler: the request arrives at the server when `hold` resolves, and the client hears nothing of it. */
export const requestHeld = (hold: Promise<unknown>, ending: Ending): Fault => ({ hold, ending });

const REASONS: Record<number, string> = { 200: 'OK', 404: 'Not Found', 502: 'Bad Gateway' };

function htmlPage(status: number): Buffer {
  const title = `${status} ${REASONS[status]}`;
  const body = `<!doctype html><html><head><title>${title}</title></head><body>${title}</body></html>`;
  return Buffer.from(
    `HTTP/1.1 ${title}\r\nContent-Type: text/html\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`,
  );
}
