/** Clauses 9.1 to 9.5: what errors look like, and that nothing breaks a server. */
import { gunzipSync } from 'node:zlib';
import { ensure, isObject, refused, same, status, urn } from './expectations.ts';
import { type Answer, exchange, sendBytes } from './http.ts';
import { checksThatNeed, NotAnnounced } from './runner.ts';
import { authorization, JSON_TYPE, pathOf, type Subject } from './subject.ts';

const { check, checks } = checksThatNeed('contract');

export { checks as errorChecks };

const NAMES = [
  ...['epoch-changed', 'other-account', 'mutation-changed', 'settled', 'void'],
  ...['cursor-gone', 'key-exists', 'incomplete-import'],
  ...['answer-too-large', 'value-too-large', 'invalid-key', 'outcome-unknown'],
];

/** Errors of both levels. */
const failing = async (
  server: Subject,
  headers: Readonly<Record<string, string>> = {},
): Promise<Answer[]> => [
  await server.get('missing', { headers }),
  await server.delete('missing', { headers }),
  await server.put('a', '{', { headers }),
  await server.put('a\0', '1', { headers }),
  await server.send('PUT', pathOf('a'), {
    body: '{"value":1}',
    headers: { 'content-type': 'text/plain', ...headers },
  }),
  await server.send('GET', '/nowhere', { headers }),
  await server.send('PATCH', pathOf('a'), { headers }),
  await server.postBatch('{', { headers }),
  await server.postBatch('{"epoch":"other","ops":[]}', { headers }),
  await server.send('GET', '/api/v1/nowhere', { headers }),
  await server.send('PATCH', '/api/v1/batch', { headers }),
];

check('9.1', 'an error has the members of RFC 9457 beside the old error, on both levels', async (server) => {
  for (const answer of await failing(server)) {
    const body = refused(answer, [400, 404, 405, 409, 415]);
    const { error, type, title, status: told, detail } = body;
    same(
      [told, detail],
      [answer.status, error],
      `\`status\` and \`detail\` of ${answer.status} to ${answer.asked}`,
    );
    for (const [name, text] of Object.entries({ type, title }))
      ensure(
        typeof text === 'string' && text !== '',
        `\`${name}\` of ${answer.status} to ${answer.asked} must be text, not ${text}`,
      );
  }
});

check(
  '9.1',
  'the media type of an error is application/json, unless Accept names application/problem+json',
  async (server) => {
    const accepted = {
      'application/json': [undefined, '*/*', 'application/json', 'text/html, application/json;q=0.9'],
      'application/problem+json': [
        'application/problem+json',
        'application/json, application/problem+json;q=0.5',
      ],
    };
    for (const [expected, accepts] of Object.entries(accepted))
      for (const accept of accepts)
        for (const answer of await failing(server, accept === undefined ? {} : { accept })) {
          const type = answer.headers['content-type']?.split(';')[0];
          same(type, expected, `Content-Type of ${answer.status} to ${answer.asked} with Accept ${accept}`);
        }
  },
);

check('9.2', 'type is about:blank or a name that a clause gives', async (server) => {
  for (const answer of await failing(server)) {
    const { type } = refused(answer, [400, 404, 405, 409, 415]);
    ensure(
      ['about:blank', ...NAMES.map(urn)].includes(String(type)),
      `\`type\` of ${answer.status} to ${answer.asked} must be one of the contract's, not ${type}`,
    );
  }
});

check('9.3', 'unknown routes and methods below /api/v1 are 404 and 405 with JSON', async (server) => {
  for (const path of [
    '/api/v1',
    '/api/v1/',
    '/api/v1/nowhere',
    '/api/v1/batch/',
    '/api/v1/Batch',
    '/api/v1/keys/a',
    '/api/v2/batch',
  ])
    refused(await server.send('GET', path), 404);
  for (const [method, path, allowed] of [
    ['GET', '/api/v1/batch', 'POST'],
    ['POST', '/api/v1/keys', 'GET'],
    ['POST', '/api/v1/changes', 'GET'],
    ['DELETE', '/api/v1/export', 'GET'],
    ['GET', '/api/v1/import', 'POST'],
    ['PUT', '/api/v1/stats', 'GET'],
  ] as const) {
    const answer = await server.send(
      method,
      path,
      method === 'GET' ? {} : { headers: JSON_TYPE, body: '{}' },
    );
    refused(answer, 405);
    ensure(
      answer.headers.allow?.split(/\s*,\s*/).includes(allowed),
      `405 to ${answer.asked} must name ${allowed} in Allow, not ${answer.headers.allow}`,
    );
  }
});

check(
  '9.4',
  'whatever is sent, the server answers no 5xx but 503 and 507, and goes on serving',
  async (server) => {
    await server.put('a', '1');
    const admin = authorization(server.tokens.admin);
    const headers = { ...JSON_TYPE, ...admin };
    const requests: ReadonlyArray<readonly [method: string, path: string, sent?: object]> = [
      ['GET', '/api/storage/%00'],
      ['GET', '/%'],
      ['GET', '//api//storage//a'],
      ['GET', `/api/storage/${'k'.repeat(6_000)}`],
      ['GET', `/${'x'.repeat(100_000)}`],
      ['GET', `/api/v1/changes?since=${'9'.repeat(400)}`],
      ['GET', `/api/v1/changes?since=${(await server.position()).epoch}.${'9'.repeat(30)}`],
      ['GET', '/api/v1/keys?limit=99999999999999999999&after=%00'],
      ['GET', '/api/v1/keys?prefix=%F4%8F%BF%BF'],
      ['GET', '/api/v1/keys?limit=1&limit=2'],
      ['GET', '/health', { headers: { 'x-large': 'x'.repeat(30_000) } }],
      ['GET', '/health', { headers: { ...admin, cookie: '\xff\xfe', range: 'bytes=5-1' } }],
      ['GET', pathOf('a'), { headers: { ...admin, 'if-none-match': '"'.repeat(1_000) } }],
      ['GET', pathOf('a'), { headers: { authorization: 'Bearer' } }],
      ['GET', pathOf('a'), { headers: { authorization: `Basic ${'é'}` } }],
      ['PUT', pathOf('b'), { headers: { ...headers, 'if-match': '\xff' }, body: '{"value":1}' }],
      ['PUT', pathOf('b'), { headers: { ...headers, 'content-encoding': 'gzip' }, body: 'no gzip' }],
      ['PUT', pathOf('b'), { headers, body: Buffer.from([0, 1, 2, 255]) }],
      ['PUT', pathOf('b'), { headers, body: `{"value":${'9'.repeat(100_000)}}` }],
      ['PUT', pathOf('b'), { headers, body: `{"value":1e${'9'.repeat(1_000)}}` }],
      ['POST', '/api/v1/batch', { headers, body: `{"ops":[${'{"op":"get","key":"a"},'.repeat(1_000)}]}` }],
      [
        'POST',
        '/api/v1/batch',
        { headers, body: '{"ops":[{"op":"put","key":"c","value":1,"ifRev":"99999999999999999999999999"}]}' },
      ],
      [
        'POST',
        '/api/v1/batch',
        {
          headers,
          body: '{"client":"cccccccccccccccccccc","m":9007199254740993,"ops":[{"op":"put","key":"c","value":1}]}',
        },
      ],
      [
        'POST',
        '/api/v1/batch',
        {
          headers,
          body: '{"client":"cccccccccccccccccccc","m":1e300,"ops":[{"op":"put","key":"c","value":1}]}',
        },
      ],
      [
        'POST',
        '/api/v1/batch',
        { headers, body: '{"ops":[{"op":"clear","ifSeq":"99999999999999999999999999"}]}' },
      ],
      [
        'POST',
        '/api/v1/import',
        { headers: { ...admin, 'content-type': 'application/x-ndjson' }, body: '\n\n\n' },
      ],
      [
        'POST',
        '/api/v1/import?mode=%ff&dry_run=%',
        { headers: { ...admin, 'content-type': 'application/x-ndjson' }, body: '{}' },
      ],
      ['OPTIONS', '*'],
      ['TRACE', '/health'],
      ['DELETE', '/api/v1/batch', { headers, body: '{}' }],
    ];
    for (const [method, path, sent] of requests) {
      const answer = await exchange(server.base, method, path, { headers: admin, ...sent }).catch((error) => {
        // A server may cut off what is no request at all, but not stop serving.
        if (path.length < 50_000 && error.code !== 'ECONNRESET') throw error;
      });
      if (answer) expectNoOtherFailure(answer.status, answer.asked);
      await expectServes(server);
    }
    for (const bytes of [
      '\0\xff\xfe\r\n\r\n',
      'GET /health\r\n\r\n',
      'GET / HTTP/9.9\r\n\r\n',
      'PUT /api/storage/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n{}',
      'PUT /api/storage/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nzz',
    ]) {
      const came = await sendBytes(server.base, bytes);
      const got = /^HTTP\/\d\.\d (\d{3})/.exec(came)?.[1];
      // 505 is the answer to a version of HTTP, and given by what speaks HTTP for the server.
      if (got !== undefined && got !== '505') expectNoOtherFailure(Number(got), JSON.stringify(bytes));
      await expectServes(server);
    }
    same((await server.get('a')).text, '{"value":1}', 'the value stored before');
  },
);

check('9.6', 'a request without Host, or with two, is 400', async (server) => {
  const path = server.base.pathname.replace(/\/$/, '');
  for (const hosts of [
    [],
    ['Host: localhost', 'Host: localhost'],
    ['Host: localhost', 'host: evil.example'],
  ]) {
    const head = [`GET ${path}/health HTTP/1.1`, ...hosts, 'Connection: close'];
    const came = await sendBytes(server.base, `${head.join('\r\n')}\r\n\r\n`);
    same(
      /^HTTP\/\d\.\d (\d{3})/.exec(came)?.[1],
      '400',
      `the status of a request with ${hosts.length} Host headers`,
    );
  }
});

check('9.6', 'the host in a target in absolute form replaces Host', async (server) => {
  if (server.base.protocol !== 'http:') throw new NotAnnounced('the server is behind TLS');
  const { host, pathname } = server.base;
  const path = `${pathname.replace(/\/$/, '')}/health`;
  const statusFor = async (target: string): Promise<string | undefined> => {
    const head = [`GET http://${target}${path} HTTP/1.1`, `Host: ${host}`, 'Connection: close'];
    const came = await sendBytes(server.base, `${head.join('\r\n')}\r\n\r\n`);
    return /^HTTP\/\d\.\d (\d{3})/.exec(came)?.[1];
  };
  same(await statusFor(host), '200', `the status of a target with the host ${host}`);
  // Without tokens, only loopback is answered (9.14).
  const isOpen = server.capabilities.includes('auth') || server.anonymous;
  same(
    await statusFor('evil.example'),
    isOpen ? '200' : '403',
    'the status of a target with the host evil.example',
  );
});

check(
  '9.5',
  'an answer of many bytes without an ETag is compressed where Accept-Encoding allows it',
  async (server) => {
    const entries = Array.from({ length: 900 }, (_, index) => [
      `${'key-'.repeat(30)}${index}`,
      'x'.repeat(100),
    ]);
    status(await server.importObject(JSON.stringify(Object.fromEntries(entries))), 200);
    const routes = { keys: '/api/v1/keys', changes: '/api/v1/changes?limit=1000', ndjson: '/api/v1/export' };
    const paths = Object.entries(routes).flatMap(([name, path]) =>
      server.capabilities.includes(name) ? [path] : [],
    );
    for (const path of [...paths, '/api/storage/export', '/api/storage/keys']) {
      const plain = await server.send('GET', path, { headers: { 'accept-encoding': 'identity' } });
      same(
        plain.headers['content-encoding'],
        undefined,
        `Content-Encoding of ${path} to Accept-Encoding: identity`,
      );
      if (plain.headers.etag !== undefined) continue;
      const packed = await server.send('GET', path, { headers: { 'accept-encoding': 'gzip' } });
      same(
        packed.headers['content-encoding'],
        'gzip',
        `Content-Encoding of ${path} to Accept-Encoding: gzip`,
      );
      ensure(
        packed.bytes.length < plain.bytes.length / 2,
        `gzip must make ${plain.bytes.length} bytes less, not ${packed.bytes.length}`,
      );
      const timeless = (text: string) => text.replace(/"(?:timestamp|sha256)":"[^"]*"/g, '');
      ensure(
        timeless(gunzipSync(packed.bytes).toString()) === timeless(plain.text),
        `${path} must unpack to what it is without gzip`,
      );
    }
  },
);

function expectNoOtherFailure(got: number, asked: string): void {
  ensure(got < 500 || got === 503 || got === 507, `${asked.slice(0, 100)} must not answer ${got}`);
}

async function expectServes(server: Subject): Promise<void> {
  const { json } = status(await server.send('GET', '/health'), 200);
  ensure(isObject(json) && json.status === 'ok', '/health must say that all is well afterwards');
}
