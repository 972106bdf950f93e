/** `python app.py` in the Flask example: the old app's command starts a development server. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text as textOf } from 'node:stream/consumers';
import { describe, expect, it } from 'vitest';
import { flaskPython, flaskSkipReason, startFlaskServer } from '../support/flask-server.ts';
import type { RunningServer } from '../support/running-server.ts';

const reason = flaskSkipReason();

describe.skipIf(reason !== undefined)(`python app.py${reason === undefined ? '' : `: ${reason}`}`, () => {
  const start = (env: Record<string, string> = {}) => startFlaskServer({ args: ['app.py'], env });

  it('serves both levels, and names its address and gunicorn on stderr', async () => {
    const server = await start();
    expect((await put(server, 'a', '{"value":1.10}')).status).toBe(200);
    expect(await (await fetch(`${server.url}/api/storage/a`)).text()).toBe('{"value":1.10}');
    const health = await (await fetch(`${server.url}/health`)).json();
    expect(health).toMatchObject({ status: 'ok', contract: 1, seq: 1 });
    expect(server.output()).toContain(server.url);
    expect(server.output()).toContain('gunicorn');
    expect(await server.stop()).toBe(0);
  });

  it('without PORT, uses port 5001', async () => {
    const { command, cwd } = flaskPython();
    const folder = await mkdtemp(join(tmpdir(), 'codeforge-flask-'));
    const env = { ...process.env, HOST: '', PORT: '', DATABASE_PATH: join(folder, 'test.db') };
    const child = spawn(command, ['app.py'], { cwd, env, stdio: ['ignore', 'ignore', 'pipe'] });
    const exit = once(child, 'exit');
    let output = '';
    // Another process may use the port. The message names it then too.
    for await (const text of child.stderr.setEncoding('utf8')) {
      output += text;
      if (output.includes('5001')) break;
    }
    child.kill();
    await exit;
    expect(output).toMatch(/http:\/\/127\.0\.0\.1:5001\n|Port 5001 is in use/);
    await rm(folder, { recursive: true, force: true });
  });

  it('refuses a wrong PORT, and a HOST for other machines without tokens, and says what to change', async () => {
    await expect(start({ PORT: 'http' })).rejects.toThrow(/PORT must be .* not "http"/);
    await expect(start({ PORT: '65536' })).rejects.toThrow(/PORT must be .* not "65536"/);
    await expect(start({ HOST: '0.0.0.0' })).rejects.toThrow(/HOST=0\.0\.0\.0 .*TOKENS/s);
  });

  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    it(`${signal} ends it with exit code 0, after it has answered the requests under way`, async () => {
      const server = await start();
      await put(server, 'a', '{"value":1}');
      const { epoch, seq } = await (await fetch(`${server.url}/health`)).json();
      const poll = await send(
        server,
        `GET /api/v1/changes?since=${epoch}.${seq}&wait=60 HTTP/1.1\r\nHost: localhost\r\n\r\n`,
      );
      const slow = await send(
        server,
        'PUT /api/storage/slow HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n' +
          'Content-Length: 11\r\n\r\n{"val',
      );
      // A request on a later connection is accepted after these two.
      expect((await fetch(`${server.url}/health`)).status).toBe(200);
      process.kill(server.pid, signal);
      expect(await poll.answer).toMatch(/^HTTP\/1\.1 200 [\s\S]*"changes":\[\]/);
      // The server stops accepting connections, and waits for this request.
      while (await fetch(`${server.url}/health`).then(Boolean, () => false));
      slow.socket.write('ue":1}');
      expect(await slow.answer).toMatch(/^HTTP\/1\.1 200 [\s\S]*{"success":true}$/);
      expect(await server.stop()).toBe(0);
    });
});

function put(server: RunningServer, key: string, body: string): Promise<Response> {
  const headers = { 'content-type': 'application/json' };
  return fetch(`${server.url}/api/storage/${key}`, { method: 'PUT', headers, body });
}

/** A connection on which `bytes` were sent. */
async function send(server: RunningServer, bytes: string) {
  const socket = connect(Number(new URL(server.url).port), '127.0.0.1');
  await once(socket, 'connect');
  socket.write(bytes);
  return { socket, answer: textOf(socket) };
}
