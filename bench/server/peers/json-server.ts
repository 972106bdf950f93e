/** json-server over a file of its own, as its documentation starts it. `POST /reset` empties the file again. */
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import jsonServer from 'json-server';

const { FOLDER = '', HOST, PORT } = process.env;
const path = join(FOLDER, 'db.json');
const EMPTY = { entries: [] };

writeFileSync(path, JSON.stringify(EMPTY));
const server = jsonServer.create();
const router = jsonServer.router(path);
server.get('/health', (_, response) => response.end('{}'));
server.post('/reset', (_, response) => {
  router.db.setState({ entries: [] }).write();
  response.end('{}');
});
server.use(router);
createServer(server).listen(Number(PORT), HOST);
