/** A line on which what is sent to a server takes its time. */
import { connect, createServer, type Socket } from 'node:net';
import { listen } from '../support/ports.ts';

/** One that runs. */
export interface SlowLine {
  readonly port: number;
  close(): Promise<void>;
}

/** Start one to a port of this machine, that passes on so many bytes a millisecond. What comes back is as fast as ever. */
export async function startSlowLine(to: number, pace: number): Promise<SlowLine> {
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const upstream = connect(to, '127.0.0.1');
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => {
        client.destroy();
        upstream.destroy();
        sockets.delete(socket);
      });
    }
    upstream.pipe(client);
    client.on('data', (chunk) => {
      upstream.write(chunk);
      client.pause();
      setTimeout(() => client.resume(), chunk.length / pace);
    });
  });
  const port = await listen(server);
  return {
    port,
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((done) => server.close(done));
    },
  };
}
