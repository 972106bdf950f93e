// `npm start`: builds the package and the web app, then runs the reference server and the app until Ctrl-C.
// Prefers ports 5001 and 4173 (PORT and WEB_PORT choose others); where one is taken, a free one is used instead.
import { spawn, spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join, resolve } from 'node:path';
import { build, preview } from 'vite';

const root = resolve(import.meta.dirname, '..');
const web = join(root, 'examples/web');
const log = (line) => process.stdout.write(`${line}\n`);

const isFree = (port) =>
  new Promise((done) => {
    const probe = createServer()
      .once('error', () => done(false))
      .listen(port, '127.0.0.1', () => probe.close(() => done(true)));
  });

for (const name of ['PORT', 'WEB_PORT']) {
  const text = process.env[name] ?? '1';
  if (/^\d+$/.test(text) && Number(text) <= 65_535) continue;
  log(`${name} must be a whole number from 0 to 65535, not "${text}".`);
  process.exit(2);
}

log('Building …');
const tsup = spawnSync(process.execPath, [join(root, 'node_modules/tsup/dist/cli-default.js'), '--silent'], {
  cwd: root,
  stdio: ['ignore', 'inherit', 'inherit'],
});
if (tsup.status !== 0) process.exit(tsup.status ?? 1);
await build({ root: web, configFile: false, base: './', logLevel: 'warn' });

const wanted = process.env.PORT ?? '5001';
const port = (await isFree(Number(wanted))) ? wanted : '0';
if (port !== wanted) log(`Port ${wanted} is taken: using a free one.`);
const server = spawn(process.execPath, [join(root, 'examples/server/src/main.ts')], {
  cwd: root,
  // At this level the server logs its address.
  env: { ...process.env, PORT: port, LOG_LEVEL: 'info' },
  stdio: ['ignore', 'pipe', 'inherit'],
});
// However this process ends, the server does not stay behind.
process.once('exit', () => server.kill());
const ended = new Promise((done) => server.once('exit', done));

/** The address that the server logs once it listens. */
const serverUrl = await new Promise((done, fail) => {
  let text = '';
  server.stdout.on('data', (chunk) => {
    process.stdout.write(chunk);
    text += chunk;
    const url = /"url":"(http[^"]+)"/.exec(text)?.[1];
    if (url) done(url);
  });
  void ended.then((code) => fail(new Error(`The server ended with code ${code}.`)));
}).catch((error) => {
  log(error.message);
  process.exit(1);
});

writeFileSync(
  join(web, 'dist/config.js'),
  `globalThis.USE_FLASK_BACKEND = ${process.env.USE_FLASK_BACKEND === 'true'};\nglobalThis.FLASK_BACKEND_URL = ${JSON.stringify(serverUrl)};\n`,
);
const app = await preview({
  root: web,
  configFile: false,
  base: './',
  logLevel: 'warn',
  preview: { host: '127.0.0.1', port: Number(process.env.WEB_PORT ?? 4173) },
});

log('');
log(`  Server   ${serverUrl}`);
log(`  Web app  ${app.resolvedUrls?.local[0]}`);
log('');
log('Ctrl-C ends both.');

let stopping = false;
const stop = async () => {
  if (stopping) return;
  stopping = true;
  server.kill('SIGTERM');
  // A page that is still open keeps its connections.
  app.httpServer.closeAllConnections();
  await app.close();
  process.exit((await ended) === 0 ? 0 : 1);
};
process.on('SIGINT', stop);
process.on('SIGTERM', stop);
// SIGTERM to npm itself ends only the shell in between. (SIGINT to npm alone waits; Ctrl-C reaches all of them.)
const parent = process.ppid;
setInterval(() => {
  if (process.ppid !== parent) void stop();
}, 500).unref();
void ended.then(() => {
  if (!stopping) log('The server ended.');
  return stop();
});
