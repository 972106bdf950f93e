/**
 * A loopback server of files in memory, on a free port. Nothing is cached by the browser: each page load is a first one.
 */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { brotliCompressSync } from 'node:zlib';
import type { Files } from './bundle.ts';

export interface FileServer {
  /** Without a trailing slash. */
  readonly url: string;
  close(): Promise<void>;
}

export async function serveFiles(files: Files): Promise<FileServer> {
  const ready = new Map([...files].map(([path, bytes]) => [path, brotliCompressSync(bytes)]));
  const server = createServer(({ url = '/' }, response) => {
    const body = ready.get(url);
    response.writeHead(body ? 200 : 404, {
      'content-type': url.endsWith('.js') ? 'text/javascript' : 'text/html',
      'cache-control': 'no-store',
      ...(body && { 'content-encoding': 'br' }),
    });
    response.end(body);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}
