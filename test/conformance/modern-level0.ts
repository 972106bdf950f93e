/** Sections 1 and 3: what servers of level 1 promise of the nine endpoints besides. */
import { text as textOf } from 'node:stream/consumers';
import { gzipSync } from 'node:zlib';
import { ensure, json, refused, same, status } from './expectations.ts';
import { checksThatNeed } from './runner.ts';
import { JSON_TYPE, pathOf } from './subject.ts';
import { together } from './together.ts';

const { check, checks } = checksThatNeed('contract');

export { checks as modernLevel0Checks };

/** What must come back as it came, though a parser would print it otherwise. */
export const EXACT_TEXTS = [
  ...['12345678901234567890', '1.10', '-0', '1E2', '1e+400', '"\\u00e9\\/"', '"\\ud800"', '[ 1 ,\n\t2 ]'],
  ...['0.1e-7', '""', '"\\u0000"', '"\\/\\"\\\\"', '"[{"', '{"value":1}', '[[],[[]],{"a":[{}]}]'],
  ...['{"b":1,"a":2}', '{"1":1,"0":0}', '{"a":1,"a":2}', '{"__proto__":{"x":1}}', '"\u2028"'],
];

const MALFORMED = [
  ...[
    '',
    ' ',
    '{',
    '{"value":1',
    '{"value":1}x',
    '{"value":1,}',
    "{'value':1}",
    '{"value":tru}',
    '{"value":"\n"}',
  ],
  ...['{"value":1}{}', '{value:1}', '{"value":undefined}', '{"value":"\\u12"}', '{"value" 1}'],
  ...['{"value":1 "a":2}', '{"value":[1,]}'],
  ...['{"value":"\\x"}', '\ufeff{"value":1}', '{"value":1}\u00a0'],
];

const NO_JSON_NUMBERS = ['NaN', 'Infinity', '-Infinity', '01', '.5', '1.', '+1', '0x1'];

const nested = (levels: number): string => `${'['.repeat(levels)}${']'.repeat(levels)}`;

check('1.4', 'the text of a value is stored and spliced back as it is', async (server) => {
  for (const text of EXACT_TEXTS) {
    status(await server.put('a', text), 200);
    same((await server.get('a')).text, `{"value":${text}}`, 'the answer to GET');
    same((await server.send('GET', '/api/storage/export')).text, `{"a":${text}}`, 'the export');
  }
  await server.wipe();
  const object = `{${EXACT_TEXTS.map((text, index) => `"${index + 10}": ${text} `).join(',')}}`;
  status(await server.importObject(object), 200);
  for (const [index, text] of EXACT_TEXTS.entries())
    same((await server.get(`${index + 10}`)).text, `{"value":${text}}`, 'the value that was imported');
});

check('1.5', 'every answer forbids browsers to guess a type', async (server) => {
  await server.put('a', '1');
  const answers = [
    await server.send('GET', '/health'),
    await server.get('a'),
    await server.get('missing'),
    await server.put('a', '{'),
    await server.send('GET', '/api/storage/export'),
    await server.send('GET', '/nowhere'),
    await server.send('PATCH', pathOf('a')),
    await server.send('GET', '/api/v1/nowhere'),
    await server.postBatch('{'),
  ];
  for (const { asked, headers } of answers)
    same(headers['x-content-type-options'], 'nosniff', `X-Content-Type-Options of ${asked}`);
});

check('1.6', 'answers forbid to be stored, unless a clause says otherwise', async (server) => {
  const answers = [
    await server.put('a', '1'),
    await server.put('a', '{'),
    await server.send('GET', '/health'),
    await server.send('GET', '/api/storage/keys'),
    await server.send('GET', '/api/storage/export'),
    await server.send('GET', '/api/storage/stats'),
    await server.send('GET', '/api/v1/stats'),
    await server.send('GET', '/nowhere'),
    await server.postBatch('{"ops":[]}'),
    await server.delete('a'),
  ];
  for (const { asked, headers } of answers)
    same(headers['cache-control'], 'no-store', `Cache-Control of ${asked}`);
});

check('1.7', 'HEAD answers as GET does, without a body', async (server) => {
  await server.put('a', '1');
  for (const path of [
    '/health',
    '/api/storage/keys',
    '/api/storage/export',
    '/api/v1/stats',
    pathOf('a'),
    pathOf('b'),
    '/nowhere',
  ]) {
    const [get, head] = [await server.send('GET', path), await server.send('HEAD', path)];
    const seen = [head.status, head.headers['content-type'], head.headers.etag, head.text];
    same(seen, [get.status, get.headers['content-type'], get.headers.etag, ''], `HEAD of ${path}`);
  }
});

check('3.1', 'malformed JSON is 400', async (server) => {
  for (const body of MALFORMED) {
    refused(await server.send('PUT', pathOf('a'), { headers: JSON_TYPE, body }), 400);
    refused(await server.importObject(body), 400);
  }
  for (const bytes of ['\xff', '\xc3', '\xed\xa0\x80', '\xc0\x80', '\xf5\x80\x80\x80']) {
    const noUtf8 = Buffer.from(`{"value":"${bytes}"}`, 'latin1');
    refused(await server.send('PUT', pathOf('a'), { headers: JSON_TYPE, body: noUtf8 }), 400);
  }
  same(await server.keys(), [], 'the keys');
});

check('3.1', 'numbers that JSON does not have are 400', async (server) => {
  for (const number of NO_JSON_NUMBERS) {
    refused(await server.put('a', number), 400);
    refused(await server.importObject(`{"a":${number}}`), 400);
  }
  same(await server.keys(), [], 'the keys');
});

check('3.1', 'malformed percent-escapes are 400', async (server) => {
  for (const escaped of ['%', '%2', '%zz', 'a%', '%ff', '%c3', '%ed%a0%80', '%c0%80', '%f5%80%80%80'])
    for (const method of ['GET', 'PUT', 'POST', 'DELETE']) {
      const sent = method.startsWith('P') ? { headers: JSON_TYPE, body: '{"value":1}' } : {};
      refused(await server.send(method, `/api/storage/${escaped}`, sent), 400);
    }
  same(await server.keys(), [], 'the keys');
});

check('3.1', 'keys that are not portable are 400', async (server) => {
  for (const key of ['a\0b', 'k'.repeat(1025), `k${'🗝'.repeat(256)}`])
    refused(await server.put(key, '1'), 400);
  for (const key of ['', 'a\\u0000b', 'k'.repeat(1025), '\\ud800'])
    refused(await server.importObject(`{"good":1,"${key}":2}`), 400);
  same(await server.keys(), [], 'the keys');
});

check('3.1', 'values nest 200 levels; deeper is 400', async (server) => {
  status(await server.put('a', nested(200)), 200);
  for (const levels of [201, 100_000]) {
    refused(await server.put('b', nested(levels)), 400);
    refused(await server.importObject(`{"b":${nested(levels)}}`), 400);
  }
  refused(await server.put('b', '{"a":'.repeat(100_000)), 400);
  status(await server.put('strings', `"${'['.repeat(1000)}"`), 200);
  same(await server.keys(), ['a', 'strings'], 'the keys');
});

check('3.1', 'a body with a Content-Encoding is 415, and nothing of it is stored', async (server) => {
  const body = '{"value":1}';
  const packed = gzipSync(body);
  for (const [coding, sent] of [
    ['gzip', packed],
    ['gzip', body],
    ['br', body],
  ] as const) {
    const headers = { ...JSON_TYPE, 'content-encoding': coding };
    refused(await server.send('PUT', pathOf('a'), { headers, body: sent }), 415);
    refused(await server.send('POST', '/api/storage/import', { headers, body: sent }), 415);
  }
  same(await server.keys(), [], 'the keys');
  const headers = { ...JSON_TYPE, 'content-encoding': 'identity' };
  status(await server.send('PUT', pathOf('a'), { headers, body }), 200);
});

check('3.1', 'another content type is 415', async (server) => {
  for (const type of [
    'text/plain',
    'application/x-www-form-urlencoded',
    'application/jsonp',
    'json',
    undefined,
  ]) {
    const sent = { headers: type === undefined ? {} : { 'content-type': type }, body: '{"value":1}' };
    refused(await server.send('PUT', pathOf('a'), sent), 415);
    refused(await server.send('POST', '/api/storage/import', sent), 415);
  }
  const charset = { headers: { 'content-type': 'Application/JSON;charset=utf-8' }, body: '{"value":1}' };
  status(await server.send('PUT', pathOf('b'), charset), 200);
  same(await server.keys(), ['b'], 'the keys');
});

check(
  '3.1',
  'a body over the limit is 413, naming the limit, whether or not it says how long it is',
  async (server) => {
    const { bodyBytes } = server.limits;
    const body = (size: number) => `{"value":"${'x'.repeat(size - 12)}"}`;
    for (const chunked of [false, true]) {
      const sent = { headers: JSON_TYPE, chunked };
      status(await server.send('PUT', pathOf('a'), { ...sent, body: body(bodyBytes) }), 200);
      const answer = await server.send('PUT', pathOf('b'), { ...sent, body: body(bodyBytes + 1) });
      const { error } = refused(answer, 413);
      ensure(
        String(error).includes(`${bodyBytes}`),
        `413 must name the limit ${bodyBytes}, not say "${error}"`,
      );
    }
    same(await server.keys(), ['a'], 'the keys');
  },
);

check('3.1', 'unknown routes are 404 and unknown methods 405, with Allow', async (server) => {
  for (const path of [
    '/',
    '/api',
    '/api/',
    '/api/storages',
    '/health/',
    '/favicon.ico',
    '/api/storage',
    '/api/storage/',
  ])
    refused(await server.send('GET', path), 404);
  for (const [method, path] of [
    ['POST', '/health'],
    ['PATCH', pathOf('a')],
    ['PATCH', '/api/storage/clear'],
  ] as const) {
    const answer = await server.send(method, path, { headers: JSON_TYPE, body: '{}' });
    refused(answer, 405);
    ensure(
      /\bGET\b/.test(answer.headers.allow ?? ''),
      `405 must name GET in Allow, not ${answer.headers.allow}`,
    );
  }
});

check('3.2', 'everything after /api/storage/ is the key, unescaped once', async (server) => {
  const paths = {
    'a/b': 'a/b',
    'a%2Fb': 'a/b',
    'a//b/': 'a//b/',
    '/a': '/a',
    '..': '..',
    '../up': '../up',
    'a/%2E%2E/b': 'a/../b',
    '%252F': '%2F',
    '%61': 'a',
    'a+b': 'a+b',
    '%3F%23': '?#',
    'clear/x': 'clear/x',
  };
  for (const [path, key] of Object.entries(paths)) {
    const sent = { headers: JSON_TYPE, body: JSON.stringify({ value: key }) };
    status(await server.send('PUT', `/api/storage/${path}`, sent), 200);
    same(await server.keys(), [key], `the key of PUT /api/storage/${path}`);
    same(json(await server.send('GET', `/api/storage/${path}`), 200), { value: key }, `GET of ${path}`);
    status(await server.send('DELETE', `/api/storage/${path}`), 200);
  }
});

check('3.2', 'the names of routes are ordinary keys with the other methods', async (server) => {
  const names = ['clear', 'export', 'import', 'keys', 'stats'];
  for (const key of names) status(await server.put(key, `"${key}"`), 200);
  same(await server.keys(), names, 'the keys');
  for (const key of ['clear', 'import'])
    same(json(await server.get(key), 200), { value: key }, `GET of ${key}`);
  for (const key of names) status(await server.delete(key), 200);
  for (const key of ['keys', 'export', 'stats'])
    status(await server.send('POST', pathOf(key), { headers: JSON_TYPE, body: '{"value":1}' }), 200);
  same(await server.keys(), ['export', 'keys', 'stats'], 'the keys that were posted');
});

check('3.5', 'an export is one state of the data, however slowly it is read', async (server) => {
  const names = Array.from({ length: 24 }, (_, index) => `key-${index + 10}`);
  const value = (generation: number) => `"${String(generation).repeat(512 * 1024)}"`;
  await together(names.map((key) => server.put(key, value(0))));
  const { response } = await server.open('GET', '/api/storage/export', { timeout: 30_000 });
  await together(names.map((key) => server.put(key, value(1))));
  status(await server.delete('key-33'), 200);
  const exported = JSON.parse(await textOf(response)) as Record<string, string>;
  same(Object.keys(exported), names, 'the keys exported');
  same([...new Set(Object.values(exported).map((text) => text[0]))], ['0'], 'the generations exported');
});

check('3.6', 'database_path is a name without its folder', async (server) => {
  const stats = json<Record<string, unknown>>(await server.send('GET', '/api/storage/stats'), 200);
  ensure(
    !/[/\\]/.test(String(stats.database_path)),
    `\`database_path\` must be a name, not ${stats.database_path}`,
  );
});
