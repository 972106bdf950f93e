/** unstorage's own server, as its documentation starts it, over the driver that DRIVER names: `memory` or `fs`. */
import { createServer } from 'node:http';
import { createStorage } from 'unstorage';
import fsDriver from 'unstorage/drivers/fs';
import memoryDriver from 'unstorage/drivers/memory';
import { createStorageServer } from 'unstorage/server';

const { DRIVER, FOLDER = '', HOST, PORT } = process.env;
const driver = DRIVER === 'fs' ? fsDriver({ base: FOLDER }) : memoryDriver();
const { handle } = createStorageServer(createStorage({ driver }));

createServer((request, response) => {
  // Whoever starts it asks whether it answers.
  if (request.url === '/health') response.end('{}');
  else void handle(request, response);
}).listen(Number(PORT), HOST);
