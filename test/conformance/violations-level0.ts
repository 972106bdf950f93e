/** Violations of sections 1 to 4, and the clauses that the suite must name. */
import { pathOf } from './subject.ts';
import { answering, answeringJson, asking, dropHeader, textOf, type Violation, without } from './violate.ts';

export const LEVEL_0_VIOLATIONS: readonly Violation[] = [
  {
    what: 'other words for a missing key',
    asked: ['1', '2'],
    fails: ['2.3', '2.5'],
    violate: answering((reply) => ({ body: textOf(reply).replace('Key not found', 'No such key') })),
  },
  {
    what: 'HTML',
    asked: ['1', '2'],
    fails: ['1.1'],
    violate: answering((reply, { path }) =>
      path.endsWith('/keys') ? { headers: { ...reply.headers, 'content-type': 'text/html' } } : {},
    ),
  },
  {
    what: 'DELETE /api/storage as a clear',
    asked: ['1', '2'],
    fails: ['2.10'],
    violate: asking(({ method, path }) =>
      `${method} ${path}` === 'DELETE /api/storage' ? { method: 'POST', path: '/api/storage/clear' } : {},
    ),
  },
  {
    what: 'keys sorted by UTF-16 code units',
    asked: ['1', '2'],
    fails: ['2.2'],
    violate: answeringJson(/\/keys$/, ({ keys }) => ({ keys: (keys as string[]).sort() })),
  },
  {
    what: 'an import that replaces everything',
    asked: ['1', '2'],
    fails: ['2.8'],
    violate: async (request, pass) => {
      if (request.path.endsWith('/import')) await pass({ ...request, path: '/api/storage/clear', body: '' });
      return pass(request);
    },
  },
  {
    what: 'a count of keys that is always 0',
    asked: ['1', '2'],
    fails: ['2.9'],
    violate: answeringJson(/\/stats$/, (stats) => ({ ...stats, total_keys: 0 })),
  },
];

export const MODERN_LEVEL_0_VIOLATIONS: readonly Violation[] = [
  {
    what: 'values printed again',
    asked: ['1', '3.1', '5.1', '11'],
    fails: ['1.4', '11.3', '11.6'],
    violate: answering((reply, { method, path }) =>
      method === 'GET' && path === pathOf('a') && reply.status === 200
        ? { body: JSON.stringify(JSON.parse(textOf(reply))) }
        : {},
    ),
  },
  {
    what: 'no nosniff and no Cache-Control',
    asked: ['1'],
    fails: ['1.5', '1.6'],
    violate: answering(({ headers }) => ({
      headers: without(headers, 'x-content-type-options', 'cache-control') as Record<string, string>,
    })),
  },
  {
    what: 'any content type taken for JSON',
    asked: ['3', '5.8'],
    fails: ['3.1', '5.8'],
    violate: asking(({ headers, body }) => ({
      headers: { ...headers, ...(body && { 'content-type': 'application/json' }) },
    })),
  },
  {
    what: 'a content coding not looked at',
    asked: ['3.1', '3.2'],
    fails: ['3.1'],
    violate: dropHeader('content-encoding'),
  },
  {
    what: 'paths unescaped twice',
    asked: ['3.2', '3.3'],
    fails: ['3.2'],
    violate: asking(({ path }) => ({ path: path.replaceAll('%25', '%') })),
  },
  {
    what: 'an ETag of the value',
    asked: ['3.2', '3.3', '3.5'],
    fails: ['3.3'],
    violate: answering((reply) =>
      reply.headers.etag === undefined
        ? {}
        : { headers: { ...reply.headers, etag: `"x.${reply.body.length}"` } },
    ),
  },
  {
    what: 'preconditions not looked at',
    asked: ['3.3', '3.4'],
    fails: ['3.4'],
    violate: dropHeader('if-match', 'if-none-match'),
  },
  {
    what: 'the path of the database',
    asked: ['3.5', '3.6'],
    fails: ['3.6'],
    violate: answeringJson(/\/stats$/, (stats) => ({
      ...stats,
      database_path: `/var/${stats.database_path}`,
    })),
  },
  {
    what: 'a limit that is missing',
    asked: ['4'],
    fails: ['4.1'],
    violate: answeringJson(/^\/health$/, (health) => ({
      ...health,
      limits: without(health.limits as object, 'answerBytes'),
    })),
  },
  {
    what: 'a seq that counts reads too',
    asked: ['4'],
    fails: ['4.2'],
    violate: (
      (reads = 0) =>
      async (request, pass) => {
        const reply = await pass(request);
        if (request.path !== '/health') {
          if (request.method === 'GET') reads += 1;
          return reply;
        }
        const health = JSON.parse(textOf(reply));
        return { ...reply, body: JSON.stringify({ ...health, seq: health.seq + reads }) };
      }
    )(),
  },
  {
    what: 'auth announced, and nobody asked for a token',
    asked: ['4.1', '4.2', '4.3'],
    fails: ['4.3'],
    violate: answeringJson(/^\/health$/, (health) => ({
      ...health,
      capabilities: [...(health.capabilities as string[]), 'auth'],
    })),
  },
  {
    what: 'no HEAD',
    asked: ['1'],
    fails: ['1.7'],
    violate: answering((_, { method }) => (method === 'HEAD' ? { status: 405 } : {})),
  },
];
