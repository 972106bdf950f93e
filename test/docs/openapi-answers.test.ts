/**
 * What the servers of this repository answer is what docs/openapi.yaml documents: a request for every operation and
 * status, but those that only a full disk or a server with less on it would give.
 */
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { request as httpRequest } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { flaskSkipReason, startFlaskServer } from '../support/flask-server.ts';
import { expectDocumented, type Observed } from '../support/openapi.ts';
import { operations } from '../support/openapi-document.ts';
import { sendUntilReceived } from '../support/received.ts';
import type { RunningServer } from '../support/running-server.ts';
import { startTypescriptServer } from '../support/typescript-server.ts';
import {
  batch,
  END,
  HEADER,
  json,
  LEVEL_0,
  LEVEL_1,
  lines,
  RECORD,
  type Sent,
  STREAM,
  VALUE,
} from './openapi-requests.ts';

const servers = [
  { name: 'the TypeScript server', launch: startTypescriptServer, skipped: undefined, isReference: true },
  { name: 'the Flask server', launch: startFlaskServer, skipped: flaskSkipReason(), isReference: false },
] as const;

describe.each(servers)('$name answers as docs/openapi.yaml documents', ({ launch, skipped, isReference }) => {
  if (skipped !== undefined) {
    it.skip(skipped);
    return;
  }
  const running: RunningServer[] = [];
  const seen = new Set<string>();
  const token = randomBytes(32).toString('base64url');
  let streams: boolean;
  let plain: RunningServer;
  let guarded: RunningServer;

  async function start(env: Record<string, string> = {}, databasePath?: string): Promise<RunningServer> {
    const server = await launch({ env, ...(databasePath !== undefined && { databasePath }) });
    running.push(server);
    return server;
  }

  async function observe(
    server: RunningServer,
    method: string,
    path: string,
    sent?: Sent,
  ): Promise<Observed> {
    const observed = await ask(server, method, path, sent);
    seen.add(expectDocumented(observed));
    return observed;
  }

  beforeAll(async () => {
    const hash = createHash('sha256').update(token).digest('hex');
    plain = await start();
    streams = JSON.parse((await ask(plain, 'GET', '/health')).text).capabilities.includes('sse');
    guarded = await start({ TOKENS: `team:read:${hash}`, MAX_BODY_BYTES: '2000' });
  });
  afterAll(async () => {
    for (const server of running) await server.stop();
  });

  for (const [level, requests] of Object.entries({ LEVEL_0, LEVEL_1 }))
    it(`${level.toLowerCase().replace('_', ' ')}: a request for each status`, async () => {
      for (const [status, method, path, sent] of requests) {
        if (sent?.until && !streams) continue;
        const observed = await observe(plain, method, path, sent);
        expect(observed.status, `${method} ${path}: ${observed.text.slice(0, 200)}`).toBe(status);
      }
    });

  it('every operation: a foreign host, and headers that are too long', async () => {
    for (const { method, path } of operations()) {
      const { status } = await observe(plain, method, path, { headers: { host: 'evil.example' } });
      expect([method, path, status]).toEqual([method, path, 403]);
      const long = await observe(plain, method, path, { headers: { 'x-long': 'x'.repeat(20_000) } });
      expect([method, path, long.status]).toEqual([method, path, 431]);
    }
  });

  it('every operation: no token, a wrong one, and one of a scope that is too low', async () => {
    const bearer = (text: string): Sent => ({ headers: { authorization: `Bearer ${text}` } });
    for (const { method, path } of operations()) {
      const isPublic = path === '/health';
      for (const sent of [{}, bearer('wrong')]) {
        const { status } = await observe(guarded, method, path, sent);
        expect([method, path, status]).toEqual([method, path, isPublic ? 200 : 401]);
      }
    }
    const headers = { authorization: `Bearer ${token}` };
    expect((await observe(guarded, 'GET', '/health', { headers })).text).toContain('"epoch"');
    expect((await observe(guarded, 'GET', '/api/v1/keys', { headers })).status).toBe(200);
    for (const [method, path, sent] of [
      ['PUT', '/api/storage/a', VALUE],
      ['GET', '/api/v1/export', {}],
      ['POST', '/api/v1/batch', batch({}, { op: 'clear' })],
    ] satisfies Array<[string, string, Sent]>) {
      const refused = await observe(guarded, method, path, {
        ...sent,
        headers: { ...sent.headers, ...headers },
      });
      expect([path, refused.status]).toEqual([path, 403]);
    }
  });

  it('every operation with a body: one that is too large', async () => {
    const limited = await start({ MAX_BODY_BYTES: '2000' });
    const value = 'x'.repeat(3000);
    for (const [method, path, sent] of [
      ['PUT', '/api/storage/a', json({ value })],
      ['POST', '/api/storage/a', json({ value })],
      ['POST', '/api/storage/import', json({ value })],
      ['POST', '/api/v1/batch', batch({}, { op: 'put', key: 'a', value })],
      ['POST', '/api/v1/import', lines(HEADER, { ...RECORD, value: value.repeat(4) }, END)],
    ] as const)
      expect((await observe(limited, method, path, sent)).status, path).toBe(413);
  });

  it('a batch: every outcome of an operation', async () => {
    const small = await start({ MAX_BODY_BYTES: '10000' });
    const put = (key: string, value: unknown, ifRev?: string) => ({ op: 'put', key, value, ifRev });
    const get = { op: 'get', key: 'a' };
    const client = 'every-outcome-of-an-operation';
    const outcomes = async (m: number, atomic: boolean, ...ops: object[]) => {
      const { text } = await observe(small, 'POST', '/api/v1/batch', batch({ client, m, atomic }, ...ops));
      return JSON.parse(text).results.map(
        ({ status, type }: { status: number; type?: string }) => type ?? status,
      );
    };
    const none = { op: 'get', key: 'none' };
    const done = [put('a', 'x'.repeat(4800)), { op: 'head', key: 'a' }, get, get, get, none, put('', 1)];
    expect(await outcomes(1, false, ...done)).toEqual([
      ...[
        200,
        200,
        200,
        200,
        'urn:codeforge-storage:answer-too-large',
        404,
        'urn:codeforge-storage:invalid-key',
      ],
    ]);
    expect(await outcomes(2, false, put('b', 'x'.repeat(9000)))).toEqual([
      'urn:codeforge-storage:value-too-large',
    ]);
    expect(await outcomes(3, true, put('a', 1), put('a', 2, '99'))).toEqual([424, 412]);
    expect(await outcomes(3, true, put('a', 1), put('a', 2, '99'))).toEqual([424, 412]);
  });

  const tooMany = async (): Promise<void> => {
    const busy = await start({ MAX_REQUESTS: '1' });
    // An import is worked on while it arrives.
    const importing = await sendUntilReceived(`${busy.url}/api/v1/import`, {
      method: 'POST',
      headers: { 'content-type': 'application/x-ndjson' },
    });
    importing.answer.catch(() => {});
    try {
      // /health answers however busy the server is.
      for (const { method, path } of operations().filter((operation) => operation.path !== '/health')) {
        const type = path === '/api/v1/import' ? 'application/x-ndjson' : 'application/json';
        const sent = /^(PUT|POST)$/.test(method) ? { headers: { 'content-type': type }, body: '{}' } : {};
        expect((await observe(busy, method, path, sent)).status, `${method} ${path}`).toBe(503);
      }
    } finally {
      importing.end();
    }
  };
  const withoutCondition = async (): Promise<void> => {
    const strict = await start({ REQUIRE_CONDITION: 'true' });
    for (const method of ['PUT', 'POST', 'DELETE']) {
      const sent = method === 'DELETE' ? {} : VALUE;
      expect((await observe(strict, method, '/api/storage/a', sent)).status, method).toBe(428);
    }
  };
  // Only the reference server counts its requests, and can be set to want conditions.
  if (isReference) {
    it('every operation: too many requests at once', tooMany);
    it('every write of a key: no condition where the server wants one', withoutCondition);
  }

  it('a cursor that is older than the tombstones', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'codeforge-openapi-'));
    const databasePath = join(folder, 'old.db');
    try {
      const first = await start({}, databasePath);
      await observe(first, 'PUT', '/api/storage/a', VALUE);
      await observe(first, 'DELETE', '/api/storage/a');
      await first.stop();
      const database = new DatabaseSync(databasePath);
      database.exec('DELETE FROM records; UPDATE tenants SET forgotten = 2');
      database.close();
      const second = await start({}, databasePath);
      const { epoch } = JSON.parse((await observe(second, 'GET', '/health')).text);
      const path = `/api/v1/changes?since=${epoch}.1`;
      expect((await observe(second, 'GET', path)).status).toBe(410);
      if (streams) {
        const reset = await observe(second, 'GET', path, { headers: STREAM, until: /reset[\s\S]*\n\n$/ });
        expect(reset.text).toContain('"cursor-gone"');
      }
      await second.stop();
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });

  it('leaves no status out that a test can provoke', async ({ annotate }) => {
    const documented = operations().flatMap(({ method, path, operation }) =>
      Object.keys(operation.responses).flatMap((status) =>
        status === 'default' ? [] : [`${method} ${path} ${status}`],
      ),
    );
    const unseen = documented.filter((name) => !seen.has(name));
    const count = documented.length - unseen.length;
    await annotate(
      `${count} of ${documented.length} documented answers were seen, not: ${unseen.join(', ')}`,
    );
    // Too many requests in a second, a full disk, a busy server, a database that is away, conditions that only the reference server wants,
    // and a route of level 1 that is not announced.
    const unprovoked = isReference
      ? / (?:429|507)$|\/health 503$|\/api\/v1\/.* 404$/
      : / (?:42[89]|50[37])$|\/api\/v1\/.* 404$/;
    expect(unseen.filter((name) => !unprovoked.test(name))).toEqual([]);
  });
});

/** A request whose path and headers go out as they are. */
function ask(server: RunningServer, method: string, path: string, sent: Sent = {}): Promise<Observed> {
  const { body, until } = sent;
  const length = body === undefined ? {} : { 'content-length': `${Buffer.byteLength(body)}` };
  const { hostname, port } = new URL(server.url);
  const options = { hostname, port, method, path, headers: { ...length, ...sent.headers }, agent: false };
  return new Promise((resolve, reject) => {
    const request = httpRequest(options, (response) => {
      let text = '';
      const done = (): void => {
        resolve({ method, path, status: response.statusCode ?? 0, headers: response.headers, text });
        request.destroy();
      };
      response.setEncoding('utf8').on('error', reject).on('end', done);
      response.on('data', (chunk: string) => {
        text += chunk;
        if (until?.test(text)) done();
      });
    });
    request.on('error', reject).end(body);
  });
}
