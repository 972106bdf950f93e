/**
 * What every server of level 0 promises, seen from outside: one suite for all of them.
 *
 * Spec: docs/contract.md (level 0, Who may call, Keys), RFC 9110.
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

/** What a level-0 route names, and what a router, a URL parser or an object could trip over. */
const ORDINARY_KEYS = [
  ...['clear', 'import', 'health', 'api', 'a/b', 'a//b', '/', '//', 'a/', '/a', '.', '..', '../..', 'a/../b'],
  ...['%', '%2F', '%00', ' ', ' a ', '+', '?', 'a?b=c', '#', '&', ';', '\\', '"', "'", '<b>', '*', '~', '\n'],
  ...['ключ', 'é', 'e\u0301', '🗝', '\uffff', '__proto__', 'constructor', 'toString', 'null', '0', '-1'],
  ...['k'.repeat(1024), '🗝'.repeat(256)],
];

const RAW_VALUES = [
  ...['null', 'true', 'false', '0', '-0', '1.10', '1E2', '1e+400', '12345678901234567890', '0.1e-7'],
  ...['""', '"\\ud800"', '"\\u0000"', '"\\u00e9"', '"é🗝"', '"\\/\\"\\\\"', '"[{"', '"\\\\"', '"\u2028"'],
  ...['[]', '{}', '[ 1 ,\n\t2 ]', '{"b":1,"a":2}', '{"a":1,"a":2}', '{"__proto__":{"x":1}}', '{"value":1}'],
  ...['{"1":1,"0":0}', '[[],[[]],{"a":[{}]}]', `${'['.repeat(200)}${']'.repeat(200)}`],
];

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
      it('says at /health that it is well, and what time it is', async () => {
        const { status, headers, json } = await send('GET', '/health');
        expect([status, headers['content-type']]).toEqual([200, 'application/json']);
        expect(Object.keys(json).slice(0, 2)).toEqual(['status', 'timestamp']);
        expect([json.status, json.contract]).toEqual(['ok', 1]);
        expect(Math.abs(Date.parse(json.timestamp) - Date.now())).toBeLessThan(60_000);
      });

      it('gives back what was put, in the exact bodies that old clients know', async () => {
        const created = await put('a', '{"foo":"bar"}');
        expect([created.status, created.text]).toEqual([200, '{"success":true}']);
        const found = await get('a');
        expect([found.status, found.text]).toEqual([200, '{"value":{"foo":"bar"}}']);
        expect(found.headers['content-type']).toBe('application/json');
        const removed = await remove('a');
        expect([removed.status, removed.text]).toEqual([200, '{"success":true}']);
      });

      it('answers a missing key with the text that old clients match on', async () => {
        for (const { status, text, json } of [await get('missing'), await remove('missing')]) {
          expect([status, json.error]).toEqual([404, 'Key not found']);
          expect(text).toMatch(/^{"error":"Key not found",/);
        }
      });

      it('takes POST for PUT, also on the names of routes that have no POST', async () => {
        for (const key of ['a', 'keys', 'export', 'stats']) {
          const sent = { headers: JSON_TYPE, body: '{"value":1}' };
          expect((await send('POST', pathOf(key), sent)).text).toBe('{"success":true}');
        }
        expect(await keys()).toEqual(['a', 'export', 'keys', 'stats']);
      });

      it('answers HEAD as GET without a body', async () => {
        await put('a', '1');
        for (const path of ['/health', '/api/storage/keys', '/api/storage/export', pathOf('a')]) {
          const head = await send('HEAD', path);
          expect([path, head.status, head.text]).toEqual([path, 200, '']);
          expect(head.headers['content-type']).toBe('application/json');
        }
        expect((await send('HEAD', pathOf('a'))).headers.etag).toBe((await get('a')).headers.etag);
        expect((await send('HEAD', pathOf('missing'))).status).toBe(404);
      });

      it('forbids browsers to guess a type', async () => {
        const answers = [await send('GET', '/health'), await get('missing'), await send('GET', '/nowhere')];
        for (const { headers } of answers) expect(headers['x-content-type-options']).toBe('nosniff');
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
      for (const raw of RAW_VALUES) {
        it(`keeps ${raw.length > 40 ? `${raw.slice(0, 20)}…` : raw} as it came`, async () => {
          await put('a', raw);
          expect((await get('a')).text).toBe(`{"value":${raw}}`);
          expect((await send('GET', '/api/storage/export')).text).toBe(`{"a":${raw}}`);
        });
      }

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

    describe('keys', () => {
      for (const key of ORDINARY_KEYS) {
        const shown = JSON.stringify(key.length > 40 ? `${key.slice(0, 10)}…` : key);
        it(`treats ${shown} as an ordinary key`, async () => {
          expect((await put(key, '1')).status).toBe(200);
          expect((await get(key)).text).toBe('{"value":1}');
          expect(await keys()).toEqual([key]);
          expect((await remove(key)).status).toBe(200);
          expect((await get(key)).status).toBe(404);
        });
      }

      it('lets keys have the names of routes', async () => {
        const names = ['clear', 'export', 'import', 'keys', 'stats'];
        for (const key of names) expect((await put(key, '1')).text).toBe('{"success":true}');
        expect(await keys()).toEqual(names);
        for (const key of names) expect((await remove(key)).text).toBe('{"success":true}');
        expect(await keys()).toEqual([]);
      });

      it('takes all that follows the prefix as the key, escaped or not, and nothing else', async () => {
        const body = { headers: JSON_TYPE, body: '{"value":1}' };
        const names = {
          'a%2Fb': 'a/b',
          'x/y': 'x/y',
          '../up': '../up',
          'q?b=c': 'q',
          '%61': 'a',
          'a+b': 'a+b',
        };
        for (const [escaped, key] of Object.entries(names)) {
          expect((await send('PUT', `/api/storage/${escaped}`, body)).status).toBe(200);
          expect(await keys()).toEqual([key]);
          expect((await send('DELETE', `/api/storage/${escaped}`)).status).toBe(200);
        }
      });

      it('lists them in byte order', async () => {
        const sorted = ['A', 'Z', 'a', 'z', '~', 'é', 'ж', '\uff5e', '🗝'];
        for (const key of sorted.toReversed()) await put(key, '1');
        expect(await keys()).toEqual(sorted);
        const { text } = await send('GET', '/api/storage/export');
        expect(text).toBe(`{${sorted.map((key) => `${JSON.stringify(key)}:1`).join(',')}}`);
      });

      it('compares them exactly', async () => {
        for (const [index, key] of ['é', 'e\u0301', 'a', 'A', 'a '].entries()) await put(key, `${index}`);
        expect(
          await Promise.all(['é', 'e\u0301', 'a', 'A', 'a '].map(async (key) => (await get(key)).json)),
        ).toEqual([0, 1, 2, 3, 4].map((value) => ({ value })));
      });

      for (const escaped of ['%', '%2', '%zz', 'a%', '%ff', '%c3', '%ed%a0%80', '%c0%80', '%f5%80%80%80'])
        it(`refuses the malformed escape ${escaped}`, async () => {
          for (const method of ['GET', 'PUT', 'POST', 'DELETE']) {
            const sent = { headers: JSON_TYPE, body: '{"value":1}' };
            expectError(await send(method, `/api/storage/${escaped}`, sent), 400);
          }
          expect(await keys()).toEqual([]);
        });

      for (const key of ['a\0b', 'k'.repeat(1025), `k${'🗝'.repeat(256)}`])
        it(`refuses to store under ${JSON.stringify(key.slice(0, 10))} of ${key.length} characters`, async () => {
          const sent = { headers: JSON_TYPE, body: '{"value":1}' };
          for (const method of ['PUT', 'POST']) expectError(await send(method, pathOf(key), sent), 400);
          expect(await keys()).toEqual([]);
        });

      it('looks for longer keys, which an older database may hold', async () => {
        expect((await get('k'.repeat(4000))).json.error).toBe('Key not found');
        expect((await remove('k'.repeat(4000))).json.error).toBe('Key not found');
      });
    });

    describe('all at once', () => {
      it('clears everything', async () => {
        await put('a', '1');
        expect((await send('POST', '/api/storage/clear')).text).toBe('{"success":true}');
        expect((await send('GET', '/api/storage/export')).text).toBe('{}');
      });

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

      for (const body of ['[]', 'null', '1', '"a"', '[{"a":1}]'])
        it(`refuses to import ${body}`, async () => {
          const { status, json } = await importing(body);
          expect([status, json.error]).toEqual([400, 'Data must be an object']);
        });

      for (const key of ['', 'bad\0key', `bad${'k'.repeat(1022)}`, 'bad\ud800'])
        it(`imports nothing where a key is ${JSON.stringify(key.slice(0, 10))}, and names it`, async () => {
          const data = JSON.stringify({ good: 1, [key]: 2, last: 3 });
          const answer = await importing(data);
          expectError(answer, 400);
          expect(answer.json.error).toContain(key === '' ? '""' : 'bad');
          expect(await keys()).toEqual([]);
        });

      it('imports what it has exported', async () => {
        const entries = ORDINARY_KEYS.map(
          (key, index) => `${JSON.stringify(key)}:${RAW_VALUES[index % RAW_VALUES.length]}`,
        );
        await importing(`{${entries.join(',')}}`);
        const exported = await send('GET', '/api/storage/export');
        await send('POST', '/api/storage/clear');
        expect((await importing(exported.text)).json.imported).toBe(ORDINARY_KEYS.length);
        expect((await send('GET', '/api/storage/export')).text).toBe(exported.text);
      });

      it('exports one state of the data, however slowly it is read', async () => {
        const value = (generation: number) => `"${String(generation).repeat(512 * 1024)}"`;
        const names = Array.from({ length: 40 }, (_, index) => `key-${index + 10}`);
        await Promise.all(names.map((key) => put(key, value(0))));

        const exporting = await open(server, '/api/storage/export');
        await Promise.all(names.map((key) => put(key, value(1))));
        await remove('key-49');
        const exported = JSON.parse(await textOf(exporting));
        expect(Object.keys(exported)).toEqual(names);
        expect(new Set(Object.values(exported))).toEqual(new Set([JSON.parse(value(0))]));

        const after = (await send('GET', '/api/storage/export')).json;
        expect(Object.keys(after)).toEqual(names.slice(0, -1));
        expect(new Set(Object.values(after))).toEqual(new Set([JSON.parse(value(1))]));
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
      const malformed = [
        ...[
          '',
          ' ',
          '{',
          '{"value":1',
          '{"value":1}x',
          '{"value":1}{}',
          '{"value":1,}',
          "{'value':1}",
          '{value:1}',
        ],
        ...[
          '{"value":NaN}',
          '{"value":Infinity}',
          '{"value":-Infinity}',
          '{"value":01}',
          '{"value":.5}',
          '{"value":1.}',
        ],
        ...[
          '{"value":+1}',
          '{"value":0x1}',
          '{"value":undefined}',
          '{"value":"\n"}',
          '{"value":"\\x"}',
          '{"value":"\\u12"}',
        ],
        ...[
          '\ufeff{"value":1}',
          '{"value":1}\u00a0',
          '{"value" 1}',
          '{"value":1 "a":2}',
          '{"value":tru}',
          '{"value":[1,]}',
        ],
      ];
      for (const body of malformed)
        it(`refuses the malformed ${JSON.stringify(body)}`, async () => {
          expectError(await send('PUT', pathOf('a'), { headers: JSON_TYPE, body }), 400);
          expectError(await importing(body), 400);
          expect(await keys()).toEqual([]);
        });

      for (const bytes of ['ff', 'c3', 'eda080', 'c080', 'f5808080'])
        it(`refuses a body with the bytes ${bytes}, which are no UTF-8`, async () => {
          const body = Buffer.concat([
            Buffer.from('{"value":"'),
            Buffer.from(bytes, 'hex'),
            Buffer.from('"}'),
          ]);
          expectError(await send('PUT', pathOf('a'), { headers: JSON_TYPE, body }), 400);
        });

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

      for (const type of [
        'text/plain',
        'application/x-www-form-urlencoded',
        'application/jsonp',
        'json',
        undefined,
      ])
        it(`refuses the content type ${type}`, async () => {
          const sent = { headers: type ? { 'content-type': type } : {}, body: '{"value":1}' };
          expectError(await send('PUT', pathOf('a'), sent), 415);
          expectError(await send('POST', '/api/storage/import', sent), 415);
          expect(await keys()).toEqual([]);
        });

      for (const type of [
        'application/json; charset=utf-8',
        'application/json;charset=UTF-8',
        'Application/JSON',
      ])
        it(`takes the content type ${type}`, async () => {
          const sent = { headers: { 'content-type': type }, body: '{"value":1}' };
          expect((await send('PUT', pathOf('a'), sent)).status).toBe(200);
        });

      it('takes a body in chunks', async () => {
        const body = `{"value":"${'é'.repeat(100_000)}"}`;
        const sent = { headers: JSON_TYPE, body, chunked: true };
        expect((await send('PUT', pathOf('a'), sent)).status).toBe(200);
        expect((await get('a')).text).toBe(body);
      });

      it('takes 8 MiB and refuses more, naming the limit', async () => {
        const body = (size: number) => `{"value":"${'x'.repeat(size - 12)}"}`;
        expect((await send('PUT', pathOf('a'), { headers: JSON_TYPE, body: body(8_388_608) })).status).toBe(
          200,
        );
        const refused = await send('PUT', pathOf('b'), { headers: JSON_TYPE, body: body(8_388_609) });
        expectError(refused, 413);
        expect(refused.json.error).toContain('8388608');
        expect(await keys()).toEqual(['a']);
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

      it('has no empty key, for no method', async () => {
        for (const method of ['GET', 'PUT', 'POST', 'DELETE', 'PATCH'])
          for (const path of ['/api/storage', '/api/storage/']) {
            const sent = method === 'GET' ? {} : { headers: JSON_TYPE, body: '{"value":1}' };
            expectError(await send(method, path, sent), 404);
          }
      });

      it('answers unknown addresses with JSON', async () => {
        for (const path of [
          '/',
          '/api',
          '/api/',
          '/api/storages',
          '/api/v1/storage',
          '/health/',
          '/Health',
          '/favicon.ico',
        ])
          expectError(await send('GET', path), 404);
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

    describe('preconditions', () => {
      it('tags every state of an entry differently', async () => {
        const tags = [];
        for (const value of ['1', '1', '2', '1']) {
          tags.push((await put('a', value)).headers.etag);
          expect((await get('a')).headers.etag).toBe(tags.at(-1));
        }
        await remove('a');
        tags.push((await put('a', '1')).headers.etag);
        await send('POST', '/api/storage/clear');
        tags.push((await put('a', '1')).headers.etag);
        await importing('{"a":1}');
        tags.push((await get('a')).headers.etag);
        expect(new Set(tags).size).toBe(7);
        for (const tag of tags) expect(tag).toMatch(/^"[^".]+\.\d+"$/);
      });

      it('lets caches keep a value only if they ask each time', async () => {
        await put('a', '1');
        expect((await get('a')).headers['cache-control']).toBe('no-cache, private');
      });

      it('answers 304 to who has the value already', async () => {
        const { etag = '' } = (await put('a', '1')).headers;
        for (const known of [etag, `W/${etag}`, `"x", ${etag}`, `"a,b",W/${etag} , "y"`, '*']) {
          const { status, text, headers } = await get('a', { 'if-none-match': known });
          expect([known, status, text, headers.etag]).toEqual([known, 304, '', etag]);
        }
        for (const known of ['"x"', 'W/"x"', etag.replaceAll('"', ''), etag.replace('.', '.1')])
          expect((await get('a', { 'if-none-match': known })).text).toBe('{"value":1}');
        expect((await get('missing', { 'if-none-match': '*' })).status).toBe(404);
      });

      it('writes only over the state that If-Match names', async () => {
        const { etag: first = '' } = (await put('a', '1')).headers;
        const { etag: second = '' } = (await put('a', '2', { 'if-match': `"x", ${first}` })).headers;
        expect(second).not.toBe(first);
        for (const stale of [first, `W/${second}`, '"x"', second.replaceAll('"', '')]) {
          for (const refused of [
            await put('a', '3', { 'if-match': stale }),
            await remove('a', { 'if-match': stale }),
          ]) {
            expectError(refused, 412);
            expect(refused.headers.etag).toBe(second);
          }
        }
        expect((await get('a')).text).toBe('{"value":2}');
        expect((await put('a', '4', { 'if-match': '*' })).status).toBe(200);
        const { etag = '' } = (await get('a')).headers;
        expect((await remove('a', { 'if-match': etag })).text).toBe('{"success":true}');
      });

      it('matches nothing where there is no entry', async () => {
        for (const tag of ['*', '"x.1"']) {
          const refused = await put('a', '1', { 'if-match': tag });
          expectError(refused, 412);
          expect(refused.headers.etag).toBeUndefined();
        }
        expect(await keys()).toEqual([]);
      });

      it('creates only once with If-None-Match: *', async () => {
        const { etag, ...rest } = (await put('a', '1', { 'if-none-match': '*' })).headers;
        expect(rest['content-type']).toBe('application/json');
        const refused = await put('a', '2', { 'if-none-match': '*' });
        expectError(refused, 412);
        expect(refused.headers.etag).toBe(etag);
        expectError(await remove('a', { 'if-none-match': '*' }), 412);
        expect((await get('a')).text).toBe('{"value":1}');
      });

      it('lets exactly one of many create', async () => {
        const answers = await Promise.all(
          Array.from({ length: 20 }, (_, index) => put('a', `${index}`, { 'if-none-match': '*' })),
        );
        const created = answers.flatMap(({ status }, index) => (status === 200 ? [index] : []));
        expect(created).toHaveLength(1);
        expect((await get('a')).json.value).toBe(created[0]);
        expect(answers.filter(({ status }) => status === 412)).toHaveLength(19);
      });

      it('loses no update among many that use If-Match', async () => {
        await put('n', '0');
        const increment = async () => {
          for (;;) {
            const { json, headers } = await get('n');
            const sent = { 'if-match': headers.etag ?? '' };
            if ((await put('n', `${json.value + 1}`, sent)).status === 200) return;
          }
        };
        await Promise.all(
          Array.from({ length: 8 }, async () => {
            for (let index = 0; index < 5; index += 1) await increment();
          }),
        );
        expect((await get('n')).text).toBe('{"value":40}');
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

      it('refuses a foreign page before its body is read', async () => {
        const headers = { ...JSON_TYPE, origin: 'https://evil.example', 'content-length': '1000000' };
        expectError(await send('PUT', pathOf('a'), { headers, body: '{', unfinished: true }), 403);
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
