/** Clauses 9.10 and 9.11: what a token allows, and that tenants do not see each other. */
import { randomBytes } from 'node:crypto';
import { carriedOut, ensure, refused, same, status } from './expectations.ts';
import type { Answer } from './http.ts';
import { type Asking, expectUntouched, FOR_ADMINS, WRITES } from './protected.ts';
import { checksThatNeed, NotAnnounced } from './runner.ts';
import { JSON_TYPE, pathOf, type Subject } from './subject.ts';
import { together } from './together.ts';

const { check, checks } = checksThatNeed('contract');

export { checks as tokenChecks };

const READS = ['/api/storage/keys', '/api/storage/stats', '/api/v1/keys', '/api/v1/stats', '/api/v1/changes'];

const GET_KEY: Asking = ['GET', pathOf('a')];
const BATCH_READ: Asking = [
  'POST',
  '/api/v1/batch',
  // The second key is none, which is no write either.
  '{"ops":[{"op":"get","key":"a"},{"op":"head","key":"\\ud800"}]}',
];
function ask(
  server: Subject,
  [method, path, body, type = 'application/json']: Asking,
  token?: string | null,
): Promise<Answer> {
  const sent = body === undefined ? {} : { body, headers: { 'content-type': type } };
  return server.send(method, path, { ...sent, token });
}
check(
  '9.10',
  'without a token, or with an unknown one, everything but /health is 401 with WWW-Authenticate',
  async (server) => {
    await server.put('a', '0');
    const asked = [
      GET_KEY,
      ...READS.map((path): Asking => ['GET', path]),
      ...WRITES,
      ...FOR_ADMINS,
      BATCH_READ,
    ];
    for (const token of [null, 'unknown-token'])
      for (const asking of asked) {
        const answer = await ask(server, asking, token);
        refused(answer, 401);
        const challenge = answer.headers['www-authenticate'] ?? '';
        ensure(
          /^Bearer\b/.test(challenge),
          `401 to ${answer.asked} must carry WWW-Authenticate: Bearer, not ${challenge}`,
        );
      }
    for (const authorization of [
      'Basic dTpw',
      'Bearer',
      `Bearer  ${server.tokens.admin}x`,
      server.tokens.admin ?? '',
    ])
      refused(await server.send('GET', pathOf('a'), { headers: { authorization } }), 401);
    status(
      await server.send('GET', pathOf('a'), {
        token: null,
        headers: { authorization: `bearer ${server.tokens.admin}` },
      }),
      200,
    );
    await expectUntouched(server);
  },
  { needs: ['auth'] },
);

check(
  '9.10',
  'scope read reads, and changes nothing',
  async (server) => {
    await server.put('a', '0');
    const token = server.tokens.read;
    for (const asking of [GET_KEY, BATCH_READ, ...READS.map((path): Asking => ['GET', path])])
      status(await ask(server, asking, token), 200);
    for (const asking of [...WRITES, ...FOR_ADMINS]) expectForbidden(await ask(server, asking, token));
    await expectUntouched(server);
  },
  { needs: ['read-token'] },
);

check(
  '9.10',
  'scope write reads, puts and deletes, but does not clear, import or export',
  async (server) => {
    await server.put('a', '0');
    const token = server.tokens.write;
    for (const asking of FOR_ADMINS) expectForbidden(await ask(server, asking, token));
    await expectUntouched(server);
    for (const asking of [GET_KEY, BATCH_READ, ...READS.map((path): Asking => ['GET', path])])
      status(await ask(server, asking, token), 200);
    for (const asking of WRITES) status(await ask(server, asking, token), 200, 404);
  },
  { needs: ['write-token'] },
);

check(
  '9.11',
  'a tenant sees and changes its own keys only',
  async (server) => {
    const token = server.tokens.other;
    await server.wipe(token);
    await server.put('a', '0');
    await server.put('a', '1', { token });
    await server.put('b', '1', { token });
    await expectUntouched(server);
    status(await server.delete('a', { token }), 200);
    await expectUntouched(server);
    status(
      await server.send('POST', '/api/v1/batch', {
        token,
        headers: JSON_TYPE,
        body: '{"ops":[{"op":"clear"}]}',
      }),
      200,
    );
    await expectUntouched(server);
    same((await server.get('a', { token })).status, 404, 'the status of a key of another tenant');
    const listed = await together(READS.map((path) => server.send('GET', path, { token })));
    for (const { asked, text } of listed)
      ensure(!/"a"|"b"/.test(text), `${asked} of another tenant must not tell ${text}`);
  },
  { needs: ['other-token'] },
);

check(
  '9.11',
  'a tenant has its own seq, clients and changes',
  async (server) => {
    const token = server.tokens.other;
    await server.wipe(token);
    const [own, others] = [await server.position(), await server.position(token)];
    const client = 'conformance-client-of-two-tenants';
    const first = await server.run(
      { op: 'put', key: 'a', value: 1 },
      { client: `${client}-${own.seq}`, m: 1 },
    );
    same((await server.position(token)).seq, others.seq, '`seq` of the other tenant');
    const second = await server.run(
      { op: 'put', key: 'b', value: 1 },
      { client: `${client}-${own.seq}`, m: 1 },
      { token },
    );
    same([first.rev, second.rev], [`${own.seq + 1}`, `${others.seq + 1}`], 'the revisions of both tenants');
    const since = `${others.epoch}.${others.seq}`;
    const { json } = status(await server.send('GET', `/api/v1/changes?since=${since}`, { token }), 200);
    same(
      (json as { changes: Array<{ key: string }> }).changes.map(({ key }) => key),
      ['b'],
      'the changes of the other tenant',
    );
    await server.wipe(token);
  },
  { needs: ['other-token', 'batch', 'changes'] },
);

check(
  '9.11',
  'a client of one tenant is unknown to another',
  async (server) => {
    const token = server.tokens.other;
    await server.wipe(token);
    const client = randomBytes(18).toString('base64url');
    const ops = [{ op: 'put', key: 'a', value: 1 }];
    const own = await server.batch(ops, { client, m: 7, settled: 3 });
    const others = await server.batch(ops, { client, m: 7 }, { token });
    same([own.top, others.top], [0, 0], '`top` of both tenants');
    same((await server.get('a', { token })).status, 200, 'the status of the key of the other tenant');
    const early = await server.batch(ops, { client, m: 2 }, { token });
    same(early.results[0]?.status, 200, 'the status of a number that the first tenant has settled');
    await server.wipe(token);
  },
  { needs: ['other-token', 'batch'] },
);

check(
  '9.16',
  'each answer to a batch names the account, which is the same for all tokens of a tenant',
  async (server) => {
    const client = randomBytes(18).toString('base64url');
    const { admin, read, write, other } = server.tokens;
    const { account } = await server.batch([]);
    ensure(
      typeof account === 'string' && account !== '',
      `\`account\` must be a text, not ${JSON.stringify(account)}`,
    );
    const ops = [{ op: 'get', key: 'a' }];
    const answers = await together(
      [admin, read, write].map((token) => server.batch(ops, { client, account }, { token })),
    );
    same(
      answers.map((answer) => answer.account),
      [account, account, account],
      '`account` for the tokens of one tenant',
    );
    const others = await server.batch(ops, {}, { token: other });
    ensure(others.account !== account, 'another tenant must have another `account`');
    const voided = carriedOut(
      await server.postBatch(JSON.stringify({ client, account, void: 1 }), { token: admin }),
    );
    same(voided.account, account, '`account` in the answer to void');
    for (const token of [admin, read, write, other])
      ensure(
        !token?.includes(String(account)) && !String(account).includes(String(token)),
        '`account` must not tell the token',
      );
  },
  { needs: ['read-token', 'write-token', 'other-token', 'batch'] },
);

check(
  '9.16',
  'a batch for another account is 409 other-account, and nothing applies',
  async (server) => {
    const client = randomBytes(18).toString('base64url');
    const ops = [{ op: 'put', key: 'a', value: 1 }];
    const { account } = await server.batch([], {}, { token: server.tokens.other });
    for (const wrong of [account, 'other', '']) {
      const sent = [
        { client, account: wrong, m: 3, settled: 2, ops },
        { client, account: wrong, void: 3 },
        { account: wrong, ops: [{ op: 'get', key: 'a' }] },
      ];
      for (const members of sent)
        refused(await server.postBatch(JSON.stringify(members)), 409, 'other-account');
    }
    same(await server.keys(), [], 'the keys');
    same((await server.batch(ops, { client, m: 1 })).top, 0, '`top` after the refusals');
  },
  { needs: ['other-token', 'batch'] },
);

check(
  '9.16',
  'without tokens answers have no account, and a batch with one is 409 other-account',
  async (server) => {
    if (server.capabilities.includes('auth')) throw new NotAnnounced('the server has tokens');
    const answer = await server.batch([]);
    ensure(!('account' in answer), 'an answer without tokens must not have `account`');
    for (const account of ['default', '']) {
      const body = JSON.stringify({ account, ops: [{ op: 'put', key: 'a', value: 1 }] });
      refused(await server.postBatch(body), 409, 'other-account');
    }
    same(await server.keys(), [], 'the keys');
  },
  { needs: ['batch'] },
);

function expectForbidden(answer: Answer): void {
  refused(answer, 403);
  const challenge = answer.headers['www-authenticate'] ?? '';
  ensure(
    /insufficient_scope/.test(challenge),
    `403 to ${answer.asked} must say insufficient_scope in WWW-Authenticate, not ${challenge}`,
  );
}
