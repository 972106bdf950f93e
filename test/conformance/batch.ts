/** Clauses 5.1 to 5.4: what the operations of a batch do, and when they do not. */
import { type BatchAnswer, ensure, type Result, same } from './expectations.ts';
import { checksThatNeed } from './runner.ts';
import type { Operation, Subject } from './subject.ts';
import { together } from './together.ts';

const { check, checks } = checksThatNeed('contract', 'batch');

export { checks as batchChecks };

const CONTENDERS = 8;
const ROUNDS = 6;

/** Tries that a contender may need; each failure is another's success. */
const MOST_TRIES = CONTENDERS * ROUNDS + 1;

const statuses = ({ results }: BatchAnswer): number[] => results.map(({ status }) => status);

/** What is stored, by key. */
async function stored(server: Subject, ...keys: string[]): Promise<unknown[]> {
  const { results } = await server.batch(keys.map((key) => ({ op: 'get', key })));
  return results.map(({ value }) => value);
}

check('5.1', 'operations apply in their order, and each sees those before it', async (server) => {
  for (const atomic of [false, true]) {
    await server.wipe();
    const answer = await server.batch(
      [
        { op: 'get', key: 'a' },
        { op: 'put', key: 'a', value: [1] },
        { op: 'get', key: 'a' },
        { op: 'put', key: 'a', value: { é: null } },
        { op: 'head', key: 'a' },
        { op: 'delete', key: 'a' },
        { op: 'head', key: 'a' },
        { op: 'put', key: 'b', value: 1 },
        { op: 'clear' },
        { op: 'get', key: 'b' },
        { op: 'put', key: 'c', value: 1 },
      ],
      { atomic },
    );
    same(statuses(answer), [404, 200, 200, 200, 200, 200, 404, 200, 200, 404, 200], 'the statuses');
    same(answer.results[2]?.value, [1], 'the value after the first put');
    same(answer.results[4]?.size, 11, 'the size after the second put');
    same(await server.keys(), ['c'], 'the keys');
  }
});

check(
  '5.1',
  'get answers rev and value, head rev and size in bytes; both 404 for a missing key',
  async (server) => {
    const [rev] = await server.putAll({ a: 'é🗝' });
    const { results } = await server.batch([
      { op: 'get', key: 'a' },
      { op: 'head', key: 'a' },
      { op: 'get', key: 'missing' },
      { op: 'head', key: 'missing' },
    ]);
    const [got, head, ...missing] = results;
    same([got?.status, got?.rev, got?.value], [200, rev, 'é🗝'], 'the result of get');
    same([head?.status, head?.rev, head?.size], [200, rev, 8], 'the result of head');
    ensure(!('value' in (head ?? {})), 'head must not answer the value');
    for (const result of missing)
      same([result.status, result.error], [404, 'Key not found'], 'a missing key');
  },
);

check('5.1', 'delete of a missing key is 404, whatever its ifRev, and changes nothing', async (server) => {
  const before = await server.position();
  const ops = [undefined, null, '1', '0'].map((ifRev) => ({ op: 'delete', key: 'missing', ifRev }));
  const answer = await server.batch(ops);
  for (const result of answer.results)
    same([result.status, result.error], [404, 'Key not found'], 'delete of a missing key');
  same(answer.seq, before.seq, '`seq`');
});

check('5.1', 'check answers the current rev, none for a missing key, and changes nothing', async (server) => {
  const [rev] = await server.putAll({ a: 1 });
  const before = await server.position();
  const answer = await server.batch([
    { op: 'check', key: 'a', ifRev: rev },
    { op: 'check', key: 'missing', ifRev: null },
    { op: 'check', key: '', ifRev: null },
    { op: 'check', key: '\ud800', ifRev: null },
  ]);
  same(
    answer.results,
    [{ status: 200, rev }, { status: 200 }, { status: 200 }, { status: 200 }],
    'the results',
  );
  same(answer.seq, before.seq, '`seq`');
  same(await server.keys(), ['a'], 'the keys');
});

check(
  '5.2',
  'each put, delete and clear that applies counts seq up by one, and answers it as rev',
  async (server) => {
    const { epoch, seq } = await server.position();
    const answer = await server.batch([
      { op: 'put', key: 'a', value: 1 },
      { op: 'put', key: 'a', value: 1 },
      { op: 'delete', key: 'missing' },
      { op: 'put', key: 'a', value: 2, ifRev: null },
      { op: 'get', key: 'a' },
      { op: 'delete', key: 'a' },
      { op: 'clear' },
      { op: 'clear' },
      { op: 'put', key: 'b', value: 1 },
    ]);
    const revs = answer.results.map(({ rev }) => (rev === undefined ? undefined : Number(rev) - seq));
    same(revs, [1, 2, undefined, 2, 2, 3, 4, 5, 6], 'the revisions, counted from before');
    for (const { rev } of answer.results)
      ensure(
        rev === undefined || /^\d+$/.test(rev),
        `\`rev\` must be a decimal string, not ${JSON.stringify(rev)}`,
      );
    same([answer.epoch, answer.seq], [epoch, seq + 6], 'epoch and seq of the answer');
    same(await server.position().then((now) => now.seq), seq + 6, '`seq` of /health');
  },
);

check('5.3', 'ifRev null applies only where the key does not exist', async (server) => {
  const created = await server.run({ op: 'put', key: 'a', value: 1, ifRev: null });
  same(created.status, 200, 'the first put');
  for (const op of ['put', 'delete']) {
    const { status, rev, value, error } = await server.run({ op, key: 'a', value: 2, ifRev: null });
    same([status, rev, value], [412, created.rev, 1], `${op} of a key that exists`);
    ensure(error, '412 must say what it is');
  }
  same(await stored(server, 'a'), [1], 'what is stored');
});

check('5.3', 'a string ifRev applies only while it is the revision of the key', async (server) => {
  const [first = ''] = await server.putAll({ a: 1 });
  const second = await server.run({ op: 'put', key: 'a', value: 2, ifRev: first });
  same(second.status, 200, 'a put with the revision of now');
  for (const [op, ifRev] of [
    ['put', first],
    ['delete', first],
    ['put', `${Number(second.rev) + 1}`],
    ['put', `0${second.rev}`],
    ['put', '0'],
    ['put', 'x'],
  ]) {
    const { status, rev, value } = await server.run({ op, key: 'a', value: 3, ifRev });
    same([status, rev, value], [412, second.rev, 2], `${op} with ifRev ${ifRev}`);
  }
  same(
    (await server.run({ op: 'delete', key: 'a', ifRev: second.rev })).status,
    200,
    'delete with the revision of now',
  );
  for (const ifRev of [second.rev, 'undefined', 'null', 'None', '']) {
    const { status, ...gone } = await server.run({ op: 'put', key: 'a', value: 4, ifRev });
    const found = [status, 'rev' in gone, 'value' in gone];
    same(found, [412, false, false], `ifRev ${JSON.stringify(ifRev)} of a key that does not exist`);
  }
});

check('5.3', 'a check fails unless the key has the revision of ifRev', async (server) => {
  const [first] = await server.putAll({ a: 1 });
  const [rev] = await server.putAll({ a: 2 });
  for (const ifRev of [null, first, '0', `${Number(rev) + 1}`, 'x']) {
    const result = await server.run({ op: 'check', key: 'a', ifRev });
    same([result.status, result.rev, result.value], [412, rev, 2], `check with ifRev ${ifRev}`);
  }
  for (const key of ['missing', '\ud800']) {
    const { status, ...gone } = await server.run({ op: 'check', key, ifRev: rev });
    same([status, 'rev' in gone, 'value' in gone], [412, false, false], 'check of a key that does not exist');
  }
});

check('5.3', 'ifSeq of a clear applies only if nothing has changed since', async (server) => {
  const { seq } = await server.position();
  await server.putAll({ a: 1 });
  const refused = await server.run({ op: 'clear', ifSeq: `${seq}` });
  same([refused.status, refused.rev], [412, `${seq + 1}`], 'a clear with an old ifSeq');
  same(await server.keys(), ['a'], 'the keys');
  const applied = await server.run({ op: 'clear', ifSeq: `${seq + 1}` });
  same([applied.status, applied.rev], [200, `${seq + 2}`], 'a clear with the seq of now');
  same(await server.keys(), [], 'the keys');
});

check('5.3', 'of many connections that write over one revision, exactly one wins', async (server) => {
  await server.putAll({ n: 0 });
  const wins: string[] = [];
  const increment = async (): Promise<void> => {
    for (let tries = 0; tries < MOST_TRIES; tries += 1) {
      const { rev, value } = await server.run({ op: 'get', key: 'n' });
      const { status } = await server.run({ op: 'put', key: 'n', value: Number(value) + 1, ifRev: rev });
      ensure(status === 200 || status === 412, `a put with ifRev must answer 200 or 412, not ${status}`);
      if (status === 200) {
        wins.push(rev ?? '');
        return;
      }
    }
    throw new Error(`A contender got 412 ${MOST_TRIES} times, more often than the others wrote`);
  };
  const contenders = Array.from({ length: CONTENDERS }, async () => {
    for (let round = 0; round < ROUNDS; round += 1) await increment();
  });
  await together(contenders);
  same(new Set(wins).size, CONTENDERS * ROUNDS, 'revisions that had a winner');
  same(await stored(server, 'n'), [CONTENDERS * ROUNDS], 'the counter');
});

check('5.4', 'a failing operation does not touch the others', async (server) => {
  await server.putAll({ a: 0 });
  const answer = await server.batch([
    { op: 'put', key: 'b', value: 1 },
    { op: 'put', key: 'a', value: 1, ifRev: null },
    { op: 'put', key: '', value: 1 },
    { op: 'delete', key: 'missing' },
    { op: 'put', key: 'c', value: 1 },
  ]);
  same(statuses(answer), [200, 412, 400, 404, 200], 'the statuses');
  for (const { status, type } of answer.results)
    ensure(status === 400 || type === undefined, `a result of ${status} must have no \`type\`, not ${type}`);
  same(await stored(server, 'a', 'b', 'c'), [0, 1, 1], 'what is stored');
});

check(
  '5.4',
  'an atomic batch applies as a whole or not at all; what did not fail by itself is 424',
  async (server) => {
    await server.putAll({ a: 0, d: 0 });
    const before = await server.position();
    const failing: ReadonlyArray<readonly [Operation, number]> = [
      [{ op: 'put', key: 'a', value: 1, ifRev: null }, 412],
      [{ op: 'delete', key: 'a', ifRev: '0' }, 412],
      [{ op: 'clear', ifSeq: '0' }, 412],
      [{ op: 'put', key: '', value: 1 }, 400],
      [{ op: 'check', key: 'a', ifRev: null }, 412],
      [{ op: 'check', key: 'a', ifRev: '0' }, 412],
      [{ op: 'check', key: 'b', ifRev: null }, 412],
      [{ op: 'check', key: 'elsewhere', ifRev: '1' }, 412],
    ];
    for (const [op, status] of failing) {
      const answer = await server.batch(
        [
          { op: 'put', key: 'b', value: 1 },
          { op: 'delete', key: 'd' },
          op,
          { op: 'put', key: 'c', value: 1 },
          { op: 'get', key: 'a' },
        ],
        { atomic: true },
      );
      same(
        statuses(answer),
        [424, 424, status, 424, 424],
        `the statuses of an atomic batch with ${JSON.stringify(op)}`,
      );
      for (const result of answer.results) expectNothingMade(result);
      same(answer.seq, before.seq, '`seq`');
      same(await stored(server, 'a', 'b', 'c', 'd'), [0, undefined, undefined, 0], 'what is stored');
    }
  },
);

check(
  '5.4',
  'an atomic batch applies if its checks succeed, of its own keys and of others',
  async (server) => {
    const [rev] = await server.putAll({ guard: 0 });
    const ops = [
      { op: 'check', key: 'guard', ifRev: rev },
      { op: 'check', key: 'a', ifRev: null },
      { op: 'put', key: 'a', value: 1 },
    ];
    same(statuses(await server.batch(ops, { atomic: true })), [200, 200, 200], 'the statuses');
    same(await stored(server, 'guard', 'a'), [0, 1], 'what is stored');
    const again = await server.batch(ops, { atomic: true });
    same(statuses(again), [424, 412, 424], 'the statuses of the same batch');
    await server.batch([{ op: 'delete', key: 'a' }]);
    await server.putAll({ guard: 0 });
    same(
      statuses(await server.batch(ops, { atomic: true })),
      [412, 424, 424],
      'the statuses after a change of guard',
    );
    same(await server.keys(), ['guard'], 'the keys');
  },
);

check('5.4', 'of atomic batches that check one key and change it at once, one applies', async (server) => {
  const [rev] = await server.putAll({ guard: 0 });
  const answers = await together(
    Array.from({ length: CONTENDERS }, (_, i) =>
      server.batch(
        [
          { op: 'check', key: 'guard', ifRev: rev },
          { op: 'put', key: `key-${i}`, value: i },
          { op: 'put', key: 'guard', value: i },
        ],
        { atomic: true },
      ),
    ),
  );
  const applied = answers.filter((answer) => statuses(answer).join() === '200,200,200');
  same(applied.length, 1, 'the batches that applied');
  same(((await server.keys()) as string[]).length, 2, 'the number of keys');
});

check('5.4', 'a delete in an atomic batch holds only for what a check before it names', async (server) => {
  const [rev] = await server.putAll({ a: 0 });
  const ops = [
    { op: 'put', key: 'b', value: 1 },
    { op: 'check', key: 'a', ifRev: rev },
    { op: 'delete', key: 'a' },
  ];
  same(statuses(await server.batch(ops, { atomic: true })), [200, 200, 200], 'the statuses');
  await server.batch([{ op: 'delete', key: 'b' }]);
  const missing = await server.batch(ops, { atomic: true });
  same(statuses(missing), [424, 412, 424], 'the statuses where the key is missing');
  const absent = ops.map((op) => (op.op === 'check' ? { ...op, ifRev: null } : op));
  await server.putAll({ a: 1 });
  same(
    statuses(await server.batch(absent, { atomic: true })),
    [424, 412, 424],
    'the statuses where it exists and must not',
  );
  same(await stored(server, 'a', 'b'), [1, undefined], 'what is stored');
});

check('5.4', 'a 404 is no failure of an atomic batch', async (server) => {
  const answer = await server.batch(
    [
      { op: 'put', key: 'a', value: 1 },
      { op: 'get', key: 'missing' },
      { op: 'delete', key: 'missing' },
      { op: 'put', key: 'b', value: 1 },
    ],
    { atomic: true },
  );
  same(statuses(answer), [200, 404, 404, 200], 'the statuses');
  same(await server.keys(), ['a', 'b'], 'the keys');
});

check('5.4', 'nobody sees half of an atomic batch', async (server) => {
  const write = async (): Promise<void> => {
    for (let round = 1; round <= 30; round += 1)
      await server.batch(
        [1, 2, 3].map((key) => ({ op: 'put', key: `k${key}`, value: round })),
        { atomic: true },
      );
  };
  let writing = true;
  const read = async (): Promise<number> => {
    let reads = 0;
    for (; writing && reads < 2_000; reads += 1) {
      const values = await stored(server, 'k1', 'k2', 'k3');
      same(new Set(values).size, 1, `different values of one atomic batch (${values})`);
    }
    return reads;
  };
  const written = write().finally(() => {
    writing = false;
  });
  const [, ...reads] = await together<unknown>([written, read(), read()]);
  ensure(Math.min(...reads.map(Number)) > 0, 'reads beside the writes');
});

/** An operation that was not carried out has made no revision. */
function expectNothingMade({ status, rev, value, error }: Result): void {
  if (status === 424)
    same([rev, value, typeof error], [undefined, undefined, 'string'], 'rev, value and error of 424');
}
