/** Clauses 5.10 to 5.14: a numbered mutation that is sent again applies once, and can be given up. */
import { randomBytes } from 'node:crypto';
import { type BatchAnswer, carriedOut, ensure, json, refused, same } from './expectations.ts';
import { checksThatNeed } from './runner.ts';
import type { Operation, Subject } from './subject.ts';
import { together } from './together.ts';

const { check, checks } = checksThatNeed('contract', 'batch');

export { checks as mutationChecks };

const newClient = (): string => randomBytes(18).toString('base64url');

const put = (key: string, value: unknown, rest: Operation = {}): Operation => ({
  op: 'put',
  key,
  value,
  ...rest,
});

const statuses = ({ results }: BatchAnswer): number[] => results.map(({ status }) => status);

/** Results without values. */
const shapes = ({ results }: BatchAnswer) =>
  results.map(({ status, rev, error, type }) => ({ status, rev, error, type }));

/** Sends a batch that must be refused as a whole. Returns `top` of the answer. */
async function refusedBatch(
  server: Subject,
  members: Operation,
  status: number,
  type?: string,
): Promise<unknown> {
  const body = refused(await server.postBatch(JSON.stringify(members)), status, type);
  return (body as { top?: unknown }).top;
}

/** Gives up a mutation. */
async function giveUp(server: Subject, members: Operation): Promise<BatchAnswer> {
  return carriedOut(await server.postBatch(JSON.stringify(members)));
}

/** `seq` now. */
const seqOf = async (server: Subject): Promise<number> => (await server.position()).seq;

check('5.10', 'a client is 16 to 64 characters of A-Z a-z 0-9 _ -', async (server) => {
  const ops = [put('a', 1)];
  for (const client of [
    '',
    'c'.repeat(15),
    'c'.repeat(65),
    `${'c'.repeat(20)}!`,
    `${'c'.repeat(20)} `,
    `${'c'.repeat(20)}\n`,
    'é'.repeat(20),
    1,
    null,
  ])
    await refusedBatch(server, { client, m: 1, ops }, 400);
  same(await server.keys(), [], 'the keys');
  const longest = `${newClient()}${'_-Az09'.repeat(9)}`.slice(0, 64);
  for (const client of [randomBytes(12).toString('base64url'), longest])
    same(statuses(await server.batch(ops, { client, m: 1 })), [200], `the status of client ${client}`);
});

check('5.10', 'm and void are whole numbers from 1, settled is one from 0', async (server) => {
  const client = newClient();
  const ops = [put('a', 1)];
  for (const number of [0, -1, 1.5, '1', null, true, [1], 2 ** 53]) {
    await refusedBatch(server, { client, m: number, ops }, 400);
    await refusedBatch(server, { client, void: number }, 400);
    if (number !== 0) await refusedBatch(server, { client, m: 9, settled: number, ops }, 400);
  }
  for (const number of ['1e0', '1.0', '10e-1', '-0'])
    for (const members of [
      `"m":${number},"ops":[]`,
      `"void":${number}`,
      `"m":9,"settled":${number},"ops":[]`,
    ])
      refused(await server.postBatch(`{"client":"${client}",${members}}`), 400);
  same(await server.keys(), [], 'the keys');
  const most = Number.MAX_SAFE_INTEGER;
  same(statuses(await server.batch(ops, { client, m: most, settled: 0 })), [200], `the status of m ${most}`);
});

check('5.10', 'm, void and settled need a client, and settled is less than the other two', async (server) => {
  const client = newClient();
  const ops = [put('a', 1)];
  await refusedBatch(server, { m: 1, ops }, 400);
  await refusedBatch(server, { void: 1 }, 400);
  await refusedBatch(server, { settled: 1, ops }, 400);
  for (const settled of [3, 4]) {
    await refusedBatch(server, { client, m: 3, settled, ops }, 400);
    await refusedBatch(server, { client, void: 3, settled }, 400);
  }
  await refusedBatch(server, { client, m: 2, void: 1 }, 400);
  await refusedBatch(server, { client, void: 1, ops }, 400);
  await refusedBatch(server, { client, void: 1, ops: [] }, 400);
  await refusedBatch(server, { client, m: 1 }, 400);
  same(await server.keys(), [], 'the keys');
  same(
    statuses(await server.batch(ops, { client, m: 1 })),
    [200],
    'the status of the mutation that follows the refusals',
  );
});

check(
  '5.10',
  'mutations apply in any order of their numbers, and the numbers may have gaps',
  async (server) => {
    const client = newClient();
    const numbers = [5, 2, 900, 3, 1, 899];
    const first: BatchAnswer[] = [];
    for (const m of numbers) first.push(await server.batch([put(`key-${m}`, m)], { client, m }));
    const { seq } = await server.position();
    for (const [i, m] of numbers.entries()) {
      const again = await server.batch([put(`key-${m}`, 'again')], { client, m });
      same(shapes(again), shapes(first[i] as BatchAnswer), `the result of mutation ${m}, sent again`);
    }
    same(await seqOf(server), seq, '`seq` after all were sent again');
  },
);

check('5.11', 'a result is stored whether its operation applied or failed', async (server) => {
  const client = newClient();
  await server.putAll({ taken: 0, gone: 0 });
  const ops = [
    put('a', 1),
    put('taken', 1, { ifRev: null }),
    { op: 'delete', key: 'gone' },
    { op: 'delete', key: 'missing' },
    put('', 1),
    { op: 'clear', ifSeq: '0' },
    { op: 'check', key: 'taken', ifRev: '0' },
    { op: 'check', key: 'missing', ifRev: null },
    put('a', 2),
  ];
  const first = await server.batch(ops, { client, m: 1 });
  same(statuses(first), [200, 412, 200, 404, 400, 412, 412, 200, 200], 'the statuses');
  // Now each of them would have another result.
  await server.batch([{ op: 'delete', key: 'taken' }]);
  await server.putAll({ a: 'by another', gone: 'by another', missing: 'by another' });
  const before = await seqOf(server);
  const again = await server.batch(ops, { client, m: 1 });
  same(shapes(again), shapes(first), 'the results, sent again');
  for (const result of again.results) ensure(!('value' in result), 'a stored result must not have a value');
  same(await seqOf(server), before, '`seq` after the mutation was sent again');
  same(await server.keys(), ['a', 'gone', 'missing'], 'the keys');
});

check('5.11', 'the results of an atomic batch that failed are stored too', async (server) => {
  const client = newClient();
  await server.putAll({ taken: 1 });
  const ops = [put('a', 1), put('taken', 2, { ifRev: null }), { op: 'check', key: 'taken', ifRev: null }];
  const members = { client, m: 1, atomic: true };
  const first = await server.batch(ops, members);
  same(statuses(first), [424, 412, 424], 'the statuses');
  await server.wipe();
  same(shapes(await server.batch(ops, members)), shapes(first), 'the results, sent again');
  same(await server.keys(), [], 'the keys');
});

check('5.11', 'a mutation without writes is stored', async (server) => {
  const client = newClient();
  same(statuses(await server.batch([], { client, m: 1 })), [], 'the statuses');
  await refusedBatch(server, { client, m: 1, ops: [put('a', 1)] }, 409, 'mutation-changed');
  same((await giveUp(server, { client, void: 1 })).results, [], 'the results of the mutation');
  same(statuses(await server.batch([put('a', 1)], { client, m: 2 })), [200], 'the status of the next one');
});

check('5.11', 'a request that is refused as a whole stores nothing', async (server) => {
  const client = newClient();
  const ops = [put('a', 1)];
  await refusedBatch(server, { client, m: 5, settled: 4, ops: [...ops, { op: 'unknown', key: 'a' }] }, 400);
  await refusedBatch(server, { client, m: 5, settled: 4, epoch: 'other', ops }, 409, 'epoch-changed');
  await refusedBatch(server, { client, void: 5, settled: 4, epoch: 'other' }, 409, 'epoch-changed');
  await refusedBatch(server, { client, m: 5, settled: 4, account: 'other', ops }, 409, 'other-account');
  refused(
    await server.postBatch(JSON.stringify({ client, m: 5, settled: 4, ops }), {
      headers: { 'content-type': 'text/plain' },
    }),
    415,
  );
  const large = `{"client":"${client}","m":5,"settled":4,"ops":[]}`.padEnd(server.limits.bodyBytes + 1);
  refused(await server.postBatch(large), 413);
  const before = await server.batch([], { client });
  same(before.top, 0, '`top` after the refusals');
  same(statuses(await server.batch(ops, { client, m: 1 })), [200], 'the status of mutation 1');
  same(statuses(await server.batch(ops, { client, m: 5 })), [200], 'the status of mutation 5');
  await refusedBatch(server, { client, m: 5, settled: 4, ops: [...ops, ...ops] }, 409, 'mutation-changed');
  same(statuses(await server.batch(ops, { client, m: 4 })), [200], 'the status of mutation 4');
});

check(
  '5.11',
  'settled passes all numbers up to it, also without a mutation, and never goes back',
  async (server) => {
    const client = newClient();
    const ops = [put('a', 1)];
    for (const m of [1, 2, 3, 5]) await server.batch(ops, { client, m });
    await server.batch(ops, { client, m: 6, settled: 2 });
    for (const m of [1, 2]) await refusedBatch(server, { client, m, ops }, 409, 'settled');
    same(statuses(await server.batch(ops, { client, m: 3, settled: 1 })), [200], 'the status of mutation 3');
    await refusedBatch(server, { client, m: 2, ops }, 409, 'settled');
    await server.batch([], { client, settled: 4 });
    for (const m of [3, 4]) await refusedBatch(server, { client, m, ops }, 409, 'settled');
    const seq = await seqOf(server);
    same(statuses(await server.batch(ops, { client, m: 5, settled: 4 })), [200], 'the status of mutation 5');
    await giveUp(server, { client, void: 7, settled: 5 });
    await refusedBatch(server, { client, m: 5, ops }, 409, 'settled');
    same(await seqOf(server), seq, '`seq` after the mutations were sent again');
  },
);

check('5.11', 'of many mutations those that are not settled stay stored', async (server) => {
  const client = newClient();
  const revs: Array<string | undefined> = [];
  for (let m = 1; m <= 150; m += 1) {
    const settled = Math.max(0, m - 3);
    const { results } = await server.batch([put('a', m)], { client, m, settled });
    revs.push(results[0]?.rev);
  }
  for (const m of [148, 149, 150]) {
    const { results } = await server.batch([put('a', m)], { client, m });
    same(results[0]?.rev, revs[m - 1], `the revision of mutation ${m}, sent again`);
  }
  for (const m of [1, 64, 128, 147])
    await refusedBatch(server, { client, m, ops: [put('a', m)] }, 409, 'settled');
});

check('5.12', 'a clear that is sent again does not delete what was written since', async (server) => {
  const client = newClient();
  const ops = [{ op: 'clear' }];
  const first = await server.batch(ops, { client, m: 1 });
  await server.putAll({ later: 1 });
  same(shapes(await server.batch(ops, { client, m: 1 })), shapes(first), 'the result, sent again');
  same(await server.keys(), ['later'], 'the keys');
});

check('5.12', 'the writes have the stored results in their order, whatever they say now', async (server) => {
  const client = newClient();
  const first = await server.batch([put('a', 1), put('b', 1)], { client, m: 1 });
  const changed = [{ op: 'get', key: 'a' }, { op: 'delete', key: 'b' }, put('c', 1)];
  const again = await server.batch(changed, { client, m: 1 });
  same(shapes(again).slice(1), shapes(first), 'the results, sent again');
  same(await server.keys(), ['a', 'b'], 'the keys');
});

check('5.12', 'another number of writes is 409 mutation-changed', async (server) => {
  const client = newClient();
  const first = await server.batch([put('a', 1), put('b', 1)], { client, m: 1 });
  for (const ops of [
    [],
    [put('c', 1)],
    [put('c', 1), { op: 'get', key: 'c' }],
    [put('c', 1), put('d', 1), { op: 'check', key: 'c', ifRev: null }],
  ])
    await refusedBatch(server, { client, m: 1, ops }, 409, 'mutation-changed');
  same(await server.keys(), ['a', 'b'], 'the keys');
  const again = await server.batch([put('a', 1), put('b', 1)], { client, m: 1 });
  same(shapes(again), shapes(first), 'the results of the mutation as it was');
});

check('5.12', 'reads of a mutation that is sent again are carried out anew', async (server) => {
  const client = newClient();
  const ops = [{ op: 'get', key: 'b' }, put('a', 1), { op: 'head', key: 'b' }, { op: 'delete', key: 'a' }];
  same(statuses(await server.batch(ops, { client, m: 1 })), [404, 200, 404, 200], 'the statuses');
  await server.putAll({ b: 'new' });
  const again = await server.batch(ops, { client, m: 1 });
  same(statuses(again), [200, 200, 200, 200], 'the statuses, sent again');
  same([again.results[0]?.value, again.results[2]?.size], ['new', 5], 'what is read, sent again');
});

check('5.12', 'a mutation that many connections send at once applies once', async (server) => {
  const client = newClient();
  const seq = await seqOf(server);
  const ops = [put('a', 1), put('b', 1), { op: 'delete', key: 'a' }];
  const answers = await together(Array.from({ length: 12 }, () => server.batch(ops, { client, m: 1 })));
  for (const answer of answers)
    same(shapes(answer), shapes(answers[0] as BatchAnswer), 'the results of one of many equal requests');
  same((await seqOf(server)) - seq, 3, 'what all together added to `seq`');
});

check('5.13', 'void answers the results of a mutation that was applied', async (server) => {
  const client = newClient();
  await server.putAll({ taken: 1 });
  const first = await server.batch([put('a', 1), { op: 'get', key: 'a' }, put('taken', 2, { ifRev: null })], {
    client,
    m: 1,
  });
  await server.wipe();
  for (const _ of [1, 2]) {
    const voided = await giveUp(server, { client, void: 1 });
    same(shapes(voided), [shapes(first)[0], shapes(first)[2]], 'the results that void answers');
    ensure(!('void' in voided), 'the answer to void of an applied mutation must not have `void`');
    for (const result of voided.results)
      ensure(!('value' in result), 'a stored result must not have a value');
  }
});

check('5.13', 'a mutation that was given up first never applies', async (server) => {
  const client = newClient();
  const seq = await seqOf(server);
  for (const m of [3, 1]) {
    for (const _ of [1, 2]) {
      const voided = await giveUp(server, { client, void: m });
      same([voided.void, voided.results, voided.seq], [true, [], seq], 'void, results and seq of the answer');
      await refusedBatch(server, { client, m, ops: [put('a', m)] }, 409, 'void');
      await refusedBatch(server, { client, m, ops: [] }, 409, 'void');
    }
  }
  same(
    statuses(await server.batch([put('b', 1)], { client, m: 2 })),
    [200],
    'the status of another mutation',
  );
  same(await server.keys(), ['b'], 'the keys');
});

check('5.13', 'void and a mutation that arrive at once have one winner', async (server) => {
  for (let round = 0; round < 12; round += 1) {
    const client = newClient();
    const key = `key-${round}`;
    const body = JSON.stringify({ client, m: 1, ops: [put(key, 1)] });
    const [sent, voided] = await together([
      server.postBatch(body),
      server.postBatch(JSON.stringify({ client, void: 1 })),
    ]);
    const { status, rev } = (await server.batch([{ op: 'get', key }])).results[0] ?? {};
    const answer = json<BatchAnswer>(voided as never, 200);
    if (status === 404) {
      refused(sent as never, 409, 'void');
      same(answer.void, true, '`void` of a mutation that did not apply');
    } else
      same(
        [carriedOut(sent as never).results[0]?.rev, answer.results[0]?.rev, answer.void],
        [rev, rev, undefined],
        'the revisions that both answer, and void',
      );
  }
});

check('5.13', 'void of a settled number is 409 settled', async (server) => {
  const client = newClient();
  await server.batch([put('a', 1)], { client, m: 1 });
  await giveUp(server, { client, void: 2 });
  await server.batch([put('a', 1)], { client, m: 4, settled: 3 });
  for (const m of [1, 2, 3]) {
    await refusedBatch(server, { client, void: m }, 409, 'settled');
    await refusedBatch(server, { client, m, ops: [put('b', 1)] }, 409, 'settled');
  }
  same(await server.keys(), ['a'], 'the keys');
});

check('5.14', 'top is the highest number before the batch, in answers and in refusals', async (server) => {
  const client = newClient();
  const ops = [put('a', 1)];
  const tops = [
    (await server.batch([], { client })).top,
    (await server.batch(ops, { client, m: 3 })).top,
    (await server.batch(ops, { client, m: 3 })).top,
    (await server.batch(ops, { client, m: 2 })).top,
    (await server.batch([{ op: 'get', key: 'a' }], { client })).top,
    (await giveUp(server, { client, void: 7 })).top,
    (await giveUp(server, { client, void: 2 })).top,
    await refusedBatch(server, { client, m: 7, ops }, 409, 'void'),
    await refusedBatch(server, { client, m: 3, ops: [] }, 409, 'mutation-changed'),
    (await server.batch([], { client, settled: 9 })).top,
    await refusedBatch(server, { client, m: 9, ops }, 409, 'settled'),
    await refusedBatch(server, { client, void: 1 }, 409, 'settled'),
    (await server.batch(ops, { client, m: 10, settled: 2 })).top,
    (await server.batch([], { client })).top,
  ];
  same(tops, [0, 0, 3, 3, 3, 3, 7, 7, 7, 7, 7, 7, 7, 10], '`top` of the answers');
  const anonymous = await server.batch(ops);
  ensure(!('top' in anonymous), 'the answer to a batch without client must not have `top`');
});

check('5.14', 'a batch without m applies each time', async (server) => {
  const client = newClient();
  const [first, second] = [
    await server.batch([put('a', 1)], { client }),
    await server.batch([put('a', 1)], { client }),
  ];
  same(Number(second.results[0]?.rev), Number(first.results[0]?.rev) + 1, 'the second revision');
  same(second.top, 0, '`top`');
});

check('5.14', 'clients do not share numbers, and a clear does not forget them', async (server) => {
  const [client, other] = [newClient(), newClient()];
  const { results } = await server.batch([put('a', 1)], { client, m: 1 });
  await server.wipe();
  const again = await server.batch([put('a', 1)], { client, m: 1 });
  same(again.results[0]?.rev, results[0]?.rev, 'the revision, sent again after a clear');
  same(await server.keys(), [], 'the keys');
  const others = await server.batch([put('a', 1)], { client: other, m: 1 });
  same(
    [statuses(others), others.top],
    [[200], 0],
    'the status and top of another client with the same number',
  );
  same(await server.keys(), ['a'], 'the keys of both');
});
