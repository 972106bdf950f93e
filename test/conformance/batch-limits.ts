/** Clauses 5.5 to 5.9: batches that are too much, too old or malformed. */
import { carriedOut, ensure, refused, same, urn } from './expectations.ts';
import { checksThatNeed } from './runner.ts';

const { check, checks } = checksThatNeed('contract', 'batch');

export { checks as batchLimitChecks };

const GOOD = '{"op":"put","key":"good","value":1}';

/** No batch, for the reason that stands before it. */
const NO_BATCHES: Readonly<Record<string, string>> = {
  'no JSON': `{"ops":[${GOOD}]`,
  'an array': `[${GOOD}]`,
  null: 'null',
  'no ops': '{}',
  'ops that are no array': `{"ops":${GOOD}}`,
  'an op that is no object': `{"ops":[${GOOD},null]}`,
  'an unknown op': `{"ops":[${GOOD},{"op":"patch","key":"a"}]}`,
  'an op in capitals': `{"ops":[${GOOD},{"op":"PUT","key":"a","value":1}]}`,
  'no op': `{"ops":[${GOOD},{"key":"a","value":1}]}`,
  'no key': `{"ops":[${GOOD},{"op":"get"}]}`,
  'a key that is a number': `{"ops":[${GOOD},{"op":"put","key":1,"value":1}]}`,
  'a key that is null': `{"ops":[${GOOD},{"op":"delete","key":null}]}`,
  'a put without value': `{"ops":[${GOOD},{"op":"put","key":"a"}]}`,
  'an ifRev that is a number': `{"ops":[${GOOD},{"op":"put","key":"a","value":1,"ifRev":1}]}`,
  'a check without ifRev': `{"ops":[${GOOD},{"op":"check","key":"a"}]}`,
  'a check with an ifRev that is a number': `{"ops":[${GOOD},{"op":"check","key":"a","ifRev":1}]}`,
  'a check without key': `{"ops":[${GOOD},{"op":"check","ifRev":null}]}`,
  'an epoch that is a number': `{"epoch":1,"ops":[${GOOD}]}`,
  'an account that is a number': `{"account":1,"ops":[${GOOD}]}`,
  'an ifSeq that is a number': `{"ops":[${GOOD},{"op":"clear","ifSeq":1}]}`,
  'an atomic that is text': `{"atomic":"yes","ops":[${GOOD}]}`,
  'a number that JSON does not have': `{"ops":[${GOOD},{"op":"put","key":"a","value":NaN}]}`,
};

const nested = (levels: number): string => `${'[{"a":'.repeat(levels / 2)}1${'}]'.repeat(levels / 2)}`;

check('5.5', 'a key that is not portable fails its put alone with 400', async (server) => {
  const keys = ['', 'a\0b', 'k'.repeat(1025), '🗝'.repeat(257), '\ud800', 'a\udc00b'];
  const bad = keys.map((key) => `{"op":"put","key":${JSON.stringify(key)},"value":1}`);
  const answer = await server.postBatch(`{"ops":[${[...bad, GOOD].join()}]}`);
  const { results } = carriedOut(answer);
  const seen = results.map(({ status, type }) => [status, type ?? 'none']);
  same(
    seen.slice(0, -1),
    keys.map(() => [400, urn('invalid-key')]),
    'the results of keys that are not portable',
  );
  same(results.at(-1)?.status, 200, 'the put beside them');
  same(await server.keys(), ['good'], 'the keys');
});

check('5.5', 'a value over limits.valueBytes fails its put alone with 413', async (server) => {
  const { valueBytes, bodyBytes } = server.limits;
  ensure(
    valueBytes + 128 < bodyBytes,
    'limits.valueBytes must leave room in limits.bodyBytes for the batch around it',
  );
  const put = (key: string, size: number) => `{"op":"put","key":"${key}","value":"${'x'.repeat(size - 2)}"}`;
  const over = carriedOut(await server.postBatch(`{"ops":[${put('a', valueBytes + 1)},${GOOD}]}`));
  same(
    over.results.map(({ status }) => status),
    [413, 200],
    'the statuses with a value over the limit',
  );
  same(over.results[0]?.type, urn('value-too-large'), '`type` of 413');
  const most = carriedOut(await server.postBatch(`{"ops":[${put('b', valueBytes)}]}`));
  same(
    most.results.map(({ status }) => status),
    [200],
    'the status of a value at the limit',
  );
  same(await server.keys(), ['b', 'good'], 'the keys');
});

check(
  '5.6',
  'the values in an answer are limits.answerBytes together at most; what is left out is 413',
  async (server) => {
    const { answerBytes, valueBytes } = server.limits;
    const size = Math.min(Math.floor(answerBytes * 0.4), valueBytes);
    const count = Math.floor(answerBytes / size) + 2;
    const keys = Array.from({ length: count }, (_, index) => `k${index + 10}`);
    for (const key of keys) await server.put(key, `"${'x'.repeat(size - 2)}"`);
    const { results } = await server.batch([
      { op: 'get', key: 'missing' },
      ...keys.map((key) => ({ op: 'get', key })),
    ]);
    const [missing, first, ...others] = results;
    same([missing?.status, first?.status], [404, 200], 'the statuses of a missing key and the first value');
    const bytes = results.reduce((sum, { value }) => sum + (value === undefined ? 0 : size), 0);
    ensure(
      bytes <= answerBytes,
      `an answer held ${bytes} bytes of values, over limits.answerBytes ${answerBytes}`,
    );
    const left = others.filter(({ status }) => status !== 200);
    ensure(left.length > 0, 'values over limits.answerBytes must be left out');
    for (const result of left)
      same(
        [result.status, result.type, 'value' in result],
        [413, urn('answer-too-large'), false],
        'a get left out',
      );
    const alone = await server.run({ op: 'get', key: keys.at(-1) });
    same([alone.status, String(alone.value).length], [200, size - 2], 'the same get alone');
  },
);

check('5.6', 'the first value of an answer is there though it is the largest', async (server) => {
  const { valueBytes } = server.limits;
  await server.put('largest', `"${'x'.repeat(valueBytes - 2)}"`);
  const { status, value } = await server.run({ op: 'get', key: 'largest' });
  same([status, String(value).length], [200, valueBytes - 2], 'the result');
});

check('5.7', 'a batch with another epoch is 409 epoch-changed, and nothing applies', async (server) => {
  const { epoch } = await server.position();
  for (const other of [`${epoch}x`, '', 'other'])
    refused(await server.postBatch(`{"epoch":"${other}","ops":[${GOOD}]}`), 409, 'epoch-changed');
  same(await server.keys(), [], 'the keys');
  await server.batch([{ op: 'put', key: 'a', value: 1 }], { epoch });
  same(await server.keys(), ['a'], 'the keys after a batch with the epoch of now');
});

check('5.8', 'a body that is no batch is 400, and nothing applies', async (server) => {
  for (const [what, body] of Object.entries(NO_BATCHES)) {
    const answer = await server.postBatch(body);
    if (answer.status !== 400)
      throw new Error(`a batch with ${what} must be 400, not ${answer.status} ${answer.text}`);
    refused(answer, 400);
    same(await server.keys(), [], `the keys after a batch with ${what}`);
  }
});

check('5.8', 'a batch over limits.batchOps operations is 400, one of as many is not', async (server) => {
  const { batchOps } = server.limits;
  const ops = (count: number) =>
    Array.from({ length: count }, (_, index) => ({ op: 'put', key: `${index}`, value: 1 }));
  refused(await server.postBatch(JSON.stringify({ ops: ops(batchOps + 1) })), 400);
  same(await server.keys(), [], 'the keys');
  const { results } = await server.batch(ops(batchOps));
  same(new Set(results.map(({ status }) => status)), new Set([200]), 'the statuses of a whole batch');
});

check('5.8', 'no operations at all are a batch too', async (server) => {
  const { epoch, seq } = await server.position();
  const answer = await server.batch([]);
  same([answer.epoch, answer.seq, answer.results], [epoch, seq, []], 'the answer');
});

check('5.8', 'a value nests 200 levels; deeper is 400, and nothing applies', async (server) => {
  const put = (value: string) =>
    server.postBatch(`{"ops":[${GOOD},{"op":"put","key":"a","value":${value}}]}`);
  for (const value of [`[${nested(200)}]`, nested(200_000), '['.repeat(200_000)])
    refused(await put(value), 400);
  same(await server.keys(), [], 'the keys');
  const { results } = carriedOut(await put(nested(200)));
  same(
    results.map(({ status }) => status),
    [200, 200],
    'the statuses of a value of 200 levels',
  );
});

check('5.8', 'a batch of another content type is 415, one over limits.bodyBytes is 413', async (server) => {
  const body = `{"ops":[${GOOD}]}`;
  for (const type of ['text/plain', 'application/x-ndjson'])
    refused(await server.send('POST', '/api/v1/batch', { headers: { 'content-type': type }, body }), 415);
  const { bodyBytes } = server.limits;
  const { error } = refused(await server.postBatch(body.padEnd(bodyBytes + 1)), 413);
  ensure(String(error).includes(`${bodyBytes}`), `413 must name the limit ${bodyBytes}, not say "${error}"`);
  same(await server.keys(), [], 'the keys');
});

check('5.9', 'of equal member names the last one counts, however it is written', async (server) => {
  const bodies = {
    first: '{"ops":[],"ops":[{"op":"put","key":"first","value":1}]}',
    second: '{"ops":[{"op":"get","op":"put","key":"x","key":"second","value":0,"value":1}]}',
    third: '{"\\u006fps":[{"op":"get","\\u006fp":"put","k\\u0065y":"third","v\\u0061lue":1}]}',
    fourth: '{"ops":[{"op":"put","key":"fourth","value":1,"ifRev":"0","ifRev":null}]}',
  };
  for (const [key, body] of Object.entries(bodies)) {
    const answer = await server.postBatch(body);
    same(
      carriedOut(answer).results.map(({ status }) => status),
      [200],
      `the statuses of ${body}`,
    );
    same((await server.get(key)).text, '{"value":1}', `the value of ${key}`);
  }
  const last = '{"ops":[{"op":"put","key":"fifth","value":1,"ifRev":null,"ifRev":"0"}]}';
  const { results } = carriedOut(await server.postBatch(last));
  same(
    results.map(({ status }) => status),
    [412],
    `the statuses of ${last}`,
  );
});

check('5.9', 'names such as __proto__ are names like all others', async (server) => {
  const body =
    '{"__proto__":{"atomic":true},"ops":[{"op":"put","key":"__proto__","value":{"__proto__":{"x":1}},' +
    '"__proto__":{"ifRev":"0"}},{"op":"put","key":"constructor","value":1},{"op":"get","key":"toString"}]}';
  const { results } = carriedOut(await server.postBatch(body));
  same(
    results.map(({ status }) => status),
    [200, 200, 404],
    'the statuses',
  );
  same(await server.keys(), ['__proto__', 'constructor'], 'the keys');
  same((await server.get('__proto__')).text, '{"value":{"__proto__":{"x":1}}}', 'the value');
  const inherited = '{"ops":[{"__proto__":{"op":"put","key":"a","value":1}}]}';
  refused(await server.postBatch(inherited), 400);
});
