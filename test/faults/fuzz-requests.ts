/**
 * Requests for a fuzzer: the routes of both levels and their near misses, every method, heads, framings and bodies of all
 * kinds. Most are HTTP, so that they get past the parser; the rest is what it is there for.
 */
import {
  batchBody,
  damage,
  type FuzzClient,
  importBody,
  jsonText,
  type Loot,
  ndjsonBody,
  plainKey,
  putBody,
} from './fuzz-bodies.ts';
import type { Random } from './random.ts';

/** What goes over one connection. */
export interface FuzzRequest {
  readonly pieces: readonly Buffer[];
  /** A method for each request in it. */
  readonly methods: readonly string[];
  /** Whether it is HTTP, and whole: then each request is owed an answer. */
  readonly isHttp: boolean;
}

/** What the requests of one fuzzer share. */
export interface Surroundings {
  /** Whether to send several requests before the first answer. */
  readonly pipelining: boolean;
  readonly loot: Loot;
  readonly client: FuzzClient;
  /** Headers of most requests, such as `Authorization`. */
  readonly headers: readonly string[];
}

const METHODS = [
  'GET',
  'GET',
  'GET',
  'PUT',
  'PUT',
  'POST',
  'POST',
  'POST',
  'DELETE',
  'HEAD',
  'OPTIONS',
  'PATCH',
];
const ODD_METHODS = ['TRACE', 'PROPFIND', 'PURGE', 'M-SEARCH', 'QUERY', 'LINK', 'MKCOL'];
/** What a parser need not know, or takes for a request to a proxy. */
const NO_METHODS = ['CONNECT', 'get', 'FOO', 'P\tUT', ''];

const HEADERS: ReadonlyArray<readonly string[]> = [
  [
    'Accept: */*',
    'Accept: text/event-stream',
    'Accept: application/problem+json',
    'Accept: ;q=,,',
    'Accept: text/html;q=9',
  ],
  [
    'Accept-Encoding: gzip',
    'Accept-Encoding: br;q=1, *;q=0',
    'Accept-Encoding: gzip;q=x',
    'Accept-Encoding:',
  ],
  [
    'Origin: http://localhost:3000',
    'Origin: https://evil.example',
    'Origin: null',
    'Origin: ',
    'Origin: \xff',
    'Origin: http://[',
  ],
  [
    'If-Match: *',
    'If-Match: "k3f9.1"',
    'If-Match: W/"a", "b"',
    'If-Match: "',
    `If-Match: ${'"a",'.repeat(900)}"b"`,
    'If-Match: \xe9',
  ],
  [
    'If-None-Match: *',
    'If-None-Match: "k3f9.1"',
    'If-None-Match: ,,,',
    'If-None-Match: W/',
    'If-None-Match: *, "a"',
  ],
  [
    'Authorization: Bearer x',
    'Authorization: Bearer',
    'Authorization: Basic YTpi',
    'Authorization: Bearer \xff\xfe',
    'Authorization: ',
  ],
  [
    'Last-Event-ID: k3f9.1',
    'Last-Event-ID: x',
    'Last-Event-ID: k3f9.99999999999999999999',
    'Last-Event-ID: \xc3\x28',
  ],
  [
    'Content-Encoding: gzip',
    'Content-Encoding: identity',
    'Range: bytes=0-1',
    'Range: bytes=9-',
    'TE: trailers',
  ],
  [
    'Expect: 100-continue',
    'Cookie: a=b; __proto__=c',
    'X-HTTP-Method-Override: DELETE',
    'X-Forwarded-For: \x80',
  ],
  [
    'Access-Control-Request-Method: PUT',
    'Access-Control-Request-Headers: __proto__',
    'Upgrade: websocket',
    'Upgrade: h2c',
  ],
  [
    `X-Long: ${'x'.repeat(6000)}`,
    'X-Empty:',
    '__proto__: a',
    'constructor: b',
    'X-Tab:\ta\tb',
    'Date: never',
  ],
];
/** What a server may refuse without a word of JSON, or take for two requests. */
const BROKEN_HEADERS = [
  ...[
    'Content-Length: 5',
    'Content-Length: -1',
    'Content-Length: 1e3',
    'Content-Length: 99999999999999999999',
  ],
  ...[
    'Transfer-Encoding: gzip',
    'Transfer-Encoding: chunked, chunked',
    'Transfer-Encoding: identity',
    'Expect: x',
  ],
  ...[
    'Transfer-Encoding : chunked',
    'No colon',
    ': no name',
    ' folded: a',
    'Nul: \0',
    'Host: localhost',
    'Host: a b',
    'Bare\rCR: a',
  ],
  ...[`X-Huge: ${'x'.repeat(40_000)}`, 'X: y\r\n'.repeat(500).trimEnd(), 'Connection: Upgrade'],
];
const HOSTS = [
  'localhost',
  'localhost:5001',
  '127.0.0.1',
  '[::1]:80',
  'LOCALHOST',
  'evil.example',
  'localhost.evil.example',
  '[::1',
  '',
];
const TYPES = [
  ...[
    'application/json; charset=utf-8',
    'application/json;charset=utf-16',
    'text/plain',
    'application/x-www-form-urlencoded',
  ],
  ...[
    'application/x-ndjson',
    'APPLICATION/JSON',
    'json',
    '',
    'application/json, text/plain',
    'multipart/form-data; boundary=a',
    '\xff',
  ],
];

/** One connection's worth. */
export function fuzzRequest(random: Random, surroundings: Surroundings): FuzzRequest {
  const several = random.chance(0.06) && surroundings.pipelining;
  const count = several ? 2 + random.below(3) : 1;
  const requests = Array.from({ length: count }, (_, i) => oneRequest(random, surroundings, i === count - 1));
  let bytes: Buffer = Buffer.concat(requests.map((request) => request.bytes));
  let isHttp = requests.every((request) => request.isHttp);
  if (random.chance(0.06)) {
    bytes = damage(random, bytes);
    isHttp = false;
  }
  return { pieces: cut(random, bytes), methods: requests.map(({ method }) => method), isHttp };
}

interface OneRequest {
  readonly bytes: Buffer;
  readonly method: string;
  readonly isHttp: boolean;
}

function oneRequest(random: Random, surroundings: Surroundings, isLast: boolean): OneRequest {
  const { method, target, body, type } = aim(random, surroundings);
  let isHttp = !NO_METHODS.includes(method);
  const lines = [`Host: ${random.chance(0.93) ? 'localhost' : random.pick(HOSTS)}`];
  if (random.chance(0.97)) lines.push(...surroundings.headers);
  if (isLast) lines.push('Connection: close');
  for (const family of HEADERS) if (random.chance(0.05)) lines.push(random.pick(family));
  if (random.chance(0.02)) lines.push(...lines.slice(1));
  if (random.chance(0.04)) {
    lines.push(random.pick(BROKEN_HEADERS));
    isHttp = false;
  }
  const chunked = body !== undefined && random.chance(0.25);
  if (body !== undefined) {
    if (type !== undefined) lines.push(`Content-Type: ${random.chance(0.95) ? type : random.pick(TYPES)}`);
    lines.push(chunked ? 'Transfer-Encoding: chunked' : `Content-Length: ${body.length}`);
  }
  const version = random.chance(0.98) ? '1.1' : '1.0';
  // It has no chunks, and nothing comes after it.
  if (version === '1.0' && (chunked || !isLast)) isHttp = false;
  const head = Buffer.from(`${method} ${target} HTTP/${version}\r\n${lines.join('\r\n')}\r\n\r\n`, 'latin1');
  const framed = chunked ? inChunks(random, body) : (body ?? Buffer.alloc(0));
  return { bytes: Buffer.concat([head, framed]), method, isHttp };
}

interface Aim {
  readonly method: string;
  readonly target: string;
  readonly body?: Buffer;
  readonly type?: string;
}

const JSON_TYPE = 'application/json';
const NDJSON_TYPE = 'application/x-ndjson';

/** A route with the method and the body that belong there; or with others. */
function aim(random: Random, surroundings: Surroundings): Aim {
  const right = rightRequest(random, surroundings);
  const body = right.body !== undefined && random.chance(0.08) ? otherBody(random, right.body) : right.body;
  const method = random.chance(0.9)
    ? right.method
    : random.pick(random.pick([METHODS, METHODS, METHODS, ODD_METHODS, NO_METHODS]));
  const target = random.chance(0.9) ? right.target : nearMiss(random, right.target);
  return { ...right, method, target, ...(body !== undefined && { body }) };
}

function rightRequest(random: Random, { loot, client }: Surroundings): Aim {
  const post = (target: string, type: string, body: string): Aim => ({
    method: 'POST',
    target,
    type,
    body: Buffer.from(body),
  });
  const get = (target: string): Aim => ({ method: 'GET', target });
  const key = `/api/storage/${encodeURIComponent(plainKey(random))}`;
  const queries = (...pairs: ReadonlyArray<readonly [name: string, values: readonly string[]]>): string =>
    queryOf(random, pairs);
  const limits = ['1', '2', '1000', '0', '-1', '1e3', '10001', '99999999999999999999', ''];
  return random.pick([
    () => post('/api/v1/batch', JSON_TYPE, batchBody(random, loot, client)),
    () => post('/api/v1/batch', JSON_TYPE, batchBody(random, loot, client)),
    () => post('/api/v1/batch', JSON_TYPE, batchBody(random, loot, client)),
    () =>
      get(
        `/api/v1/keys${queries(['prefix', ['a', '', '%ff', '%00', '%F0%9F%97%9D', '%']], ['after', ['a', '%zz']], ['limit', limits])}`,
      ),
    () => {
      const cursors = [
        ...loot.cursors,
        ...loot.cursors,
        'k3f9.1',
        'x',
        '.',
        '.1',
        'k3f9.-1',
        'k3f9.1.1',
        '%00',
      ];
      return get(
        `/api/v1/changes${queries(['since', cursors], ['limit', limits], ['wait', ['0', '0', '61', 'x', '-1', '0.01']])}`,
      );
    },
    () => get('/api/v1/stats'),
    () => get('/api/v1/export'),
    () => {
      const target = `/api/v1/import${queries(['mode', ['overwrite', 'skip', 'fail', 'x', '']], ['dry_run', ['1', '0', 'x']])}`;
      return post(target, NDJSON_TYPE, ndjsonBody(random));
    },
    () => get('/health'),
    () => get(key),
    () => ({ ...post(key, JSON_TYPE, putBody(random)), method: random.pick(['PUT', 'PUT', 'POST']) }),
    () => ({ ...post(key, JSON_TYPE, putBody(random)), method: 'PUT' }),
    () => ({ method: 'DELETE', target: key }),
    () => get(`/api/storage/${random.pick(['keys', 'stats', 'export'])}`),
    () => post('/api/storage/import', JSON_TYPE, importBody(random)),
    () => ({ method: 'POST', target: '/api/storage/clear' }),
    () => ({ method: 'DELETE', target: '/api/storage' }),
  ])();
}

function queryOf(
  random: Random,
  pairs: ReadonlyArray<readonly [name: string, values: readonly string[]]>,
): string {
  const chosen = pairs.filter(() => random.chance(0.5));
  if (random.chance(0.1)) chosen.push(...chosen);
  if (random.chance(0.03)) chosen.push(['__proto__', ['1']], ['constructor[prototype][polluted]', ['1']]);
  return chosen.length === 0
    ? ''
    : `?${chosen.map(([name, values]) => `${name}=${random.pick(values)}`).join('&')}`;
}

const otherBody = (random: Random, body: Buffer): Buffer =>
  random.pick<() => Buffer>([
    () => damage(random, body),
    () => Buffer.from(jsonText(random)),
    () => random.bytes(random.below(300)),
    () => Buffer.alloc(0),
    () => Buffer.from(body.toString(), 'utf16le'),
    () => Buffer.concat([Buffer.from([0xef, 0xbb, 0xbf]), body]),
    () => Buffer.concat([body, Buffer.from([0xc3, 0x28])]),
    () => Buffer.concat([body, Buffer.alloc(random.pick([10_000, 300_000]), ' ')]),
  ])();

const nearMiss = (random: Random, target: string): string =>
  random.pick([
    () => `${target}/`,
    () => target.replace('/api', '//api'),
    () => target.toUpperCase(),
    () => target.replace('a', '%61'),
    () => target.replace('/api/', '/api%2F'),
    () => `/api/v1/../storage/a`,
    () => `/api/storage/%2e%2e/%2e%2e/health`,
    () => `${target}%00`,
    () => `${target}%zz`,
    () => `${target}%ff%fe`,
    () => `${target}?${'a=b&'.repeat(500)}`,
    () => `${target};a=b#c`,
    () => `/api/storage/${'k'.repeat(4000)}`,
    () => `/api/storage/${'%F0%9F%97%9D'.repeat(300)}`,
    () => `http://localhost${target}`,
    () =>
      random.pick([
        '/',
        '/api',
        '/api/',
        '/api/v1',
        '/api/v1/',
        '/api/v2/batch',
        '/favicon.ico',
        '/api/storage/',
        '/.env',
      ]),
  ])();

function inChunks(random: Random, body: Buffer): Buffer {
  const parts: Buffer[] = [];
  const extension = random.chance(0.1) ? ';name="va\\"lue"' : '';
  const least = Math.ceil(body.length / 1000);
  for (let at = 0; at < body.length; ) {
    const chunk = body.subarray(at, at + least + random.below(random.pick([3, 64, 4096])));
    const size = random.chance(0.1)
      ? `000${chunk.length.toString(16).toUpperCase()}`
      : chunk.length.toString(16);
    parts.push(Buffer.from(`${size}${extension}\r\n`), chunk, Buffer.from('\r\n'));
    at += chunk.length;
  }
  return Buffer.concat([
    ...parts,
    Buffer.from(random.chance(0.05) ? '0\r\nX-Trailer: a\r\n\r\n' : '0\r\n\r\n'),
  ]);
}

function cut(random: Random, bytes: Buffer): Buffer[] {
  if (random.chance(0.85)) return [bytes];
  const places = Array.from({ length: 1 + random.below(6) }, () => random.below(bytes.length)).sort(
    (a, b) => a - b,
  );
  return [0, ...places].map((from, i) => bytes.subarray(from, places[i] ?? bytes.length));
}
