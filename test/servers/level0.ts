/**
 * What the servers of this repository promise on level 0 beyond the contract: exact bodies, more samples of pages that may call,
 * settings, restarts, and what becomes of callers that leave, hurry or do not listen.
 *
 * What the contract promises of every server is in test/conformance. Spec: docs/contract.md (level 0, Who may call), RFC 9110.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { request as httpRequest, type IncomingHttpHeaders, type IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text as textOf } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import fc from 'fast-check';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { expectDocumented } from '../support/openapi.ts';
import type { RunningServer } from '../support/running-server.ts';

type Start = (options?: { databasePath?: string; env?: Record<string, string> }) => Promise<RunningServer>;

interface Sent {
  readonly headers?: Record<string, string>;
  readonly body?: string | Buffer;
  /** Send the body in chunks, without saying how long it is. */
  readonly chunked?: boolean;
  /** Send what there is and wait for the answer, as if more were to come. */
  readonly unfinished?: boolean;
}

interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: a test says what it expects.
  readonly json: any;
}

const JSON_TYPE = { 'content-type': 'application/json' };

const LOOPBACK_ORIGINS = [
  ...['http://localhost', 'http://localhost:4173', 'https://localhost:1', 'http://127.0.0.1:8080'],
  ...['http://[::1]:3000'],
];

const FOREIGN_ORIGINS = [
  ...['https://evil.example', 'http://localhost.evil.example', 'http://127.0.0.1.evil.example', 'null'],
  ...['http://localhost:80@evil.example', 'ftp://localhost', 'http://evil.example/http://localhost'],
];

/** @param start Starts a server with an empty database of its own, or over the one that is named. */
export function level0(name: string, start: Start): void {
  describe(`${name}: level 0`, () => {
    let server: RunningServer;
    const send = (method: string, path: string, sent?: Sent) => sendTo(server, method, path, sent);
    const get = (key: string, headers = {}) => send('GET', pathOf(key), { headers });
    const put = (key: string, value: string, headers = {}) => putTo(server, key, value, headers);
    const remove = (key: string, headers = {}) => send('DELETE', pathOf(key), { headers });
    const importing = (body: string) => send('POST', '/api/storage/import', { headers: JSON_TYPE, body });
    const keys = async () => (await send('GET', '/api/storage/keys')).json.keys;

    beforeAll(async () => {
      server = await start();
    });
    afterAll(() => server?.stop());
    beforeEach(async () => {
      expect((await send('POST', '/api/storage/clear')).text).toBe('{"success":true}');
    });

    describe('answers', () => {
      it('gives back what was put, in the exact bodies that old clients know', async () => {
        const created = await put('a', '{"foo":"bar"}');
        expect([created.status, created.text]).toEqual([200, '{"success":true}']);
        const found = await get('a');
        expect([found.status, found.text]).toEqual([200, '{"value":{"foo":"bar"}}']);
        expect(found.headers['content-type']).toBe('application/json');
        const removed = await remove('a');
        expect([removed.status, removed.text]).toEqual([200, '{"success":true}']);
      });

      it('counts keys and the bytes of their values, and shows no path', async () => {
        await put('a', '"é"');
        await put('b', '[1, 2]');
        const { json } = await send('GET', '/api/storage/stats');
        expect(json).toEqual({ total_keys: 2, total_size_bytes: 10, database_path: expect.any(String) });
        expect(json.database_path).not.toMatch(/[/\\]/);
      });
    });

    describe('values', () => {
      it('keeps any JSON text as it came', async () => {
        const json = fc.oneof(
          fc.json(),
          fc.jsonValue().map((value) => JSON.stringify(value, null, '\t')),
        );
        const run = async (raw: string) => {
          await put('a', raw);
          expect((await get('a')).text).toBe(`{"value":${raw.trim()}}`);
        };
        await fc.assert(fc.asyncProperty(json, run), { numRuns: 50 });
      });

      it('takes the member `value` wherever it stands, the last one of many', async () => {
        const bodies = {
          ' { "a" : [ "value" ] , "value" : 1.10 , "z" : {"value":2} } ': '1.10',
          '{"value":1,"value":2}': '2',
          '{"v\\u0061lue":3}': '3',
          '{"value":\r\n4\t}': '4',
        };
        for (const [body, value] of Object.entries(bodies)) {
          await send('PUT', pathOf('a'), { headers: JSON_TYPE, body });
          expect((await get('a')).text).toBe(`{"value":${value}}`);
        }
      });
    });

    describe('all at once', () => {
      it('imports an object over what is there, and says how much', async () => {
        await put('a', '0');
        await put('b', '0');
        const { text } = await importing(
          ' {"__proto__": 1.10, "b":"\\ud800" ,"c/d":[ ], "é":1,"e\\u0301":2} ',
        );
        expect(text).toBe('{"success":true,"imported":5}');
        expect((await send('GET', '/api/storage/export')).text).toBe(
          '{"__proto__":1.10,"a":0,"b":"\\ud800","c/d":[ ],"é":2,"é":1}'.replace('"é":2', '"e\u0301":2'),
        );
      });

      it('imports the last of equal names, once', async () => {
        expect((await importing('{"a":1,"b":2,"\\u0061":3}')).text).toBe('{"success":true,"imported":2}');
        expect((await send('GET', '/api/storage/export')).text).toBe('{"a":3,"b":2}');
        expect((await importing('{}')).text).toBe('{"success":true,"imported":0}');
      });

      for (const key of ['', 'bad\0key', `bad${'k'.repeat(1022)}`, 'bad\ud800'])
        it(`imports nothing where a key is ${JSON.stringify(key.slice(0, 10))}, and names it`, async () => {
          const data = JSON.stringify({ good: 1, [key]: 2, last: 3 });
          const answer = await importing(data);
          expectError(answer, 400);
          expect(answer.json.error).toContain(key === '' ? '""' : 'bad');
          expect(await keys()).toEqual([]);
        });

      it('goes on when readers leave in the middle of an export', async () => {
        await Promise.all(
          Array.from({ length: 20 }, (_, index) => put(`${index}`, `"${'x'.repeat(512 * 1024)}"`)),
        );
        for (let index = 0; index < 12; index += 1) {
          const exporting = await open(server, '/api/storage/export');
          exporting.destroy();
        }
        await put('a', '1');
        expect((await get('a')).text).toBe('{"value":1}');
      });
    });

    describe('bodies', () => {
      for (const body of [
        '{}',
        '{"Value":1}',
        '{"a":{"value":1}}',
        '[]',
        '["value"]',
        'null',
        '1',
        '"value"',
        'true',
      ])
        it(`refuses ${body} for its lack of a value`, async () => {
          const { status, json } = await send('PUT', pathOf('a'), { headers: JSON_TYPE, body });
          expect([status, json.error]).toEqual([400, 'Missing value field']);
        });

      it('refuses values that nest over 200 levels, and stands any number of brackets', async () => {
        const nested = (levels: number) => `${'[{"a":'.repeat(levels / 2)}1${'}]'.repeat(levels / 2)}`;
        expect((await put('a', nested(200))).status).toBe(200);
        for (const value of [
          `[${nested(200)}]`,
          nested(1_000_000),
          '['.repeat(1_000_000),
          '{"a":'.repeat(1_000_000),
        ])
          expectError(await put('a', value), 400);
        expectError(await importing(`{"b":1,"a":[${nested(200)}]}`), 400);
        expect((await get('a')).text).toBe(`{"value":${nested(200)}}`);
        expect(await keys()).toEqual(['a']);
      });

      it('does not take brackets in strings for nesting', async () => {
        const value = JSON.stringify(['[{"\\'.repeat(1000)]);
        await put('a', value);
        expect((await get('a')).text).toBe(`{"value":${value}}`);
      });

      it('takes a body in chunks', async () => {
        const body = `{"value":"${'é'.repeat(100_000)}"}`;
        const sent = { headers: JSON_TYPE, body, chunked: true };
        expect((await send('PUT', pathOf('a'), sent)).status).toBe(200);
        expect((await get('a')).text).toBe(body);
      });
    });

    it('gets a refusal through to a caller that listens only after it has sent everything', async () => {
      const refused: Array<[line: string, header: string, status: number]> = [
        ['PUT /api/storage/a', 'Content-Type: application/json', 413],
        ['POST /api/storage/import', 'Content-Type: text/plain', 415],
        ['PUT /api/storage/a', 'Origin: https://evil.example', 403],
      ];
      for (const [line, header, status] of refused) {
        const head = [`${line} HTTP/1.1`, 'Host: localhost', 'Connection: close', header];
        const answer = await sendThenListen(server, head, 16 * 1024 * 1024);
        expect(answer).toMatch(new RegExp(`^HTTP/1\\.1 ${status} [\\s\\S]*\r\n\r\n{"error":.*}$`));
      }
    });

    describe('addresses', () => {
      it('is not wiped by the DELETE that old clients send by mistake', async () => {
        await put('a', '1');
        for (const path of ['/api/storage', '/api/storage/', '/api/storage?', '/api/storage/?a'])
          expectError(await send('DELETE', path), 404);
        expect(await keys()).toEqual(['a']);
      });

      it('answers a wrong method with what is allowed', async () => {
        const health = await send('POST', '/health', { headers: JSON_TYPE, body: '{}' });
        expectError(health, 405);
        expect(health.headers.allow).toMatch(/\bGET\b/);
        for (const path of [pathOf('a'), '/api/storage/clear']) {
          const patched = await send('PATCH', path, { headers: JSON_TYPE, body: '{}' });
          expectError(patched, 405);
          for (const method of ['GET', 'PUT', 'POST', 'DELETE'])
            expect(patched.headers.allow).toContain(method);
        }
      });
    });

    describe('many at once', () => {
      it('takes concurrent first writes of one key', async () => {
        for (let round = 0; round < 5; round += 1) {
          const answers = await Promise.all(
            Array.from({ length: 20 }, (_, index) => put(`key-${round}`, `${index}`)),
          );
          expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]));
          expect(new Set(answers.map(({ headers }) => headers.etag)).size).toBe(20);
        }
      });

      it('lets a failing write not touch the others', async () => {
        await put('taken', '0');
        const answers = await Promise.all(
          Array.from({ length: 60 }, (_, index) => {
            if (index % 3 === 0) return put('taken', '1', { 'if-none-match': '*' });
            if (index % 3 === 1) return remove(`missing-${index}`);
            return put(`key-${index}`, `${index}`);
          }),
        );
        expect(answers.map(({ status }) => status)).toEqual(
          Array.from({ length: 60 }, (_, index) => [412, 404, 200][index % 3]),
        );
        expect(await keys()).toHaveLength(21);
        expect((await get('taken')).text).toBe('{"value":0}');
      });
    });

    describe('who may call', () => {
      for (const origin of LOOPBACK_ORIGINS)
        it(`lets pages of ${origin} read and write`, async () => {
          const answers = [
            await put('a', '1', { origin }),
            await get('a', { origin }),
            await get('missing', { origin }),
          ];
          answers.push(await send('GET', '/health', { headers: { origin } }));
          answers.push(await send('GET', '/nowhere', { headers: { origin } }));
          expect(answers.map(({ status }) => status)).toEqual([200, 200, 404, 200, 404]);
          for (const { headers } of answers) {
            expect(headers['access-control-allow-origin']).toBe(origin);
            expect(headers['access-control-expose-headers']).toMatch(/ETag/i);
            expect(headers['access-control-expose-headers']).toMatch(/Retry-After/i);
            expect(headers['access-control-allow-credentials']).toBeUndefined();
            expect(headers.vary).toMatch(/\bOrigin\b/i);
          }
        });

      for (const origin of FOREIGN_ORIGINS)
        it(`lets pages of ${origin} change nothing, and read nothing`, async () => {
          await put('a', '1');
          const found = await get('a', { origin });
          expect(found.headers['access-control-allow-origin']).toBeUndefined();
          const headers = { ...JSON_TYPE, origin };
          for (const [method, path] of [
            ['PUT', pathOf('a')],
            ['POST', pathOf('a')],
            ['DELETE', pathOf('a')],
            ['POST', '/api/storage/clear'],
            ['POST', '/api/storage/import'],
          ] as const)
            expectError(await send(method, path, { headers, body: '{"value":2}' }), 403);
          expect((await get('a')).text).toBe('{"value":1}');
        });

      it('answers a preflight of a listed origin, and lets it be kept', async () => {
        const headers = {
          origin: 'http://localhost:4173',
          'access-control-request-method': 'PUT',
          'access-control-request-headers': 'content-type,if-match',
        };
        for (const path of [pathOf('a'), pathOf('clear'), '/health']) {
          const answer = await send('OPTIONS', path, { headers });
          expect([answer.status, answer.text]).toEqual([204, '']);
          expect(answer.headers['access-control-allow-origin']).toBe(headers.origin);
          expect(answer.headers['access-control-max-age']).toBe('7200');
          expect(answer.headers['access-control-allow-credentials']).toBeUndefined();
          for (const method of ['GET', 'PUT', 'POST', 'DELETE'])
            expect(answer.headers['access-control-allow-methods']).toContain(method);
          // A server may list all that it allows, or what was asked for.
          for (const name of [/content-type/i, /if-match/i])
            expect(answer.headers['access-control-allow-headers']).toMatch(name);
        }
      });

      it('allows nothing in a preflight of another origin', async () => {
        const headers = { origin: 'https://evil.example', 'access-control-request-method': 'PUT' };
        const answer = await send('OPTIONS', pathOf('a'), { headers });
        expect(answer.headers['access-control-allow-origin']).toBeUndefined();
      });

      it('is not affected by a missing Origin', async () => {
        const { status, headers } = await put('a', '1');
        expect([status, headers['access-control-allow-origin']]).toEqual([200, undefined]);
        // A cache must not give this answer to a page.
        expect(headers.vary).toMatch(/\bOrigin\b/i);
      });

      it('answers only to the names of this machine', async () => {
        const { port } = new URL(server.url);
        for (const host of [
          `localhost:${port}`,
          `127.0.0.1:${port}`,
          `[::1]:${port}`,
          'localhost',
          'LOCALHOST',
        ])
          expect((await send('GET', '/health', { headers: { host } })).status).toBe(200);
        for (const host of [
          'evil.example',
          `evil.example:${port}`,
          'localhost.evil.example',
          '127.0.0.1.evil.example',
        ])
          for (const path of ['/health', '/api/storage/keys'])
            expectError(await send('GET', path, { headers: { host } }), 403);
      });
    });

    describe('settings', () => {
      const using = async (env: Record<string, string>, run: (server: RunningServer) => Promise<void>) => {
        const other = await start({ env });
        try {
          await run(other);
        } finally {
          await other.stop();
        }
      };

      it('ALLOWED_ORIGINS lists who may call, and then loopback is not listed', () =>
        using({ ALLOWED_ORIGINS: 'https://app.example, https://other.example:8443' }, async (other) => {
          for (const origin of ['https://app.example', 'https://other.example:8443']) {
            const { status, headers } = await putTo(other, 'a', '1', { origin });
            expect([status, headers['access-control-allow-origin']]).toEqual([200, origin]);
          }
          for (const origin of [
            'http://app.example',
            'https://app.example:444',
            'http://localhost',
            'https://sub.app.example',
          ])
            expectError(await putTo(other, 'a', '1', { origin }), 403);
        }));

      it('ALLOWED_ORIGINS=* lets every page call', () =>
        using({ ALLOWED_ORIGINS: '*' }, async (other) => {
          for (const origin of ['https://evil.example', 'null']) {
            const { status, headers } = await putTo(other, 'a', '1', { origin });
            expect(status).toBe(200);
            expect(['*', origin]).toContain(headers['access-control-allow-origin']);
            expect(headers['access-control-allow-credentials']).toBeUndefined();
          }
        }));

      it('MAX_BODY_BYTES limits what is read, whether or not a body says how long it is', () =>
        using({ MAX_BODY_BYTES: '1000' }, async (other) => {
          const body = (size: number) => `{"value":"${'x'.repeat(size - 12)}"}`;
          const putting = (sent: Sent) => sendTo(other, 'PUT', pathOf('a'), { headers: JSON_TYPE, ...sent });
          for (const chunked of [false, true]) {
            expect((await putting({ body: body(1000), chunked })).status).toBe(200);
            for (const size of [1001, 3_000_000]) {
              const refused = await putting({ body: body(size), chunked });
              expectError(refused, 413);
              expect(refused.json.error).toContain('1000');
            }
          }
          const announced = { ...JSON_TYPE, 'content-length': '1001' };
          expectError(await putting({ headers: announced, body: '{', unfinished: true }), 413);
          const importing = { headers: JSON_TYPE, body: body(1001) };
          expectError(await sendTo(other, 'POST', '/api/storage/import', importing), 413);
          expect((await sendTo(other, 'GET', pathOf('a'))).text).toBe(body(1000));
        }));
    });

    it('keeps values and tags over a restart', async () => {
      const folder = await mkdtemp(join(tmpdir(), 'codeforge-restart-'));
      const databasePath = join(folder, 'kept.db');
      try {
        const before = await start({ databasePath });
        const { etag } = (await putTo(before, 'a', '1.10')).headers;
        await before.stop();
        const after = await start({ databasePath });
        const found = await sendTo(after, 'GET', pathOf('a'));
        const stats = (await sendTo(after, 'GET', '/api/storage/stats')).json;
        const { etag: next } = (await putTo(after, 'a', '1.10')).headers;
        await after.stop();
        expect([found.text, found.headers.etag]).toEqual(['{"value":1.10}', etag]);
        expect(stats.database_path).toBe('kept.db');
        expect(next).not.toBe(etag);
      } finally {
        await rm(folder, { recursive: true, force: true });
      }
    });
  });
}

function pathOf(key: string): string {
  return `/api/storage/${encodeURIComponent(key).replaceAll('.', '%2E')}`;
}

function putTo(server: RunningServer, key: string, value: string, headers = {}): Promise<Answer> {
  const body = `{"value":${value}}`;
  return sendTo(server, 'PUT', pathOf(key), { headers: { ...JSON_TYPE, ...headers }, body });
}

/** An error is JSON for the caller to read, and shows nothing of the inside. */
function expectError({ status, headers, text, json }: Answer, expected: number): void {
  expect([status, headers['content-type']], text).toEqual([expected, 'application/json']);
  expect(Object.keys(json).slice(0, 5)).toEqual(['error', 'type', 'title', 'status', 'detail']);
  expect(json.error).toMatch(/\w/);
  expect([json.status, json.detail]).toEqual([expected, json.error]);
  expect(text).not.toMatch(/Traceback|Error:|\bat \/|\.(?:ts|js|py)\b|sqlite/i);
}

/**
 * A request whose path and headers go out as they are: `fetch` would change some of them. Every answer must be one that
 * docs/openapi.yaml has.
 */
function sendTo(server: RunningServer, method: string, path: string, sent: Sent = {}): Promise<Answer> {
  const { body, chunked = false, unfinished = false } = sent;
  const length = body === undefined || chunked ? {} : { 'content-length': `${Buffer.byteLength(body)}` };
  const { hostname, port } = new URL(server.url);
  const headers = { ...length, ...sent.headers };
  return new Promise((resolve, reject) => {
    const request = httpRequest({ hostname, port, method, path, headers, agent: false }, (response) => {
      textOf(response)
        .then((text) => {
          const { statusCode: status = 0, headers } = response;
          expectDocumented({ method, path, status, headers, text });
          resolve({ status, headers, text, json: jsonOf(text) });
          if (unfinished) request.destroy();
        })
        .catch(reject);
    });
    // After an answer this may be the end of a body that the server no longer reads.
    request.on('error', reject);
    if (unfinished) {
      request.write(body ?? '');
    } else if (chunked && body !== undefined) {
      const bytes = Buffer.from(body);
      for (let at = 0; at < bytes.length; at += 9999) request.write(bytes.subarray(at, at + 9999));
      request.end();
    } else {
      request.end(body);
    }
  });
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** The answer as it came, if it came. */
async function sendThenListen(server: RunningServer, head: readonly string[], size: number): Promise<string> {
  const socket = connect(Number(new URL(server.url).port), '127.0.0.1').pause();
  socket.write(`${head.join('\r\n')}\r\nContent-Length: ${size}\r\n\r\n`);
  const chunk = Buffer.alloc(size / 64);
  for (let sent = 0; sent < size; sent += chunk.length) {
    socket.write(chunk);
    await delay(10);
  }
  return textOf(socket);
}

/** Ask, and read nothing of the answer yet. */
function open(server: RunningServer, path: string): Promise<IncomingMessage> {
  const { hostname, port } = new URL(server.url);
  return new Promise((resolve, reject) => {
    const request = httpRequest({ hostname, port, path, agent: false }, (response) => {
      response.on('error', () => {});
      resolve(response);
    });
    request.on('error', reject).end();
  });
}
