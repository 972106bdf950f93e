/**
 * unstorage's own server with its memory driver, as a process: told where to listen by `HOST` and `PORT`.
 *
 * It sends no CORS headers by itself; they stand here, as cheap for a page as those of the reference server.
 */
import { createServer } from 'node:http';
import { createStorage } from 'unstorage';
import memoryDriver from 'unstorage/drivers/memory';
import { createStorageServer } from 'unstorage/server';

const { handle } = createStorageServer(createStorage({ driver: memoryDriver() }));

const server = createServer((request, response) => {
  response.setHeader('access-control-allow-origin', request.headers.origin ?? '*');
  response.setHeader('vary', 'origin');
  if (request.method === 'OPTIONS') {
    response
      .writeHead(204, {
        'access-control-allow-methods': 'GET, HEAD, PUT, DELETE',
        'access-control-allow-headers': 'content-type',
        'access-control-max-age': '7200',
      })
      .end();
  } else if (request.url === '/health') response.writeHead(200).end();
  else handle(request, response);
});
server.listen(Number(process.env.PORT), process.env.HOST);
process.on('SIGTERM', () => {
  server.closeAllConnections();
  server.close();
});
