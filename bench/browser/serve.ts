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
  /** Scripts that were sent from a folder: how many, and the bytes of their bodies. */
  scriptsSent(folder: string): { readonly files: number; readonly bytes: number };
  close(): Promise<void>;
}

export async function serveFiles(files: Files): Promise<FileServer> {
  const ready = new Map([...files].map(([path, bytes]) => [path, brotliCompressSync(bytes)]));
  const sent: string[] = [];
  const server = createServer(({ url = '/' }, response) => {
    const body = ready.get(url);
    sent.push(url);
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
    scriptsSent(folder) {
      const scripts = sent.filter((path) => path.startsWith(`/${folder}/`) && path.endsWith('.js'));
      return {
        files: scripts.length,
        bytes: scripts.reduce((sum, path) => sum + (ready.get(path)?.length ?? 0), 0),
      };
    },
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}
