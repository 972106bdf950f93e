/** Violations of sections 6, 7 and 9 to 11, and of tokens, and the clauses that the suite must name. */
import { pathOf, type Tokens } from './subject.ts';
import {
  answering,
  answeringJson,
  asking,
  decoded,
  dropHeader,
  dropParameter,
  encoded,
  isBatch,
  pagingByOffset,
  textOf,
  type Violation,
  without,
} from './violate.ts';
import type { Violate } from './violating-server.ts';

export const LEVEL_1_VIOLATIONS: readonly Violation[] = [
  {
    what: 'a next on the last page',
    asked: ['6.1', '6.3', '6.4'],
    fails: ['6.1'],
    violate: answeringJson(/\/v1\/keys/, (page) => ({
      ...page,
      next: (page.keys as Array<{ key: string }>).at(-1)?.key ?? null,
    })),
  },
  {
    what: 'pages by offset',
    asked: ['6'],
    fails: ['6.2'],
    violate: pagingByOffset(),
  },
  {
    what: 'sizes in characters',
    asked: ['5.1', '6'],
    fails: ['6.1'],
    violate: answeringJson(/\/v1\/keys/, (page) => ({
      ...page,
      keys: (page.keys as Array<{ size: number }>).map((key) => ({ ...key, size: key.size - 1 })),
    })),
  },
  {
    what: 'malformed limits taken for the usual one',
    asked: ['6.1', '6.4'],
    fails: ['6.4'],
    violate: asking(({ path }) => ({ path: path.replace(/limit=(?!\d+\b(?!\.))[^&]*/, '') })),
  },
  {
    what: 'no event for a clear',
    asked: ['7.2', '7.4', '7.5'],
    fails: ['7.2'],
    violate: answeringJson(/\/changes/, (answer) => ({
      ...answer,
      changes: (answer.changes as Array<{ type: string }>).filter(({ type }) => type !== 'clear'),
    })),
  },
  {
    what: 'wait not looked at',
    asked: ['7.2', '7.3', '7.5'],
    fails: ['7.3'],
    violate: dropParameter('wait'),
  },
  {
    what: 'a change skipped where many are written',
    asked: ['7.2', '7.3', '7.4', '7.5'],
    fails: ['7.4'],
    violate: answeringJson(/\/changes/, (answer) => ({
      ...answer,
      changes: (answer.changes as Array<{ key?: string }>).filter(({ key }) => key !== 'w3-7'),
    })),
  },
  {
    what: 'cursors of any epoch taken',
    asked: ['7.1', '7.2', '7.5', '7.7'],
    fails: ['7.5', '7.7'],
    violate: asking(({ path, headers }) => ({
      path: path.replace(/since=(?:other|[\w-]+x)\.\d+/, ''),
      headers: without(headers, 'last-event-id') as Record<string, string>,
    })),
  },
  {
    what: 'errors of the old form',
    asked: ['9.1', '9.2', '9.3'],
    fails: ['9.1', '9.2'],
    violate: answering((reply) =>
      reply.status >= 400 && textOf(reply).startsWith('{')
        ? { body: JSON.stringify({ error: JSON.parse(textOf(reply)).error }) }
        : {},
    ),
  },
  {
    what: 'a 500 to what is malformed',
    asked: ['9.3', '9.4'],
    fails: ['9.4'],
    violate: answering(({ status }) => (status === 400 ? { status: 500 } : {})),
  },
  {
    // As a proxy does that reads only the first Host, and the path of a target.
    what: 'one Host of several',
    asked: ['9.3', '9.5', '9.6'],
    fails: ['9.6'],
    violate: asking(() => ({})),
  },
  {
    what: 'no compression',
    asked: ['9.3', '9.5'],
    fails: ['9.5'],
    violate: dropHeader('accept-encoding'),
  },
  {
    what: 'no look at the origin',
    asked: ['9.11', '9.13', '9.14'],
    fails: ['9.13'],
    violate: async (request, pass) => {
      const reply = await pass({
        ...request,
        headers: without(request.headers, 'origin') as Record<string, string>,
      });
      const { origin } = request.headers;
      const allowed = origin?.startsWith('http://localhost') ? { 'access-control-allow-origin': origin } : {};
      return { ...reply, headers: { ...reply.headers, ...allowed } };
    },
  },
  {
    what: 'no look at the host',
    asked: ['9.11', '9.14'],
    fails: ['9.14'],
    violate: asking(({ headers }) => ({ headers: { ...headers, host: 'localhost' } })),
  },
  {
    what: 'a cookie',
    asked: ['9.11', '9.14'],
    fails: ['9.11'],
    violate: answering(({ headers }) => ({ headers: { ...headers, 'set-cookie': 'a=b' } })),
  },
  {
    what: 'a preflight for a minute',
    asked: ['9.11', '9.15'],
    fails: ['9.15'],
    violate: answering(({ headers }) =>
      headers['access-control-max-age'] ? { headers: { ...headers, 'access-control-max-age': '60' } } : {},
    ),
  },
  {
    what: 'normalised keys',
    asked: ['10'],
    fails: ['10.1', '10.2'],
    violate: asking((request) =>
      isBatch(request) ? { body: encoded(decoded(request.body).normalize('NFC')) } : {},
    ),
  },
  {
    what: 'envelopes opened',
    asked: ['11'],
    fails: ['11.3'],
    violate: answering((reply, { path }) =>
      path === pathOf('a') ? { body: textOf(reply).replace('{"$cf":-1}', 'null') } : {},
    ),
  },
  {
    what: 'too few bytes',
    asked: ['6.3', '6.4'],
    fails: ['6.3'],
    violate: answeringJson(/\/v1\/stats/, (stats) => ({ ...stats, sizeBytes: Number(stats.sizeBytes) - 1 })),
  },
  {
    what: 'a page of HTML for what is not there',
    asked: ['9.3', '9.5'],
    fails: ['9.3'],
    violate: answering(({ status }) => (status === 404 ? { body: '<html>' } : {})),
  },
];

/** Of a server with these tokens. */
export function tokenViolations({ admin, write, other }: Tokens): Violation[] {
  const replacing = (token: string | undefined): Violate =>
    asking(({ headers }) =>
      headers.authorization === `Bearer ${token}`
        ? { headers: { ...headers, authorization: `Bearer ${admin}` } }
        : {},
    );
  return [
    {
      what: 'the scope not looked at',
      asked: ['4', '9.10', '9.11'],
      fails: ['9.10'],
      violate: replacing(write),
    },
    {
      what: 'one tenant for all',
      asked: ['4', '9.10', '9.11'],
      fails: ['9.11'],
      violate: replacing(other),
    },
    {
      what: 'a refusal that does not say what is missing',
      asked: ['4', '9.10', '9.11'],
      fails: ['9.10'],
      violate: answering(({ headers }) => ({
        headers: without(headers, 'www-authenticate') as Record<string, string>,
      })),
    },
    {
      what: 'a position for everybody',
      asked: ['4', '9.10', '9.11'],
      fails: ['4.4', '9.11'],
      violate: asking(({ path, headers }) =>
        path === '/health' ? { headers: { ...headers, authorization: `Bearer ${admin}` } } : {},
      ),
    },
  ];
}
