/** Clauses 5.10 to 5.14: a batch that is sent again applies once. */
import { randomBytes } from 'node:crypto';
import { type BatchAnswer, ensure, json, refused, same } from './expectations.ts';
import { checksThatNeed } from './runner.ts';
import type { Operation, Subject } from './subject.ts';
import { together } from './together.ts';

const { check, checks } = checksThatNeed('contract', 'batch');

export { checks as retryChecks };

const newClient = (): string => randomBytes(18).toString('base64url');

const statuses = ({ results }: BatchAnswer): number[] => results.map(({ status }) => status);

const put = (n: number, key: string, value: unknown, rest: Operation = {}): Operation => ({
  n,
  op: 'put',
  key,
  value,
  ...rest,
});

/** A batch that must be refused as a whole. */
const refusedBatch = async (
  server: Subject,
  members: Operation,
  status: number,
  type?: string,
): Promise<void> => {
  refused(await server.postBatch(JSON.stringify(members)), status, type);
};

check('5.10', 'a client is 16 to 64 characters of A-Z a-z 0-9 _ -', async (server) => {
  const ops = [put(1, 'a', 1)];
  for (const client of [
    '',
    'c'.repeat(15),
    'c'.repeat(65),
    `${'c'.repeat(20)}!`,
    `${'c'.repeat(20)} `,
    'é'.repeat(20),
    1,
    null,
  ])
    await refusedBatch(server, { client, ops }, 400);
  same(await server.keys(), [], 'the keys');
  const longest = `${newClient()}${'_-Az09'.repeat(9)}`.slice(0, 64);
  for (const client of [randomBytes(12).toString('base64url'), longest]) {
    same(statuses(await server.batch(ops, { client })), [200], `the status of client ${client}`);
  }
});

check(
  '5.10',
  'a batch with n names its client, and its n count up by one, else it is 400',
  async (server) => {
    const client = newClient();
    await refusedBatch(server, { ops: [put(1, 'a', 1)] }, 400);
    for (const [first, second] of [
      [1, 1],
      [1, 3],
      [2, 1],
    ] as const)
      await refusedBatch(server, { client, ops: [put(first, 'a', 1), put(second, 'b', 1)] }, 400);
    same(await server.keys(), [], 'the keys');
    const ops = [
      put(1, 'a', 1),
      { op: 'get', key: 'a' },
      { op: 'put', key: 'free', value: 1 },
      put(2, 'b', 1),
    ];
    same(statuses(await server.batch(ops, { client })), [200, 200, 200, 200], 'n beside operations without');
  },
);

check('5.10', 'an n of a read is ignored', async (server) => {
  const client = newClient();
  const ops = [{ n: 7, op: 'get', key: 'a' }, put(1, 'a', 1), { n: 1, op: 'head', key: 'a' }, put(2, 'b', 1)];
  same(statuses(await server.batch(ops, { client })), [404, 200, 200, 200], 'the statuses');
  same(
    statuses(await server.batch([{ n: 5, op: 'get', key: 'a' }])),
    [200],
    'the status of a read without client',
  );
});

check('5.11', 'an n counts as used whether its operation applied or failed', async (server) => {
  const client = newClient();
  const failing = [
    put(1, 'a', 1, { ifRev: '0' }),
    { n: 2, op: 'delete', key: 'missing' },
    put(3, '', 1),
    { n: 4, op: 'clear', ifSeq: '0' },
  ];
  same(statuses(await server.batch(failing, { client })), [412, 404, 400, 412], 'the statuses');
  await server.putAll({ missing: 1 });
  same(statuses(await server.batch(failing, { client })), [412, 404, 400, 412], 'the statuses, sent again');
  same(statuses(await server.batch([put(5, 'a', 1)], { client })), [200], 'the status of the next n');
  same(await server.keys(), ['a', 'missing'], 'the keys');
});

check('5.11', 'an atomic batch that failed has used its n, and stays failed', async (server) => {
  const client = newClient();
  await server.putAll({ taken: 1 });
  const ops = [put(1, 'a', 1), put(2, 'taken', 2, { ifRev: null })];
  const members = { client, atomic: true };
  same(statuses(await server.batch(ops, members)), [424, 412], 'the statuses');
  await server.batch([{ op: 'delete', key: 'taken' }]);
  same(statuses(await server.batch(ops, members)), [424, 412], 'the statuses, sent again');
  same(await server.keys(), [], 'the keys');
  same(statuses(await server.batch([put(3, 'b', 1)], members)), [200], 'the status of the next n');
});

check(
  '5.12',
  'a batch sent again is not applied again: it answers what it answered, without values',
  async (server) => {
    const client = newClient();
    await server.putAll({ taken: 0, gone: 0 });
    const ops = [
      put(1, 'a', 1),
      put(2, 'taken', 1, { ifRev: null }),
      { n: 3, op: 'delete', key: 'gone' },
      { n: 4, op: 'delete', key: 'missing' },
      put(5, 'a', 2),
    ];
    const first = await server.batch(ops, { client });
    same(statuses(first), [200, 412, 200, 404, 200], 'the statuses');
    await server.putAll({ a: 'by another', gone: 'by another', missing: 'by another' });
    const before = await server.position();
    const again = await server.batch(ops, { client });
    const shape = (answer: BatchAnswer) =>
      answer.results.map(({ status, rev, error }) => ({ status, rev, error }));
    same(shape(again), shape(first), 'the results, sent again');
    for (const result of again.results) ensure(!('value' in result), 'a stored result must not hold a value');
    same(await server.position().then(({ seq }) => seq), before.seq, '`seq` after the batch was sent again');
    same(await server.keys(), ['a', 'gone', 'missing', 'taken'], 'the keys');
    same((await server.run({ op: 'get', key: 'a' })).value, 'by another', 'the value of another');
  },
);

check('5.12', 'a clear sent again does not wipe what was written since', async (server) => {
  const client = newClient();
  const ops = [{ n: 1, op: 'clear' }];
  const first = await server.batch(ops, { client });
  await server.putAll({ later: 1 });
  const again = await server.batch(ops, { client });
  same(again.results[0]?.rev, first.results[0]?.rev, 'the revision, sent again');
  same(await server.keys(), ['later'], 'the keys');
});

check('5.12', 'what is new in a batch beside what was sent before applies', async (server) => {
  const client = newClient();
  const first = await server.batch([put(1, 'a', 1), put(2, 'b', 1)], { client });
  await server.wipe();
  const again = await server.batch([put(2, 'b', 2), put(3, 'c', 3), { op: 'get', key: 'c' }], { client });
  same(again.results[0]?.rev, first.results[1]?.rev, 'the revision of the write that was sent before');
  same(again.results[2]?.value, 3, 'the value of the write that is new');
  same(await server.keys(), ['c'], 'the keys');
});

check('5.12', 'one batch that many connections send at once is applied once', async (server) => {
  const client = newClient();
  const { seq } = await server.position();
  const ops = [put(1, 'a', 1), put(2, 'b', 1), { n: 3, op: 'delete', key: 'a' }];
  const answers = await together(Array.from({ length: 12 }, () => server.batch(ops, { client })));
  const [first] = answers;
  for (const answer of answers)
    same(
      answer.results.map(({ status, rev }) => [status, rev]),
      first?.results.map(({ status, rev }) => [status, rev]),
      'the results of one of many equal batches',
    );
  same((await server.position()).seq - seq, 3, 'what all together added to `seq`');
});

check('5.13', 'a gap in n is 409 op-gap, and nothing of the batch applies', async (server) => {
  const client = newClient();
  await server.batch([put(1, 'a', 1), put(2, 'a', 2)], { client });
  await server.batch([put(3, 'a', 3), put(4, 'a', 4)], { client });
  const free = { op: 'put', key: 'free', value: 1 };
  for (const n of [6, 100, 2, 1])
    await refusedBatch(server, { client, ops: [free, put(n, 'b', 1)] }, 409, 'op-gap');
  same(await server.keys(), ['a'], 'the keys');
  same(statuses(await server.batch([put(5, 'b', 1)], { client })), [200], 'the status of the next n');
});

check(
  '5.13',
  'an n above 1 of an unknown client is 409 client-unknown, and nothing of the batch applies',
  async (server) => {
    const ops = [{ op: 'put', key: 'free', value: 1 }, put(2, 'a', 1)];
    await refusedBatch(server, { client: newClient(), ops }, 409, 'client-unknown');
    same(await server.keys(), [], 'the keys');
  },
);

check('5.13', 'a batch that is refused as a whole has used no n', async (server) => {
  const client = newClient();
  await refusedBatch(server, { client, ops: [put(1, 'a', 1), { op: 'unknown', key: 'a' }] }, 400);
  await refusedBatch(server, { client, epoch: 'other', ops: [put(1, 'a', 1)] }, 409, 'epoch-changed');
  same(statuses(await server.batch([put(1, 'a', 1)], { client })), [200], 'the status of the first n');
});

check('5.14', 'reads of a batch that is sent again are carried out anew', async (server) => {
  const client = newClient();
  const ops = [put(1, 'a', 1), { op: 'get', key: 'b' }, { op: 'head', key: 'b' }];
  same(statuses(await server.batch(ops, { client })), [200, 404, 404], 'the statuses');
  await server.putAll({ b: 'new' });
  const { results } = await server.batch(ops, { client });
  same([results[1]?.value, results[2]?.size], ['new', 5], 'what is read, sent again');
});

check('5.14', 'a write without n is not deduplicated', async (server) => {
  const client = newClient();
  const body = JSON.stringify({ client, ops: [{ op: 'put', key: 'a', value: 1 }] });
  const [first, second] = [await server.postBatch(body), await server.postBatch(body)].map((answer) =>
    Number(json<BatchAnswer>(answer, 200).results[0]?.rev),
  );
  same(second, Number(first) + 1, 'the second revision');
});

check('5.14', 'a client is not forgotten with the keys', async (server) => {
  const client = newClient();
  await server.batch([put(1, 'a', 1)], { client });
  await server.wipe();
  same(
    statuses(await server.batch([put(2, 'b', 1)], { client })),
    [200],
    'the status of the next n after a clear',
  );
});
