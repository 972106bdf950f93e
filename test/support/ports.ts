/**
 * Free loopback ports for servers of tests.
 *
 * They lie below the ports that the system gives to outgoing connections and to `listen(0)` (32768 and up on Linux): a server
 * that stops and starts again finds its port still free.
 */
import { createServer, type Server } from 'node:net';

const FIRST = 11_000;
const COUNT = 20_000;

/** Ports that this process has had before. */
const taken = new Set<number>();

/** Any of them: processes that look for ports at the same time hardly ever find the same one. */
function nextPort(): number {
  const port = FIRST + Math.floor(Math.random() * COUNT);
  if (taken.has(port)) return nextPort();
  taken.add(port);
  return port;
}

/** Makes a server listen on a free loopback port. Returns the port. */
export async function listen(server: Server): Promise<number> {
  for (let tries = 0; tries < 100; tries += 1) {
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
  throw new Error(`No port from ${FIRST} to ${FIRST + COUNT - 1} was free.`);
}

/** A loopback port that nothing listens on. */
export async function freePort(): Promise<number> {
  const probe = createServer();
  const port = await listen(probe);
  await new Promise((closed) => probe.close(closed));
  return port;
}
