/** A request for each status that the reference server gives without further ado, by docs/openapi.yaml. */

/** What goes out with a request. */
export interface Sent {
  readonly headers?: Record<string, string>;
  readonly body?: string;
  /** Leave when the answer has come so far. */
  readonly until?: RegExp;
}

/** Requests in their order, with the status that each gets. */
type Requests = ReadonlyArray<readonly [status: number, method: string, path: string, sent?: Sent]>;

export const json = (value: unknown, headers = {}): Sent => ({
  headers: { 'content-type': 'application/json', ...headers },
  body: JSON.stringify(value),
});
export const batch = (body: object, ...ops: object[]): Sent => json({ ...body, ops });
export const lines = (...values: unknown[]): Sent => ({
  headers: { 'content-type': 'application/x-ndjson' },
  body: values.map((value) => `${JSON.stringify(value)}\n`).join(''),
});

export const HEADER = {
  format: 'codeforge-storage',
  version: 1,
  epoch: 'a',
  seq: 1,
  timestamp: '2026-01-02T03:04:05Z',
};
export const RECORD = { key: 'a', rev: '1', value: { b: 1 } };
export const END = { end: true, count: 1 };
const CLIENT = 'documented-answers-0001';
const TEXT: Sent = { headers: { 'content-type': 'text/plain' }, body: '{}' };
export const VALUE = json({ value: { a: 1 } });
export const STREAM = { accept: 'text/event-stream' };

export const LEVEL_0: Requests = [
  [200, 'GET', '/health'],
  [200, 'PUT', '/api/storage/a/b', VALUE],
  [400, 'PUT', '/api/storage/a', json({})],
  [412, 'PUT', '/api/storage/a', json({ value: 1 }, { 'if-match': '*' })],
  [415, 'PUT', '/api/storage/a', TEXT],
  [200, 'POST', '/api/storage/keys', VALUE],
  [400, 'POST', '/api/storage/a%00', VALUE],
  [412, 'POST', '/api/storage/a/b', json({ value: 1 }, { 'if-none-match': '*' })],
  [415, 'POST', '/api/storage/a', TEXT],
  [200, 'GET', '/api/storage/a%2Fb'],
  [200, 'HEAD', '/api/storage/a%2Fb'],
  [304, 'GET', '/api/storage/a/b', { headers: { 'if-none-match': '*' } }],
  [400, 'GET', '/api/storage/%'],
  [404, 'GET', '/api/storage/none'],
  [404, 'HEAD', '/api/storage/none'],
  [404, 'GET', '/api/storage/none', { headers: { accept: 'application/problem+json' } }],
  [412, 'GET', '/api/storage/a/b', { headers: { 'if-match': '"x"' } }],
  [200, 'GET', '/api/storage/keys'],
  [200, 'GET', '/api/storage/export'],
  [200, 'GET', '/api/storage/stats'],
  [400, 'DELETE', '/api/storage/%'],
  [404, 'DELETE', '/api/storage/none'],
  [412, 'DELETE', '/api/storage/a/b', { headers: { 'if-match': '"x"' } }],
  [200, 'DELETE', '/api/storage/a/b'],
  [200, 'POST', '/api/storage/import', json({ c: 1, d: { e: 2 } })],
  [400, 'POST', '/api/storage/import', json([])],
  [415, 'POST', '/api/storage/import', TEXT],
  [200, 'POST', '/api/storage/clear'],
  [404, 'DELETE', '/api/storage'],
  [404, 'GET', '/nowhere'],
  [405, 'PATCH', '/api/storage/a'],
  [405, 'POST', '/health'],
  [417, 'GET', '/health', { headers: { expect: 'x' } }],
  [
    204,
    'OPTIONS',
    '/api/storage/a',
    { headers: { origin: 'http://localhost', 'access-control-request-method': 'PUT' } },
  ],
  [
    204,
    'OPTIONS',
    '/api/v1/batch',
    { headers: { origin: 'http://evil.example', 'access-control-request-method': 'POST' } },
  ],
];

export const LEVEL_1: Requests = [
  [
    200,
    'POST',
    '/api/v1/batch',
    batch(
      { client: CLIENT, m: 2, settled: 1 },
      { op: 'put', key: 'a', value: { b: 1 } },
      { op: 'get', key: 'a' },
      { op: 'head', key: 'a' },
      { op: 'get', key: 'none' },
      { op: 'put', key: 'a', value: 1, ifRev: null },
      { op: 'put', key: '', value: 1 },
      { op: 'delete', key: 'a', ifRev: '0' },
      { op: 'delete', key: 'none' },
      { op: 'check', key: 'none', ifRev: null },
      { op: 'check', key: 'a', ifRev: null },
      { op: 'clear', ifSeq: '0' },
      { op: 'put', key: 'large', value: 'x'.repeat(8_380_416) },
    ),
  ],
  [
    200,
    'POST',
    '/api/v1/batch',
    batch({ client: CLIENT, m: 3 }, { op: 'put', key: 'a', value: 1, ifRev: null }, { op: 'get', key: 'a' }),
  ],
  [
    200,
    'POST',
    '/api/v1/batch',
    batch({ client: CLIENT, m: 3 }, { op: 'put', key: 'a', value: 1, ifRev: null }, { op: 'get', key: 'a' }),
  ],
  [409, 'POST', '/api/v1/batch', batch({ client: CLIENT, m: 3 })],
  [409, 'POST', '/api/v1/batch', batch({ client: CLIENT, m: 1 }, { op: 'delete', key: 'a' })],
  [200, 'POST', '/api/v1/batch', json({ client: CLIENT, void: 3 })],
  [200, 'POST', '/api/v1/batch', json({ client: CLIENT, void: 4 })],
  [409, 'POST', '/api/v1/batch', batch({ client: CLIENT, m: 4 }, { op: 'delete', key: 'a' })],
  [409, 'POST', '/api/v1/batch', batch({ account: 'other' })],
  [400, 'POST', '/api/v1/batch', batch({ client: CLIENT, m: 0 })],
  [
    200,
    'POST',
    '/api/v1/batch',
    batch({ atomic: true }, { op: 'put', key: 'a', value: 1 }, { op: 'clear', ifSeq: '0' }),
  ],
  [400, 'POST', '/api/v1/batch', batch({}, { op: 'move' })],
  [409, 'POST', '/api/v1/batch', batch({ epoch: 'other' }, { op: 'get', key: 'a' })],
  [415, 'POST', '/api/v1/batch', TEXT],
  [405, 'GET', '/api/v1/batch'],
  [404, 'GET', '/api/v1/nothing'],
  [200, 'POST', '/api/v1/batch', batch({}, { op: 'put', key: 'b', value: 1 }, { op: 'delete', key: 'b' })],
  [200, 'GET', '/api/v1/keys?limit=1'],
  [200, 'HEAD', '/api/v1/keys'],
  [400, 'GET', '/api/v1/keys?limit=0'],
  [200, 'GET', '/api/v1/stats'],
  [200, 'GET', '/api/v1/changes'],
  [200, 'GET', '/api/v1/changes', { headers: STREAM, until: /event: delete[\s\S]*\n\n$/ }],
  [200, 'GET', '/api/v1/changes?since=other.1', { headers: STREAM, until: /event: reset[\s\S]*\n\n$/ }],
  [400, 'GET', '/api/v1/changes?since=x'],
  [409, 'GET', '/api/v1/changes?since=other.1'],
  [200, 'GET', '/api/v1/export'],
  [200, 'POST', '/api/v1/import', lines(HEADER, RECORD, END)],
  [200, 'POST', '/api/v1/import?mode=skip&dry_run=1', lines(HEADER, RECORD, END)],
  [400, 'POST', '/api/v1/import', lines(HEADER, RECORD)],
  [400, 'POST', '/api/v1/import?mode=x', lines(HEADER, RECORD, END)],
  [412, 'POST', '/api/v1/import?mode=fail', lines(HEADER, RECORD, END)],
  [415, 'POST', '/api/v1/import', TEXT],
  [200, 'POST', '/api/v1/batch', batch({}, { op: 'clear' })],
  [200, 'GET', '/api/v1/changes'],
  [200, 'GET', '/api/v1/changes', { headers: STREAM, until: /event: clear[\s\S]*\n\n$/ }],
];
