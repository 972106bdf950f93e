/**
 * The Flask server under clients that are slow, silent or many: none of them keeps other requests from being answered. And what
 * becomes of their connections when the server stops.
 */
import { on, once } from 'node:events';
import { Agent, request as httpRequest } from 'node:http';
import { connect, type Socket } from 'node:net';
import { text as textOf } from 'node:stream/consumers';
import { afterEach, describe, expect, it } from 'vitest';
import { flaskSkipReason, startFlaskServer } from '../support/flask-server.ts';
import { sendUntilReceived } from '../support/received.ts';
import type { RunningServer } from '../support/running-server.ts';

const HEAD = 'Host: localhost\r\nContent-Type: application/json\r\n';
const HALF_HEAD = `PUT /api/storage/half HTTP/1.1\r\n${HEAD}X-Half: `;
const HALF_SMALL_BODY = `PUT /api/storage/half HTTP/1.1\r\n${HEAD}Content-Length: 1000\r\n\r\n{"val`;
const HALF_LARGE_BODY = `PUT /api/storage/half HTTP/1.1\r\n${HEAD}Content-Length: 7000000\r\n\r\n{"value":"${'x'.repeat(100_000)}`;
const HEALTH = 'GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n';

/** Milliseconds in which a request must be answered beside others that are not complete. */
const PROMPTLY = 5_000;

describe.skipIf(flaskSkipReason())('Flask server under gunicorn: connections', () => {
  let server: RunningServer;
  const sockets = new Set<Socket>();

  async function start(env: Record<string, string> = {}): Promise<void> {
    server = await startFlaskServer({ env: { WORKERS: '2', ...env } });
  }

  afterEach(async () => {
    for (const socket of sockets) socket.destroy();
    sockets.clear();
    await server.stop();
  });

  /** A connection on which these bytes were sent. */
  async function open(bytes = '', localAddress = '127.0.0.1'): Promise<Socket> {
    const socket = connect({ port: Number(new URL(server.url).port), host: '127.0.0.1', localAddress });
    sockets.add(socket);
    socket.on('error', () => socket.destroy());
    await once(socket, 'connect');
    if (bytes !== '') await new Promise((sent) => socket.write(bytes, sent));
    return socket;
  }

  /** As many connections, each with these bytes. */
  async function openMany(count: number, bytes = ''): Promise<Socket[]> {
    const opened: Socket[] = [];
    while (opened.length < count) {
      const group = Array.from({ length: Math.min(100, count - opened.length) }, () => open(bytes));
      opened.push(...(await Promise.all(group)));
    }
    return opened;
  }

  /** `/health`, a read and a write on connections of their own, several times: each is answered promptly. */
  async function expectPromptAnswers(): Promise<void> {
    for (let round = 0; round < 5; round += 1) {
      const answers = [
        ask('GET', '/health'),
        ask('PUT', '/api/storage/other', JSON.stringify({ value: round })),
        ask('GET', '/api/storage/other'),
      ];
      expect((await Promise.all(answers)).map(({ status }) => status).slice(0, 2)).toEqual([200, 200]);
    }
  }

  async function ask(
    method: string,
    path: string,
    body?: string,
    { limit = PROMPTLY, localAddress }: { limit?: number; localAddress?: string } = {},
  ) {
    const request = httpRequest(server.url + path, {
      method,
      agent: new Agent({ keepAlive: false }),
      signal: AbortSignal.timeout(limit),
      headers: { 'content-type': 'application/json' },
      ...(localAddress !== undefined && { localAddress }),
    });
    request.end(body);
    const [response] = await once(request, 'response');
    return { status: response.statusCode as number, text: await textOf(response) };
  }

  describe('beside connections that send nothing or too little, other requests are answered promptly', () => {
    it('1,000 idle connections', async () => {
      await start();
      await openMany(500);
      for (const socket of await openMany(500, HEALTH)) await answers(socket, 1);
      await expectPromptAnswers();
    });

    it.each([40, 300])('%i half heads', async (count) => {
      await start();
      await openMany(count, HALF_HEAD);
      await expectPromptAnswers();
    });

    it('100 half bodies, small and large', async () => {
      await start();
      await openMany(50, HALF_SMALL_BODY);
      await openMany(50, HALF_LARGE_BODY);
      await expectPromptAnswers();
    });

    // Only Linux has this address without a configuration.
    it.skipIf(process.platform !== 'linux')('a large body from another address', async () => {
      await start();
      await openMany(100, HALF_LARGE_BODY);
      const value = 'x'.repeat(1_000_000);
      const { status } = await ask('PUT', '/api/storage/large', JSON.stringify({ value }), {
        localAddress: '127.0.0.2',
      });
      expect(status).toBe(200);
    });

    it('more connections than a worker may have: it closes the oldest idle one', async () => {
      await start({ WORKERS: '1', GUNICORN_CMD_ARGS: '--worker-connections 50' });
      await openMany(20, HALF_HEAD);
      const idle = await openMany(40);
      await Promise.all(idle.slice(0, 10).map((socket) => once(socket.resume(), 'end')));
      await expectPromptAnswers();
    });
  });

  describe('a request that arrives too slowly is answered with 408', () => {
    for (const [name, bytes] of Object.entries({ HALF_HEAD, HALF_SMALL_BODY, HALF_LARGE_BODY })) {
      it(`${name}, silent`, async () => {
        await start({ STALL_SECONDS: '1' });
        expect(await textOf(await open(bytes))).toMatch(/^HTTP\/1\.1 408 [\s\S]*"status":408/);
      });

      it(`${name}, a byte at a time`, async () => {
        await start({ STALL_SECONDS: '1' });
        const socket = await open(bytes);
        const drip = setInterval(() => socket.write('x'), 100);
        expect(await textOf(socket)).toMatch(/^HTTP\/1\.1 408 /);
        clearInterval(drip);
      });
    }

    it('an import, a byte at a time', async () => {
      await start({ STALL_SECONDS: '1' });
      const socket = await open(
        'POST /api/v1/import HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n',
      );
      const drip = setInterval(() => socket.write('1\r\n{\r\n'), 100);
      expect(await textOf(socket)).toMatch(/^HTTP\/1\.1 408 /);
      clearInterval(drip);
    });
  });

  it('callers that do not read their answers are disconnected when others need the threads', async () => {
    await start({ WORKERS: '1' });
    await ask('PUT', '/api/storage/large', JSON.stringify({ value: 'x'.repeat(8_000_000) }));
    await openMany(40, 'GET /api/storage/large HTTP/1.1\r\nHost: localhost\r\n\r\n');
    // Their answers are much work, so the others are not prompt.
    expect((await ask('GET', '/health', undefined, { limit: 30_000 })).status).toBe(200);
    expect((await ask('PUT', '/api/storage/a', '{"value":1}', { limit: 30_000 })).status).toBe(200);
  });

  it('20 pipelined PUTs are answered promptly and in order', async () => {
    await start();
    const bodies = Array.from({ length: 20 }, (_, index) => `{"value":${index}}`);
    const socket = await open(
      bodies
        .map((body) => `PUT /api/storage/a HTTP/1.1\r\n${HEAD}Content-Length: ${body.length}\r\n\r\n${body}`)
        .join(''),
    );
    const revisions = [...(await answers(socket, 20)).matchAll(/\r\netag: "\w+\.(\d+)"/gi)].map(([, rev]) =>
      Number(rev),
    );
    expect(revisions).toEqual(bodies.map((_, index) => index + 1));
    expect((await ask('GET', '/api/storage/a')).text).toBe('{"value":19}');
  });

  it('pipelined requests that arrive in pieces are answered in order', async () => {
    await start();
    const large = JSON.stringify({ value: 'x'.repeat(100_000) });
    const bytes = [
      `PUT /api/storage/a HTTP/1.1\r\n${HEAD}Content-Length: ${large.length}\r\n\r\n${large}`,
      HEALTH,
      `PUT /api/storage/a HTTP/1.1\r\n${HEAD}Transfer-Encoding: chunked\r\n\r\nb\r\n{"value":2}\r\n0\r\n\r\n`,
      'GET /api/storage/a HTTP/1.1\r\nHost: localhost\r\n\r\n',
    ].join('');
    const socket = await open();
    for (let at = 0; at < bytes.length; at += 9_973) {
      socket.write(bytes.slice(at, at + 9_973));
      await new Promise(setImmediate);
    }
    expect(await answers(socket, 4)).toMatch(
      /^HTTP[\s\S]*{"success":true}HTTP[\s\S]*"contract":1[\s\S]*{"success":true}HTTP[\s\S]*{"value":2}$/,
    );
  });

  describe('SIGTERM', () => {
    it('ends requests that are not complete with 503, and closes idle connections, within seconds', async () => {
      await start();
      const idle = [...(await openMany(10)), ...(await openMany(10, HEALTH))];
      for (const socket of idle.slice(10)) await answers(socket, 1);
      const halves = await Promise.all(
        [HALF_HEAD, HALF_SMALL_BODY, HALF_LARGE_BODY].map((bytes) => open(bytes)),
      );
      const received = await sendUntilReceived(`${server.url}/api/storage/half`, {
        method: 'PUT',
        headers: { 'content-type': 'application/json', 'content-length': 11 },
      });
      const begun = performance.now();
      const stopped = server.stop();
      const idleClosed = Promise.all(idle.map((socket) => once(socket.resume(), 'close')));
      for (const answer of await Promise.all(halves.map((socket) => textOf(socket))))
        expect(answer).toMatch(/^HTTP\/1\.1 503 [\s\S]*\r\nRetry-After: \d/i);
      expect((await received.answer).status).toBe(503);
      await idleClosed;
      expect(await stopped).toBe(0);
      expect(performance.now() - begun).toBeLessThan(8_000);
    });

    it('answers a request whose body arrives meanwhile', async () => {
      await start();
      const slow = await sendUntilReceived(`${server.url}/api/storage/slow`, {
        method: 'PUT',
        headers: { 'content-type': 'application/json', 'content-length': 11 },
      });
      const idle = await open();
      const stopped = server.stop();
      await once(idle.resume(), 'close');
      slow.end('{"value":1}');
      expect(await slow.answer).toMatchObject({ status: 200, text: '{"success":true}' });
      expect(await stopped).toBe(0);
    });

    it('answers callers whose requests arrive, and refuses the next connections', async () => {
      await start();
      const half = await open(HALF_LARGE_BODY);
      const outcomes: string[] = [];
      const callers = Array.from({ length: 24 }, async () => {
        for (;;) {
          const outcome = await ask('PUT', '/api/storage/a', '{"value":1}').then(
            ({ status }) => `${status}`,
            (error) => `${error.code}`,
          );
          outcomes.push(outcome);
          if (outcome !== '200') return;
        }
      });
      await expect.poll(() => outcomes.length, { timeout: 20_000 }).toBeGreaterThan(100);
      const stopped = server.stop();
      await Promise.all(callers);
      const others = outcomes.filter((outcome) => outcome !== '200' && outcome !== 'ECONNREFUSED');
      // The system resets a connection that arrives just when the last worker closes the port.
      expect(others.length, others.join()).toBeLessThanOrEqual(1);
      expect(await textOf(half)).toMatch(/^HTTP\/1\.1 503 /);
      expect(await stopped).toBe(0);
    });
  });

  /** The bytes that arrive until there are as many answers. */
  async function answers(socket: Socket, count: number): Promise<string> {
    let received = '';
    const late = AbortSignal.timeout(PROMPTLY);
    for await (const [chunk] of on(socket, 'data', { signal: late })) {
      received += chunk;
      if (completeAnswers(received) >= count) break;
    }
    return received;
  }
});

/** How many answers with a Content-Length are complete in these bytes. */
function completeAnswers(bytes: string): number {
  let count = 0;
  for (let at = 0; ; count += 1) {
    const end = bytes.indexOf('\r\n\r\n', at);
    if (end < 0) return count;
    const length = Number(/\r\ncontent-length: (\d+)/i.exec(bytes.slice(at, end))?.[1] ?? 0);
    at = end + 4 + length;
    if (at > bytes.length) return count;
  }
}
