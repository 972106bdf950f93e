/** A server that breaks clauses on purpose: a proxy in front of one that keeps them. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { buffer } from 'node:stream/consumers';
import { listen } from '../support/ports.ts';
import { type Answer, exchange, open } from './http.ts';

/** A request as it came, with its whole body. */
export interface Request {
  readonly method: string;
  /** Path and query. */
  readonly path: string;
  readonly headers: Record<string, string>;
  readonly body: string;
}

/** What goes back. */
export interface Reply {
  readonly status: number;
  readonly headers: Record<string, string>;
  readonly body: string | Buffer;
}

/** Answers in the server's place. `pass` asks the server. */
export type Violate = (request: Request, pass: (request: Request) => Promise<Reply>) => Promise<Reply>;

/** Headers that belong to a connection or to a body that may be another one now. */
const OF_THE_WAY = ['connection', 'keep-alive', 'transfer-encoding', 'content-length'];

/** Start a proxy in front of `url`. */
export async function startViolatingServer(
  url: string,
  violate: Violate,
): Promise<{ url: string; close(): Promise<void> }> {
  const base = new URL(url);
  const pass = async ({ method, path, headers, body }: Request): Promise<Reply> => {
    const answer = await exchange(base, method, path, {
      headers,
      timeout: 60_000,
      ...(body !== '' && { body: Buffer.from(body, 'latin1') }),
    });
    return { status: answer.status, headers: withoutWay(answer.headers), body: answer.bytes };
  };
  const http = createServer(async (incoming, outgoing) => {
    try {
      const request = await requestOf(incoming);
      if (request.headers.accept === 'text/event-stream') await stream(base, request, violate, outgoing);
      else {
        const { status, headers, body } = await violate(request, pass);
        outgoing.writeHead(status, headers).end(body);
      }
    } catch {
      outgoing.destroy();
    }
  });
  const port = await listen(http);
  return {
    url: `http://127.0.0.1:${port}`,
    async close() {
      http.closeAllConnections();
      await new Promise((done) => http.close(done));
    },
  };
}

/** An event stream goes through as it comes; what is asked for may be violated. */
async function stream(base: URL, asked: Request, violate: Violate, outgoing: ServerResponse): Promise<void> {
  let request = asked;
  await violate(asked, async (changed) => {
    request = changed;
    return { status: 200, headers: {}, body: '' };
  });
  const { request: sent, response } = await open(base, request.method, request.path, {
    ...request,
    body: '',
    timeout: 60_000,
  });
  outgoing.on('close', () => sent.destroy());
  outgoing.writeHead(response.statusCode ?? 0, withoutWay(response.headers));
  response.on('error', () => outgoing.destroy()).pipe(outgoing);
}

async function requestOf(incoming: IncomingMessage): Promise<Request> {
  const { method = '', url: path = '' } = incoming;
  const body = (await buffer(incoming)).toString('latin1');
  return { method, path, headers: withoutWay(incoming.headers), body };
}

function withoutWay(headers: Answer['headers']): Record<string, string> {
  const kept = Object.entries(headers).filter(([name]) => !OF_THE_WAY.includes(name));
  return Object.fromEntries(kept.map(([name, value]) => [name, String(value)]));
}
