/** Sections 10 and 11, as far as a server has to do with them: keys compared by their bytes, values not looked into. */
import { carriedOut, ensure, json, refused, same, status } from './expectations.ts';
import { EXACT_TEXTS } from './modern-level0.ts';
import { checksThatNeed } from './runner.ts';
import { pathOf } from './subject.ts';

const { check, checks } = checksThatNeed('contract', 'batch');

export { checks as valueChecks };

/** What a route, a URL parser, a pattern or an object could trip over. */
const ORDINARY_KEYS = [
  ...[
    'keys',
    'clear',
    'export',
    'import',
    'stats',
    'batch',
    'health',
    'a/b',
    '//',
    '/a',
    'a/',
    '.',
    '..',
    'a/../b',
  ],
  ...['%', '%2F', '%00', '_', ' ', ' a ', '+', '?', '#', '&', ';', '\\', '"', "'", '*', '\n', '\x01', '\x7f'],
  ...[
    'ключ',
    'é',
    'e\u0301',
    '🗝',
    '\uffff',
    '\ufeff',
    '__proto__',
    'constructor',
    'toString',
    'null',
    '0',
    '-1',
  ],
  ...['k'.repeat(1024), '🗝'.repeat(256)],
];

const ENVELOPES = [
  ...[
    '{"$cf":[["Date","2026-01-01T00:00:00.000Z"]]}',
    '{"$cf":-1}',
    '{"$cf":"no devalue"}',
    '{"$cf$":1}',
    '{"$cf$$":{"$cf":1}}',
  ],
  ...['{"$cf":1,"$cf":2}', '[{"$cf":[]}]', '{"a":{"$cf":[]}}'],
];

const inBytes = (one: string, other: string): number => Buffer.compare(Buffer.from(one), Buffer.from(other));

check('1.4', 'the text of a value is stored and spliced back as it is, on level 1', async (server) => {
  for (const text of EXACT_TEXTS) {
    const since = await server.cursor();
    const body = `{"ops":[{"op":"put","key":"a","value": ${text} },{"op":"get","key":"a"},{"op":"head","key":"a"}]}`;
    const answer = status(await server.postBatch(body), 200);
    ensure(answer.text.includes(`"value":${text}`), `get must answer ${text}, not ${answer.text}`);
    same(carriedOut(answer).results[2]?.size, Buffer.byteLength(text), `the size of ${text}`);
    same((await server.get('a')).text, `{"value":${text}}`, 'the answer to GET');
    if (!server.capabilities.includes('changes')) continue;
    const changes = await server.send('GET', `/api/v1/changes?since=${since}`);
    ensure(changes.text.includes(`"value":${text}`), `changes must tell ${text}, not ${changes.text}`);
  }
});

check('10.1', 'every portable key is an ordinary key', async (server) => {
  for (const key of ORDINARY_KEYS) {
    const put = await server.run({ op: 'put', key, value: key });
    same(put.status, 200, `the status of a put of ${JSON.stringify(key.slice(0, 20))}`);
    same(
      (await server.run({ op: 'get', key })).value,
      key,
      `the value of ${JSON.stringify(key.slice(0, 20))}`,
    );
  }
  same(await server.keys(), ORDINARY_KEYS.toSorted(inBytes), 'the keys');
  const values = json<Record<string, unknown>>(await server.send('GET', '/api/storage/export'), 200);
  same(
    Object.entries(values).filter(([key, value]) => key !== value),
    [],
    'entries of the export under another key',
  );
  for (const key of ORDINARY_KEYS)
    same((await server.run({ op: 'delete', key })).status, 200, 'the status of a delete');
  same(await server.keys(), [], 'the keys left');
});

check('10.1', 'a key that is not portable is not stored', async (server) => {
  for (const key of [
    '',
    '\0',
    'a\0b',
    'k'.repeat(1025),
    `k${'🗝'.repeat(256)}`,
    '\ud800',
    '\udc00',
    'a\ud83d',
  ])
    same(
      (await server.run({ op: 'put', key, value: 1 })).status,
      400,
      `the status of a put of ${JSON.stringify(key.slice(0, 20))}`,
    );
  same(await server.keys(), [], 'the keys');
});

check('10.2', 'keys are compared exactly, never normalised', async (server) => {
  const keys = ['é', 'e\u0301', 'a', 'A', 'a ', ' a', 'ß', 'ss', 'İ', 'i'];
  const { results } = await server.batch(keys.map((key) => ({ op: 'put', key, value: key, ifRev: null })));
  same(new Set(results.map(({ status: got }) => got)), new Set([200]), 'the statuses of puts of new keys');
  for (const key of keys)
    same(json(await server.get(key), 200), { value: key }, `GET of ${JSON.stringify(key)}`);
});

check('10.2', 'the order of keys is byte order, at both levels', async (server) => {
  const sorted = [
    '\x01',
    ' ',
    '0',
    'A',
    'a',
    'aa',
    'a\uffff',
    'a🗝',
    '\x7f',
    'é',
    '\ud7ff',
    '\ue000',
    '\uffff',
    '🗝',
    '\u{10ffff}',
  ];
  same(sorted.toSorted(inBytes), sorted, 'the keys of this check in byte order');
  await server.putAll(Object.fromEntries(sorted.toReversed().map((key) => [key, 1])));
  same(await server.keys(), sorted, 'GET /api/storage/keys');
  if (!server.capabilities.includes('keys')) return;
  const page = json<{ keys: Array<{ key: string }> }>(await server.send('GET', '/api/v1/keys'), 200);
  same(
    page.keys.map(({ key }) => key),
    sorted,
    'GET /api/v1/keys',
  );
});

check(
  '10.3',
  'longer keys, which an older database may hold, are looked for and not refused',
  async (server) => {
    const key = 'k'.repeat(2_000);
    for (const op of ['get', 'head', 'delete'])
      same((await server.run({ op, key })).status, 404, `the status of ${op} of a long key`);
    for (const method of ['GET', 'DELETE'])
      same(
        refused(await server.send(method, pathOf(key)), 404).error,
        'Key not found',
        `\`error\` of ${method}`,
      );
  },
);

check('11.3', 'the server never looks into an envelope', async (server) => {
  for (const text of ENVELOPES) {
    status(await server.put('a', text), 200);
    same((await server.get('a')).text, `{"value":${text}}`, 'the answer to GET');
    const answer = await server.postBatch('{"ops":[{"op":"get","key":"a"}]}');
    ensure(answer.text.includes(`"value":${text}`), `get must answer ${text}, not ${answer.text}`);
  }
});

check('11.6', 'the order of the members of an object is kept', async (server) => {
  const text = '{"z":1,"10":2,"a":{"y":1,"x":2},"9":3}';
  await server.put('a', text);
  same((await server.get('a')).text, `{"value":${text}}`, 'the answer to GET');
});
