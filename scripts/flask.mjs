/**
 * `npm run flask`: the Flask server in the foreground, until Ctrl-C or SIGTERM; ends with gunicorn's exit code.
 *
 * Takes HOST, PORT, DATABASE_PATH (relative to where it is called), ALLOWED_ORIGINS, MAX_BODY_BYTES and WORKERS from
 * the environment: see examples/flask-server/README.md.
 */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createServer } from 'node:net';
import { constants } from 'node:os';
import { dirname, resolve } from 'node:path';
import { ensurePython, flaskFolder, gunicornArguments } from './python.mjs';

const host = process.env.HOST || '127.0.0.1';
const port = process.env.PORT || '5001';
const databasePath = resolve(process.env.INIT_CWD ?? '.', process.env.DATABASE_PATH || 'codeforge-flask.db');

/** End with a sentence that says what to change, instead of a traceback. */
function refuse(reason, code) {
  process.stderr.write(`The Flask server cannot start: ${reason}\n`);
  process.exit(code);
}

const isFree = (wanted) =>
  new Promise((done) => {
    const probe = createServer()
      .once('error', (error) => done(error.code !== 'EADDRINUSE'))
      .listen(Number(wanted), host.replace(/^\[|\]$/g, ''), () => probe.close(() => done(true)));
  });

if (!/^\d+$/.test(port) || Number(port) < 1 || Number(port) > 65_535) {
  refuse(`PORT must be a whole number from 1 to 65535, not "${port}".`, 2);
}
if (!existsSync(dirname(databasePath))) refuse(`DATABASE_PATH ${databasePath} is in no existing folder.`, 2);
if (!(await isFree(port))) refuse(`port ${port} is taken: choose another with PORT.`, 1);
const found = ensurePython();
if ('skipped' in found) refuse(found.skipped, 1);

const url = `http://${host.includes(':') && !host.startsWith('[') ? `[${host}]` : host}:${port}`;
process.stdout.write(`Flask server: ${url} (Python: ${found.how}; database: ${databasePath})\n`);

const gunicorn = spawn(found.python, gunicornArguments, {
  cwd: flaskFolder,
  env: { ...process.env, HOST: host, PORT: port, DATABASE_PATH: databasePath },
  stdio: 'inherit',
});
// A terminal sends Ctrl-C to both; gunicorn takes a second SIGINT as the first.
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => gunicorn.kill(signal));
gunicorn.on('error', (error) => {
  process.stderr.write(`The Flask server cannot start: ${error.message}\n`);
  process.exitCode = 1;
});
gunicorn.on('exit', (code, signal) => {
  process.exitCode = code ?? 128 + constants.signals[signal];
});
