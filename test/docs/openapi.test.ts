/**
 * docs/openapi.yaml by itself: complete by docs/contract.md, with examples that keep its own schemas; and the check that it
 * is for answers. That it is valid OpenAPI is the linter's to say.
 *
 * Spec: OpenAPI 3.1, JSON Schema 2020-12.
 */
import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { expectDocumented, mediaProblems, type Observed, schemaProblems } from '../support/openapi.ts';
import {
  deref,
  type MediaType,
  OPENAPI_FILE,
  openapi,
  operations,
  type ResponseObject,
} from '../support/openapi-document.ts';

const contract = await readFile(new URL('../../docs/contract.md', import.meta.url), 'utf8');
const text = await readFile(OPENAPI_FILE, 'utf8');

describe('docs/openapi.yaml', () => {
  it('has schemas that are valid JSON Schema 2020-12, without a keyword that nobody knows', () => {
    // Compiling throws otherwise.
    for (const schema of Object.values(openapi.components.schemas)) schemaProblems(schema, null);
  });

  it('has an example of every body, and each is valid', () => {
    const bodies = allBodies();
    expect(bodies.length).toBeGreaterThan(100);
    for (const { name, type, media } of bodies) {
      expect(Object.keys(media.examples ?? {}), name).not.toEqual([]);
      for (const [example, { value }] of Object.entries(media.examples ?? {})) {
        const body = type.endsWith('json') && !type.includes('nd') ? JSON.stringify(value) : String(value);
        expect(mediaProblems(type, media, body), `${name}: ${example}`).toEqual([]);
      }
    }
  });

  it('has examples of errors whose status is that of the answer', () => {
    for (const { name, media } of allBodies())
      for (const { value } of Object.values(media.examples ?? {})) {
        const [, status] = / (\d{3}) /.exec(name) ?? [];
        if (Number(status) >= 400) expect(value, name).toMatchObject({ status: Number(status) });
      }
  });

  it('has every route of the contract, and no other', () => {
    const routes = new Set<string>();
    const [servers = ''] = contract.split('## 12. Behavior of the SDK');
    const named = /`(GET|PUT|POST|DELETE)(?:` or `(POST)` `| )(\/(?:health|api)[^`? ]*)/g;
    for (const [, method, other, path = ''] of servers.matchAll(named))
      for (const each of [method, other]) if (each) routes.add(`${each} ${path.replace('<key>', '{key}')}`);
    // It is named because it is none (2.10).
    expect(routes.delete('DELETE /api/storage')).toBe(true);
    const described = operations().map(({ method, path }) => `${method} ${path}`);
    expect(described.toSorted()).toEqual([...routes].toSorted());
  });

  it('has every status, type and capability of the contract', () => {
    const [, table = ''] = /\| Status \| Use \|\n([\s\S]*?)\n\n/.exec(contract) ?? [];
    const statuses = [...table.matchAll(/^\| ([\d, ]+) \|/gm)].flatMap(([, list = '']) => list.split(', '));
    expect(statuses.length).toBeGreaterThan(10);
    // What comes from below the routes is `default` everywhere, with its statuses in the schema.
    for (const status of statuses) expect(text, status).toMatch(new RegExp(`'${status}':|\\b${status}\\b`));

    const [, types = ''] = /\*\*9\.2\*\* .* in this document: (.*)/.exec(contract) ?? [];
    const names = [...types.matchAll(/`([a-z-]+)`/g)].map(([, name]) => name);
    expect(listOf('ProblemType')).toEqual([
      'about:blank',
      ...names.map((name) => `urn:codeforge-storage:${name}`),
    ]);

    const [, capabilities = ''] = /\*\*4\.3\*\* ([\s\S]*?)\n- /.exec(contract) ?? [];
    expect(listOf('Capability')).toEqual(
      [...capabilities.matchAll(/`([a-z]+)`/g)]
        .map(([, name]) => name)
        .filter((name) => name !== 'capabilities'),
    );
  });

  it('cites clauses that exist', () => {
    const clauses = new Set([...contract.matchAll(/\*\*(\d+\.\d+)\*\*/g)].map(([, clause]) => clause));
    const descriptions: string[] = [];
    JSON.stringify(openapi, (name, value) => {
      if (name === 'description') descriptions.push(value.replace(/RFC \d+ §[\d.]+/g, ''));
      return value;
    });
    const cited = [...descriptions.join('\n').matchAll(/\d{1,2}\.\d{1,2}/g)].map(([clause]) => clause);
    expect(cited.length).toBeGreaterThan(80);
    expect(cited.filter((clause) => !clauses.has(clause))).toEqual([]);
  });
});

describe('an answer that is not documented is an error', () => {
  const headers = {
    'content-type': 'application/json',
    'x-content-type-options': 'nosniff',
    'cache-control': 'no-store',
  };
  const problem = (status: number, error: string) =>
    JSON.stringify({ error, type: 'about:blank', title: 'Title', status, detail: error });
  const found: Observed = {
    method: 'GET',
    path: '/api/storage/a/b?x',
    status: 200,
    headers: { ...headers, etag: '"k3f9.1"', 'cache-control': 'no-cache, private' },
    text: '{"value":{"anything":{"goes":1}}}',
  };
  const keys: Observed = {
    method: 'GET',
    path: '/api/v1/keys',
    status: 200,
    headers,
    text: '{"keys":[{"key":"a","rev":"1","size":1}],"next":null,"epoch":"k3f9","seq":1}',
  };
  const missing: Observed = { ...found, status: 404, text: problem(404, 'Key not found') };
  const exported: Observed = {
    method: 'GET',
    path: '/api/v1/export',
    status: 200,
    headers: { ...headers, 'content-type': 'application/x-ndjson' },
    text: [
      '{"format":"codeforge-storage","version":1,"epoch":"k3f9","seq":1,"timestamp":"2026-01-02T03:04:05Z"}',
      '{"key":"a","rev":"1","value":{"b":[]}}',
      '{"end":true,"count":1}',
      '',
    ].join('\n'),
  };
  const streamed: Observed = {
    method: 'GET',
    path: '/api/v1/changes?since=k3f9.0',
    status: 200,
    headers: { ...headers, 'content-type': 'text/event-stream' },
    text:
      'retry: 3000\n\nid: k3f9.1\nevent: put\ndata: {"type":"put","key":"a","rev":"1",\ndata: "value":1}\n\n' +
      ':\n\nid: k3f9.2\nevent: clear\ndata: {"ty',
  };

  it('takes what is documented, and says as what', () => {
    expect(expectDocumented(found)).toBe('GET /api/storage/{key} 200');
    expect(expectDocumented(keys)).toBe('GET /api/v1/keys 200');
    expect(expectDocumented({ ...keys, headers: new Headers(keys.headers as never) })).toBe(
      'GET /api/v1/keys 200',
    );
    expect(expectDocumented(missing)).toBe('GET /api/storage/{key} 404');
    expect(expectDocumented({ ...missing, method: 'HEAD', text: '' })).toBe('HEAD /api/storage/{key} 404');
    expect(expectDocumented({ ...found, status: 304, text: '' })).toBe('GET /api/storage/{key} 304');
    expect(expectDocumented(exported)).toBe('GET /api/v1/export 200');
    expect(expectDocumented(streamed)).toBe('GET /api/v1/changes 200');
    const late = { ...missing, status: 408, headers, text: problem(408, 'Too late') };
    expect(expectDocumented(late)).toBe('GET /api/storage/{key} 408');
    const problemType = { ...found.headers, 'content-type': 'application/problem+json' };
    expect(expectDocumented({ ...missing, headers: problemType })).toBe('GET /api/storage/{key} 404');
    const unknown = { ...missing, path: '/nowhere', headers, text: problem(404, 'Not found') };
    expect(expectDocumented(unknown)).toBe('GET no route 404');
    const patched = { ...missing, method: 'PATCH', status: 405, headers: { ...headers, allow: 'GET, PUT' } };
    expect(expectDocumented({ ...patched, text: problem(405, 'No') })).toBe('PATCH /api/storage/{key} 405');
  });

  const drifts: Array<[what: string, observed: Observed, told: RegExp]> = [
    ['a further member', { ...keys, text: keys.text.replace('{', '{"total":1,') }, /"total"/],
    [
      'a further member inside',
      { ...keys, text: keys.text.replace('"size"', '"age":1,"size"') },
      /keys\/0.*"age"/,
    ],
    ['a missing member', { ...keys, text: keys.text.replace('"next":null,', '') }, /'next'/],
    ['a number for a string', { ...keys, text: keys.text.replace('"1"', '1') }, /rev must be string/],
    ['a status', { ...keys, status: 500 }, /this status is not documented/],
    ['a status of HEAD', { ...keys, method: 'HEAD', status: 500, text: '' }, /this status is not documented/],
    ['a header that is not there', { ...found, headers }, /ETag is missing/],
    ['a header that is malformed', { ...found, headers: { ...found.headers, etag: 'W/"x"' } }, /ETag: W/],
    [
      'a content type',
      { ...keys, headers: { ...headers, 'content-type': 'text/html' } },
      /is text\/html, not/,
    ],
    ['a body that is no JSON', { ...keys, text: '{' }, /is no application\/json/],
    ['a body of HEAD', { ...keys, method: 'HEAD' }, /a body in the answer to HEAD/],
    ['a body of 304', { ...found, status: 304 }, /a body, where there is none/],
    [
      'other words of a missing key',
      { ...missing, text: problem(404, 'No such key') },
      /error must be equal/,
    ],
    ['an error with another status inside', { ...missing, text: problem(400, 'Key not found') }, /is 400/],
    ['an error of an old server', { ...missing, text: '{"error":"Key not found"}' }, /'title'/],
    [
      'a type that no clause names',
      { ...missing, text: missing.text.replace('about:blank', 'about:x') },
      /about:blank/,
    ],
    ['an unknown route that answers', { ...keys, path: '/api/v1/nothing' }, /this status is not documented/],
    ['an unknown method that answers', { ...keys, method: 'PATCH' }, /this status is not documented/],
    [
      'a method that is not allowed, without Allow',
      { ...missing, method: 'PATCH', status: 405 },
      /Allow is missing/,
    ],
    ['lines without an end', { ...exported, text: exported.text.replace(/.*end.*\n/, '') }, /contain/],
    [
      'lines after the end',
      { ...exported, text: `${exported.text}{"key":"b","rev":"2","value":1}` },
      /not the end/,
    ],
    [
      'lines that are miscounted',
      { ...exported, text: exported.text.replace(':1}\n', ':2}\n') },
      /counts 2 of 1/,
    ],
    [
      'an event of another type than its data',
      { ...streamed, text: streamed.text.replace('put', 'delete') },
      /type/,
    ],
    ['an event without an id', { ...streamed, text: streamed.text.replace('id: k3f9.1\n', '') }, /'id'/],
  ];
  for (const [what, observed, told] of drifts)
    it(`such as ${what}`, () => expect(() => expectDocumented(observed)).toThrow(told));
});

function listOf(schema: string): unknown {
  const found: Record<string, unknown> = { ...openapi.components.schemas[schema] };
  return found['x-extensible-enum'];
}

/** Every body of the document, of requests and answers, in each of its media types. */
function allBodies(): Array<{ name: string; type: string; media: MediaType }> {
  const of = (name: string, content: ResponseObject['content']) =>
    Object.entries(content ?? {}).map(([type, media]) => ({ name: `${name} ${type}`, type, media }));
  return operations().flatMap(({ method, path, operation: { requestBody, responses } }) => [
    ...(requestBody ? of(`${method} ${path}`, deref(requestBody).content) : []),
    ...Object.entries(responses).flatMap(([status, response]) =>
      of(`${method} ${path} ${status}`, deref(response).content),
    ),
  ]);
}
