/**
 * A level-0 server as deployed long ago, written plainly from docs/contract.md: nine endpoints, values parsed and printed
 * again with their keys sorted, any failure a 500. It counts requests, and a test can answer in its place.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { listen } from './ports.ts';

/** A request as the server saw it. */
export interface SeenRequest {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingMessage['headers'];
  readonly bytes: number;
}

/** An old server that runs. */
export interface OldServer {
  readonly url: string;
  readonly data: Map<string, unknown>;
  readonly seen: SeenRequest[];
  /** The most requests that were under way at once. */
  mostAtOnce: number;
  /** Answers in the server's place when it returns true. */
  intercept: ((request: IncomingMessage, response: ServerResponse, body: string) => boolean) | undefined;
  close(): Promise<void>;
}

export const html = { 'content-type': 'text/html' };
export const json = { 'content-type': 'application/json' };

/** Answers every request the same. */
export const always =
  (status: number, headers: Record<string, string>, body: string): OldServer['intercept'] =>
  (_, response) => {
    response.writeHead(status, headers).end(body);
    return true;
  };

/** Start one below `path`, such as `/deep/base`. */
export async function startOldServer(path = ''): Promise<OldServer> {
  const data = new Map<string, unknown>();
  let underWay = 0;
  const http = createServer(async (request, response) => {
    underWay += 1;
    server.mostAtOnce = Math.max(server.mostAtOnce, underWay);
    response.on('close', () => {
      underWay -= 1;
    });
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const body = Buffer.concat(chunks);
    const { method = '', url = '', headers } = request;
    server.seen.push({ method, url, headers, bytes: body.length });
    if (server.intercept?.(request, response, body.toString())) return;
    const [status, json] = answerOrFail(
      data,
      method,
      url.startsWith(path) ? url.slice(path.length) : '',
      body.toString(),
    );
    // A turn of the event loop later, so that requests overlap as they do over a network.
    setTimeout(() => {
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(json));
    }, 1);
  });
  const port = await listen(http);
  const server: OldServer = {
    url: `http://127.0.0.1:${port}${path}`,
    data,
    seen: [],
    mostAtOnce: 0,
    intercept: undefined,
    async close() {
      http.closeAllConnections();
      await new Promise((done) => http.close(done));
    },
  };
  return server;
}

const NOT_FOUND = [404, { error: 'Key not found' }] as const;
const SUCCESS = [200, { success: true }] as const;

/** The answer to a request, and what it changes in `data`. Any failure is a 500 with the exception's text. */
export function answerOrFail(...request: Parameters<typeof answer>): readonly [number, unknown] {
  try {
    return answer(...request);
  } catch (error) {
    return [500, { error: String(error) }];
  }
}

function answer(
  data: Map<string, unknown>,
  method: string,
  url: string,
  body: string,
): readonly [number, unknown] {
  const sorted = () => [...data].sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  const route = `${method} ${url}`;
  if (route === 'GET /health') return [200, { status: 'ok', timestamp: new Date().toISOString() }];
  if (route === 'GET /api/storage/keys') return [200, { keys: sorted().map(([key]) => key) }];
  if (route === 'GET /api/storage/export') return [200, Object.fromEntries(sorted())];
  if (route === 'GET /api/storage/stats') {
    const sizes = [...data.values()].map((value) => Buffer.byteLength(JSON.stringify(value)));
    return [
      200,
      { total_keys: data.size, total_size_bytes: sizes.reduce((a, b) => a + b, 0), database_path: '/old.db' },
    ];
  }
  if (route === 'POST /api/storage/clear') {
    data.clear();
    return SUCCESS;
  }
  if (route === 'POST /api/storage/import') {
    const json = JSON.parse(body);
    if (typeof json !== 'object' || json === null || Array.isArray(json))
      return [400, { error: 'Data must be an object' }];
    const entries = Object.entries(json);
    for (const [key, value] of entries) data.set(key, withSortedKeys(value));
    return [200, { success: true, imported: entries.length }];
  }
  const key = /^\/api\/storage\/([^/?]+)$/.exec(url)?.[1];
  if (key === undefined) return [404, { error: 'Not Found' }];
  const name = decodeURIComponent(key);
  if (method === 'GET') return data.has(name) ? [200, { value: data.get(name) }] : NOT_FOUND;
  if (method === 'DELETE') return data.delete(name) ? SUCCESS : NOT_FOUND;
  const json = JSON.parse(body);
  if (!('value' in json)) return [400, { error: 'Missing value field' }];
  data.set(name, withSortedKeys(json.value));
  return SUCCESS;
}

function withSortedKeys(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map(withSortedKeys);
  const copy: Record<string, unknown> = {};
  for (const [key, member] of Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))) {
    Object.defineProperty(copy, key, { value: withSortedKeys(member), enumerable: true, configurable: true });
  }
  return copy;
}
