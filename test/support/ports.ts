/**
 * Free loopback ports for servers of tests.
 *
 * They lie below the ports that the system gives to outgoing connections and to `listen(0)` (32768 and up on Linux): a server
 * that stops and starts again finds its port still free.
 */
import { createServer, type Server } from 'node:net';

const FIRST = 11_000;
/** Processes with different remainders of their ids take different ports. */
const SLICES = 100;
const PORTS_PER_SLICE = 200;

let taken = 0;

/** A port of this process's slice that it has not returned before, until all were returned. */
function nextPort(): number {
  const slice = process.pid % SLICES;
  taken += 1;
  return FIRST + slice * PORTS_PER_SLICE + (taken % PORTS_PER_SLICE);
}

/** Makes a server listen on a free loopback port. Returns the port. */
export async function listen(server: Server): Promise<number> {
  for (let tries = 0; tries < PORTS_PER_SLICE; tries += 1) {
    const port = nextPort();
    const isFree = await new Promise<boolean>((resolve, reject) => {
      const failed = (error: NodeJS.ErrnoException): void =>
        error.code === 'EADDRINUSE' ? resolve(false) : reject(error);
      server.once('error', failed);
      server.listen(port, '127.0.0.1', () => {
        server.off('error', failed);
        resolve(true);
      });
    });
    if (isFree) return port;
  }
  throw new Error(`No port is free from ${FIRST} on.`);
}

/** A loopback port that nothing listens on. */
export async function freePort(): Promise<number> {
  const probe = createServer();
  const port = await listen(probe);
  await new Promise((closed) => probe.close(closed));
  return port;
}
