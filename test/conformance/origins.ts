/** Clauses 9.11 and 9.13 to 9.15: which pages may call, under which name of the server. */
import { ensure, missing, refused, same, status } from './expectations.ts';
import type { Answer } from './http.ts';
import { expectUntouched, FOR_ADMINS, WRITES } from './protected.ts';
import { checksThatNeed, NotAnnounced } from './runner.ts';
import { pathOf, type Subject } from './subject.ts';

const { check, checks } = checksThatNeed('contract');

export { checks as originChecks };

const FOREIGN = 'https://conformance.invalid';

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
