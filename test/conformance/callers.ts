/** Clauses 9.10 to 9.15: who may call, with which token, from which page. */
import { ensure, missing, refused, same, status } from './expectations.ts';
import type { Answer } from './http.ts';
import { checksThatNeed, NotAnnounced } from './runner.ts';
import { JSON_TYPE, pathOf, type Subject } from './subject.ts';

const { check, checks } = checksThatNeed('contract');

export { checks as callerChecks };

const FOREIGN = 'https://conformance.invalid';

const READS = ['/api/storage/keys', '/api/storage/stats', '/api/v1/keys', '/api/v1/stats', '/api/v1/changes'];

type Asking = readonly [method: string, path: string, body?: string, type?: string];

const GET_KEY: Asking = ['GET', pathOf('a')];
const WRITES: readonly Asking[] = [
  ['PUT', pathOf('a'), '{"value":1}'],
  ['POST', pathOf('a'), '{"value":1}'],
  ['POST', '/api/v1/batch', '{"ops":[{"op":"get","key":"a"},{"op":"put","key":"a","value":1}]}'],
  ['POST', '/api/v1/batch', '{"ops":[{"op":"get","key":"a"},{"op":"delete","key":"a"}]}'],
  ['DELETE', pathOf('a')],
];
const FOR_ADMINS: readonly Asking[] = [
  ['POST', '/api/storage/clear'],
  ['POST', '/api/storage/import', '{"a":1}'],
  ['GET', '/api/storage/export'],
  ['GET', '/api/v1/export'],
  ['POST', '/api/v1/import', '{}', 'application/x-ndjson'],
  ['POST', '/api/v1/batch', '{"ops":[{"op":"put","key":"a","value":1},{"op":"clear"}]}'],
];
const BATCH_READ: Asking = [
  'POST',
  '/api/v1/batch',
  '{"ops":[{"op":"get","key":"a"},{"op":"head","key":"a"}]}',
];

function ask(
  server: Subject,
  [method, path, body, type = 'application/json']: Asking,
  token?: string | null,
): Promise<Answer> {
  const sent = body === undefined ? {} : { body, headers: { 'content-type': type } };
  return server.send(method, path, { ...sent, token });
}

async function expectUntouched(server: Subject): Promise<void> {
  same([await server.keys(), (await server.get('a')).text], [['a'], '{"value":0}'], 'what is stored');
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
    const listed = await Promise.all(READS.map((path) => server.send('GET', path, { token })));
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
      { n: 1, op: 'put', key: 'a', value: 1 },
      { client: `${client}-${own.seq}` },
    );
    same((await server.position(token)).seq, others.seq, '`seq` of the other tenant');
    const second = await server.run(
      { n: 1, op: 'put', key: 'b', value: 1 },
      { client: `${client}-${own.seq}` },
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

check('9.11', 'there are no cookies, and no Access-Control-Allow-Credentials', async (server) => {
  for (const answer of await answersTo(server, server.origin)) {
    same(answer.headers['set-cookie'], undefined, `Set-Cookie of ${answer.asked}`);
    same(
      answer.headers['access-control-allow-credentials'],
      undefined,
      `Access-Control-Allow-Credentials of ${answer.asked}`,
    );
  }
});

check('9.13', 'an origin that is listed is echoed, with Vary: Origin', async (server) => {
  await expectListed(server);
  for (const answer of await answersTo(server, server.origin))
    ensure(
      /\bOrigin\b/i.test(answer.headers.vary ?? ''),
      `${answer.asked} must carry Vary: Origin, not ${answer.headers.vary}`,
    );
});

check(
  '9.13',
  'a state-changing request from an origin that is not listed is 403, before its body is read',
  async (server) => {
    await expectForeign(server);
    await server.put('a', '0');
    for (const [method, path, body = '{}', type = 'application/json'] of [...WRITES, ...FOR_ADMINS]) {
      if (method === 'GET') continue;
      const headers = { origin: FOREIGN, 'content-type': type };
      refused(await server.send(method, path, { headers, body }), 403);
      if (method === 'DELETE') continue;
      const announced = { ...headers, 'content-length': '1000000' };
      refused(await server.send(method, path, { headers: announced, body: '{', unfinished: true }), 403);
    }
    await expectUntouched(server);
  },
);

check(
  '9.13',
  'a page of an origin that is not listed reads nothing; a request without Origin is not affected',
  async (server) => {
    await expectForeign(server);
    for (const answer of await answersTo(server, FOREIGN))
      same(
        answer.headers['access-control-allow-origin'],
        undefined,
        `Access-Control-Allow-Origin of ${answer.asked}`,
      );
    status(await server.put('a', '0'), 200);
  },
);

check('9.14', 'without tokens the server refuses a Host that is not loopback', async (server) => {
  if (server.capabilities.includes('auth')) throw new NotAnnounced('the server takes tokens');
  if (server.anonymous) throw new NotAnnounced('--anonymous says that anyone may call');
  const port = server.base.port && `:${server.base.port}`;
  for (const host of [
    'evil.example',
    `evil.example${port}`,
    'localhost.evil.example',
    '127.0.0.1.evil.example',
  ])
    for (const path of ['/health', '/api/storage/keys', '/api/v1/keys'])
      refused(await server.send('GET', path, { headers: { host } }), 403);
  status(await server.send('GET', '/health', { headers: { host: `localhost${port}` } }), 200);
});

check('9.15', 'every answer carries CORS headers, /health and errors too', async (server) => {
  await expectListed(server);
  for (const answer of await answersTo(server, server.origin))
    ensure(
      ['*', server.origin].includes(answer.headers['access-control-allow-origin'] ?? ''),
      `${answer.asked} must allow ${server.origin}, not ${answer.headers['access-control-allow-origin']}`,
    );
});

check('9.15', "a preflight needs no token, and allows the contract's headers for 7,200 s", async (server) => {
  await expectListed(server);
  const allowed = ['authorization', 'content-type', 'if-match', 'if-none-match', 'last-event-id'];
  for (const [method, path] of [
    ['POST', '/api/v1/batch'],
    ['GET', '/api/v1/changes'],
    ['POST', '/api/v1/import'],
    ['PUT', pathOf('a')],
    ['DELETE', pathOf('a')],
  ] as const) {
    const headers = {
      origin: server.origin,
      'access-control-request-method': method,
      'access-control-request-headers': allowed.join(),
    };
    const answer = status(await server.send('OPTIONS', path, { headers, token: null }), 200, 204);
    const list = (name: string) =>
      String(answer.headers[name] ?? '')
        .toLowerCase()
        .split(/\s*,\s*/);
    same(
      missing(allowed, list('access-control-allow-headers')),
      [],
      `headers that a preflight of ${path} does not allow`,
    );
    ensure(
      list('access-control-allow-methods').includes(method.toLowerCase()),
      `a preflight of ${path} must allow ${method}`,
    );
    same(answer.headers['access-control-max-age'], '7200', `Access-Control-Max-Age of ${path}`);
  }
});

function expectForbidden(answer: Answer): void {
  refused(answer, 403);
  const challenge = answer.headers['www-authenticate'] ?? '';
  ensure(
    /insufficient_scope/.test(challenge),
    `403 to ${answer.asked} must say insufficient_scope in WWW-Authenticate, not ${challenge}`,
  );
}

async function answersTo(server: Subject, origin: string): Promise<Answer[]> {
  const headers = { origin };
  return [
    await server.send('GET', '/health', { headers }),
    await server.get('missing', { headers }),
    await server.send('GET', '/nowhere', { headers }),
    await server.send('GET', '/api/v1/stats', { headers }),
    await server.send('GET', '/api/storage/keys', { headers }),
    ...(server.capabilities.includes('auth')
      ? [await server.send('GET', pathOf('a'), { headers, token: null })]
      : []),
  ];
}

/** The checks of pages need an origin that the server lists. */
async function expectListed(server: Subject): Promise<void> {
  const { headers } = await server.send('GET', '/health', { headers: { origin: server.origin } });
  const allowed = headers['access-control-allow-origin'];
  if (allowed === undefined)
    throw new NotAnnounced(`the server does not list ${server.origin}: name a listed one with --origin`);
}

/** They also need one that it does not list. */
async function expectForeign(server: Subject): Promise<void> {
  const { headers } = await server.send('GET', '/health', { headers: { origin: FOREIGN } });
  if (headers['access-control-allow-origin'] !== undefined)
    throw new NotAnnounced('the server lists every origin');
}
