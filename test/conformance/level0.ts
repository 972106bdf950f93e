/** Sections 1 and 2: what every server speaks, the oldest too, which sort members and answer any failure with 500. */
import { ensure, json, refused, same, status } from './expectations.ts';
import { checksThatNeed } from './runner.ts';
import { JSON_TYPE, pathOf } from './subject.ts';

const { check, checks } = checksThatNeed();

export { checks as level0Checks };

const SUCCESS = { success: true };

/** In byte order. A sort by UTF-16 code units would put the last two the other way round. */
const SORTED = ['A', 'Z', 'a', 'b', '~', 'é', 'ж', '\uff5e', '🗝'];

check('1.1', 'answers are JSON and say so', async (server) => {
  await server.put('a', '1');
  for (const path of [
    '/health',
    '/api/storage/keys',
    '/api/storage/export',
    '/api/storage/stats',
    pathOf('a'),
  ]) {
    const answer = await server.send('GET', path);
    json(answer, 200);
    ensure(
      /^application\/json\b/.test(answer.headers['content-type'] ?? ''),
      `${answer.asked} must be application/json, not ${answer.headers['content-type']}`,
    );
  }
});

check('1.1', 'bodies are UTF-8, and escapes in them mean what they escape', async (server) => {
  await server.put('a', '"é 🗝 \\u00e9 \\ud83d\\udddd \\u0001"');
  const answer = await server.get('a');
  same(json(answer, 200), { value: 'é 🗝 é 🗝 \u0001' }, 'the value that was put');
});

check('1.2', 'members that the server does not know are ignored', async (server) => {
  const body = '{"unknown":{"value":0},"value":1,"another":[]}';
  status(await server.send('PUT', pathOf('a'), { headers: JSON_TYPE, body }), 200);
  same(json(await server.get('a'), 200), { value: 1 }, 'the value that was put');
});

check('2.1', 'GET /health says that all is well, and what time it is', async (server) => {
  const body = json<{ status?: unknown; timestamp?: unknown }>(await server.send('GET', '/health'), 200);
  same(body.status, 'ok', '`status`');
  ensure(
    typeof body.timestamp === 'string' &&
      /^\d{4}-\d\d-\d\dT\d\d:\d\d/.test(body.timestamp) &&
      !Number.isNaN(Date.parse(body.timestamp)),
    `\`timestamp\` must be ISO 8601, not ${body.timestamp}`,
  );
});

check('2.2', 'GET /api/storage/keys lists the keys in byte order', async (server) => {
  same(json(await server.send('GET', '/api/storage/keys'), 200), { keys: [] }, 'no keys');
  for (const key of SORTED.toReversed()) status(await server.put(key, '1'), 200);
  same(json(await server.send('GET', '/api/storage/keys'), 200), { keys: SORTED }, 'all keys');
});

check('2.3', 'GET of a key answers its value, whatever JSON it is', async (server) => {
  const values = [
    null,
    true,
    false,
    0,
    -1.5,
    1e300,
    '',
    'text',
    [],
    {},
    [1, [2, { a: [null] }]],
    { a: { b: 'c' } },
  ];
  for (const value of values) {
    status(await server.put('a', JSON.stringify(value)), 200);
    same(json(await server.get('a'), 200), { value }, `what was put as ${JSON.stringify(value)}`);
  }
});

check('2.3', 'GET of a missing key is 404 "Key not found", in exactly these words', async (server) => {
  same(refused(await server.get('missing'), 404).error, 'Key not found', '`error`');
});

check('2.4', 'PUT and POST store and replace', async (server) => {
  for (const [index, method] of ['PUT', 'PUT', 'POST', 'POST', 'PUT'].entries()) {
    const body = JSON.stringify({ value: index });
    const answer = await server.send(method, pathOf('a'), { headers: JSON_TYPE, body });
    same(json(answer, 200), SUCCESS, `the answer to ${method}`);
    same(json(await server.get('a'), 200), { value: index }, `the value after ${method}`);
  }
});

check('2.4', 'a body without value is 400 "Missing value field" and stores nothing', async (server) => {
  for (const method of ['PUT', 'POST'])
    for (const body of ['{}', '{"Value":1}', '{"a":{"value":1}}']) {
      const answer = await server.send(method, pathOf('a'), { headers: JSON_TYPE, body });
      same(refused(answer, 400).error, 'Missing value field', `\`error\` to ${method} ${body}`);
    }
  status(await server.get('a'), 404);
});

check('2.5', 'DELETE of a key deletes it and no other', async (server) => {
  await server.put('a', '1');
  await server.put('b', '2');
  same(json(await server.delete('a'), 200), SUCCESS, 'the answer to DELETE');
  status(await server.get('a'), 404);
  same(await server.keys(), ['b'], 'the keys left');
});

check('2.5', 'DELETE of a missing key is 404 "Key not found"', async (server) => {
  same(refused(await server.delete('missing'), 404).error, 'Key not found', '`error`');
});

check('2.6', 'POST /api/storage/clear deletes everything', async (server) => {
  await server.put('a', '1');
  await server.put('b', '1');
  same(json(await server.send('POST', '/api/storage/clear'), 200), SUCCESS, 'the answer');
  same(await server.keys(), [], 'the keys left');
});

check('2.7', 'GET /api/storage/export is the bare object of all keys and values', async (server) => {
  const empty = await server.send('GET', '/api/storage/export');
  same(json(empty, 200), {}, 'the export of nothing');
  await server.put('a', '{"value":1}');
  await server.put('ключ 🗝', '[null,"é"]');
  const answer = await server.send('GET', '/api/storage/export');
  same(json(answer, 200), { a: { value: 1 }, 'ключ 🗝': [null, 'é'] }, 'the export');
});

check(
  '2.8',
  'POST /api/storage/import stores the members of an object over what is there',
  async (server) => {
    await server.put('a', '0');
    await server.put('kept', '0');
    const answer = await server.importObject('{"a":1,"value":{"x":[]},"é":null}');
    same(json(answer, 200), { success: true, imported: 3 }, 'the answer');
    const exported = json(await server.send('GET', '/api/storage/export'), 200);
    same(exported, { a: 1, kept: 0, value: { x: [] }, é: null }, 'what is stored');
  },
);

check('2.8', 'an export is imported as it is', async (server) => {
  const data = { a: 1, 'ключ 🗝': { b: [1, 'é', null] }, ' ': false };
  status(await server.importObject(JSON.stringify(data)), 200);
  const exported = await server.send('GET', '/api/storage/export');
  await server.wipe();
  same(json(await server.importObject(exported.text), 200), { success: true, imported: 3 }, 'the answer');
  same(json(await server.send('GET', '/api/storage/export'), 200), data, 'what is stored');
});

check(
  '2.8',
  'a body that is no object is 400 "Data must be an object" and stores nothing',
  async (server) => {
    for (const body of ['[]', 'null', '1', '"a"', '[{"a":1}]'])
      same(
        refused(await server.importObject(body), 400).error,
        'Data must be an object',
        `\`error\` to ${body}`,
      );
    same(await server.keys(), [], 'the keys');
  },
);

check('2.9', 'GET /api/storage/stats counts keys and bytes', async (server) => {
  const stats = async () =>
    json<Record<string, unknown>>(await server.send('GET', '/api/storage/stats'), 200);
  same((await stats()).total_keys, 0, '`total_keys` of nothing');
  await server.put('a', '"12345678"');
  const one = await stats();
  await server.put('b', '"12345678"');
  const two = await stats();
  same([one.total_keys, two.total_keys], [1, 2], '`total_keys`');
  const [first, second] = [Number(one.total_size_bytes), Number(two.total_size_bytes)];
  ensure(
    first >= 10 && second >= 20 && second > first,
    `\`total_size_bytes\`: ${first} of one, ${second} of two`,
  );
  ensure(typeof two.database_path === 'string', `\`database_path\` must be text, not ${two.database_path}`);
});

check('2.10', 'DELETE /api/storage is 404 and wipes nothing', async (server) => {
  await server.put('a', '1');
  for (const path of ['/api/storage', '/api/storage/']) status(await server.send('DELETE', path), 404, 405);
  same(await server.keys(), ['a'], 'the keys');
  status(await server.send('DELETE', '/api/storage'), 404);
});
