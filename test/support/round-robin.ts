/** A load balancer as simple as one can be: each new TCP connection goes to the next server. */
import { connect, createServer, type Socket } from 'node:net';
import { listen } from './ports.ts';

/** Passes connections to the servers at `urls` in turns. */
export async function startRoundRobin(
  urls: readonly string[],
): Promise<{ readonly url: string; close(): Promise<void> }> {
  const targets = urls.map((url) => new URL(url));
  const sockets = new Set<Socket>();
  let turn = 0;
  const track = (socket: Socket): Socket => {
    sockets.add(socket);
    socket.setNoDelay();
    socket.on('error', () => socket.destroy());
    socket.on('close', () => sockets.delete(socket));
    return socket;
  };
  const server = createServer({ allowHalfOpen: true }, (client) => {
    const { hostname, port } = targets[turn++ % targets.length] as URL;
    const upstream = track(connect({ host: hostname, port: Number(port), allowHalfOpen: true }));
    track(client).pipe(upstream).pipe(client);
    client.on('close', () => upstream.destroy());
    upstream.on('close', () => client.destroySoon());
  });
  const port = await listen(server);
  return {
    url: `http://127.0.0.1:${port}`,
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((done) => server.close(done));
    },
  };
}
