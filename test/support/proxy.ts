/**
 * A TCP proxy in front of a server, with an HTTP port of its own to cut and restore the connection: a page can ask for
 * it too. Cut means what a dead server is: connections are reset, new ones refused or reset.
 *
 * It passes bytes on as they come, or, where it is given faults, one request a connection (see faults.ts).
 */
import { createServer as createHttpServer } from 'node:http';
import { connect, createServer, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import type { Fault, Faults, ProxiedRequest } from './faults.ts';
import { listen } from './ports.ts';

/** What a proxy has seen. Bytes are counted with the heads, as they left their sender. */
export interface Traffic {
  connections: number;
  requests: number;
  bytesUp: number;
  bytesDown: number;
}

/** A proxy that runs. */
export interface TcpProxy {
  /** Base URL of the server behind it. */
  readonly url: string;
  /** `POST <control>/cut`, `POST <control>/restore`. */
  readonly control: string;
  readonly traffic: Readonly<Traffic>;
  /** Reset every connection, and each new one, until `restore()`. */
  cut(): void;
  restore(): void;
  /** Let no byte of the connections pass any more that there are now, without a sign of it. New ones work. */
  stall(): void;
  /** Reset the connection in whose answers the byte is of this number from now on, right before it. Not together with `faults`. */
  cutAfter(bytes: number): Promise<void>;
  close(): Promise<void>;
}

interface ProxyOptions {
  /** Milliseconds that bytes take each way. Not together with `faults`. */
  readonly latencyMs?: number;
  /** Decides what becomes of each request. Bodies are framed by `Content-Length`, as `fetch` sends texts. */
  readonly faults?: Faults;
}

/** Start a proxy in front of the server at `url`. */
export async function startProxy(url: string, options: ProxyOptions = {}): Promise<TcpProxy> {
  const { latencyMs = 0, faults } = options;
  const target = new URL(url);
  const sockets = new Set<Socket>();
  const traffic: Traffic = { connections: 0, requests: 0, bytesUp: 0, bytesDown: 0 };
  let isCut = false;
  let toCut: { bytes: number; readonly done: () => void } | undefined;
  /** Whether a connection is to be reset within its next bytes, and after how many of them. */
  const cutWithin = (length: number): number | undefined => {
    if (!toCut) return undefined;
    toCut.bytes -= length;
    if (toCut.bytes > 0) return undefined;
    const { bytes, done } = toCut;
    toCut = undefined;
    done();
    return length + bytes;
  };

  const track = (socket: Socket): Socket => {
    sockets.add(socket);
    socket.setNoDelay();
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => socket.destroy());
    return socket;
  };
  const dial = (): Socket => track(connect(Number(target.port), target.hostname));

  const proxy = createServer((client) => {
    track(client);
    if (isCut) {
      client.resetAndDestroy();
      return;
    }
    traffic.connections += 1;
    if (faults) void exchange(client, dial, faults, traffic);
    else passThrough(client, dial(), latencyMs, traffic, cutWithin);
  });
  const cut = (): void => {
    isCut = true;
    for (const socket of sockets) socket.resetAndDestroy();
  };
  const restore = (): void => {
    isCut = false;
  };
  const stall = (): void => {
    for (const socket of sockets) socket.removeAllListeners('data').pause();
  };
  const control = createHttpServer((request, response) => {
    if (request.url === '/cut') cut();
    else restore();
    response.writeHead(204, { 'access-control-allow-origin': '*' }).end();
  });
  const ports = await Promise.all([listen(proxy), listen(control)]);
  return {
    url: `http://127.0.0.1:${ports[0]}`,
    control: `http://127.0.0.1:${ports[1]}`,
    traffic,
    cut,
    restore,
    stall,
    cutAfter: (bytes) =>
      new Promise((done) => {
        toCut = { bytes, done };
      }),
    async close() {
      for (const socket of sockets) socket.destroy();
      control.closeAllConnections();
      await Promise.all([proxy, control].map((server) => new Promise((done) => server.close(done))));
    },
  };
}

/** Bytes as they come, later by the latency. */
function passThrough(
  client: Socket,
  upstream: Socket,
  latencyMs: number,
  traffic: Traffic,
  cutWithin: (length: number) => number | undefined,
): void {
  // Requests are not pipelined: the first bytes after an answer are the next request.
  let answering = true;
  relay(client, upstream, latencyMs, (bytes) => {
    traffic.bytesUp += bytes;
    if (answering) traffic.requests += 1;
    answering = false;
  });
  relay(
    upstream,
    client,
    latencyMs,
    (bytes) => {
      traffic.bytesDown += bytes;
      answering = true;
    },
    cutWithin,
  );
}

function relay(
  from: Socket,
  to: Socket,
  latencyMs: number,
  count: (bytes: number) => void,
  cutWithin: (length: number) => number | undefined = () => undefined,
): void {
  const later = (work: () => void): void => {
    if (latencyMs === 0) work();
    else setTimeout(work, latencyMs);
  };
  from.on('data', (chunk: Buffer) => {
    count(chunk.length);
    const cut = cutWithin(chunk.length);
    later(() => {
      if (cut !== undefined) {
        // The bytes before it arrive first.
        to.write(chunk.subarray(0, cut), () => to.resetAndDestroy());
        from.destroy();
        return;
      }
      if (to.destroyed || to.write(chunk)) return;
      from.pause();
      to.once('drain', () => from.resume());
    });
  });
  from.on('end', () => later(() => to.end()));
  from.on('close', () => later(() => to.destroySoon()));
}

/** The one request of a connection, and its answer. */
async function exchange(client: Socket, dial: () => Socket, faults: Faults, traffic: Traffic): Promise<void> {
  const bytes = await readRequest(client);
  if (bytes === undefined) return;
  const request = parseRequest(bytes, traffic.requests);
  traffic.requests += 1;
  traffic.bytesUp += bytes.length;
  const fault = faults(request) ?? {};
  if (fault.hold && fault.ending) finish(client, Buffer.alloc(0), fault.ending);
  await fault.hold;
  const answer = await forward(bytes, dial, fault);
  traffic.bytesDown += answer.length;
  fault.observe?.(answer);
  if (fault.delayMs !== undefined) await delay(fault.delayMs);
  if (fault.hold && fault.ending) return;
  finish(client, fault.rewrite?.(answer) ?? answer, fault.ending ?? 'fin');
}

function finish(client: Socket, answer: Buffer, ending: Fault['ending']): void {
  if (client.destroyed) return;
  if (ending === 'fin') client.end(answer);
  // Only when the bytes are on their way: a reset throws away what still waits.
  else client.write(answer, () => ending === 'rst' && client.resetAndDestroy());
}

const HEAD_END = '\r\n\r\n';

/** A whole request that closes its connection at the server; `undefined` when the client went before it was whole. */
function readRequest(client: Socket): Promise<Buffer | undefined> {
  let received = Buffer.alloc(0);
  return new Promise((resolve) => {
    client.on('data', (chunk: Buffer) => {
      received = Buffer.concat([received, chunk]);
      const headEnd = received.indexOf(HEAD_END);
      if (headEnd === -1) return;
      const head = received.toString('latin1', 0, headEnd);
      const length = Number(/^content-length: *(\d+)/im.exec(head)?.[1] ?? 0);
      const body = received.subarray(headEnd + HEAD_END.length);
      if (body.length < length) return;
      const closing = `${head.replace(/\r\nconnection:[^\r]*/gi, '')}\r\nConnection: close${HEAD_END}`;
      resolve(Buffer.concat([Buffer.from(closing, 'latin1'), body]));
    });
    client.on('close', () => resolve(undefined));
  });
}

function parseRequest(bytes: Buffer, index: number): ProxiedRequest {
  const headEnd = bytes.indexOf(HEAD_END);
  const [method = '', target = ''] = bytes.toString('latin1', 0, bytes.indexOf('\r\n')).split(' ');
  return { index, method, target, body: bytes.toString('utf8', headEnd + HEAD_END.length) };
}

/** Resolves with all that the server answers until it closes the connection. */
async function forward(request: Buffer, dial: () => Socket, { requestBytes }: Fault): Promise<Buffer> {
  if (requestBytes === 0) return Buffer.alloc(0);
  const upstream = dial();
  const chunks: Buffer[] = [];
  upstream.on('data', (chunk: Buffer) => chunks.push(chunk));
  const closed = new Promise((done) => upstream.once('close', done));
  if (requestBytes === undefined || requestBytes >= request.length) upstream.write(request);
  else upstream.write(request.subarray(0, requestBytes), () => upstream.resetAndDestroy());
  await closed;
  return Buffer.concat(chunks);
}
