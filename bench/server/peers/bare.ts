/**
 * The limit: Node.js's own HTTP server, which reads the request to its end and answers at once, with as many bytes as a
 * server of the contract would, and does nothing else.
 */
import { createServer, type ServerResponse } from 'node:http';
import { valueFor } from '../values.ts';

const FOUND = JSON.stringify({ value: valueFor('key-00000000', 'seed') });
const DONE = '{"success":true}';

createServer((request, response) => {
  if (request.method === 'GET') answer(response, FOUND);
  else request.on('data', () => {}).on('end', () => answer(response, DONE));
}).listen(Number(process.env.PORT), process.env.HOST);

function answer(response: ServerResponse, text: string): void {
  response.writeHead(200, { 'Content-Type': 'application/json', 'Content-Length': text.length }).end(text);
}
