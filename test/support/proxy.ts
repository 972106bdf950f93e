/**
 * A TCP proxy in front of a server, with an HTTP port of its own to cut and restore the connection: a page can ask for
 * it too. Cut means what a dead server is: connections are reset, new ones refused or reset.
 */
import { createServer as createHttpServer } from 'node:http';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

/** A proxy that runs. */
export interface TcpProxy {
  /** Base URL of the server behind it. */
  readonly url: string;
  /** `POST <control>/cut`, `POST <control>/restore`. */
  readonly control: string;
  close(): Promise<void>;
}

/** Start a proxy in front of the server at `url`. */
export async function startProxy(url: string): Promise<TcpProxy> {
  const target = new URL(url);
  const sockets = new Set<Socket>();
  let cut = false;

  const track = (socket: Socket): void => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => socket.destroy());
  };
  const proxy = createServer((client) => {
    track(client);
    if (cut) {
      client.resetAndDestroy();
      return;
    }
    const upstream = connect(Number(target.port), target.hostname);
    client.setNoDelay();
    upstream.setNoDelay();
    track(upstream);
    client.pipe(upstream).pipe(client);
    client.on('close', () => upstream.destroy());
    upstream.on('close', () => client.destroy());
  });
  const control = createHttpServer((request, response) => {
    cut = request.url === '/cut';
    if (cut) for (const socket of sockets) socket.resetAndDestroy();
    response.writeHead(204, { 'access-control-allow-origin': '*' }).end();
  });
  const ports = await Promise.all([listen(proxy), listen(control)]);
  return {
    url: `http://127.0.0.1:${ports[0]}`,
    control: `http://127.0.0.1:${ports[1]}`,
    async close() {
      for (const socket of sockets) socket.destroy();
      control.closeAllConnections();
      await Promise.all([proxy, control].map((server) => new Promise((done) => server.close(done))));
    },
  };
}

/** Listen on a free loopback port. */
export async function listen(server: Server): Promise<number> {
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  return (server.address() as AddressInfo).port;
}
