/**
 * Requests for a fuzzer: heads and framings of all kinds. Most are HTTP, so that they get past the parser; the rest is what
 * it is there for.
 */
import { damage } from './fuzz-bodies.ts';
import { aim, NO_METHODS, type Target } from './fuzz-targets.ts';
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
export interface Surroundings extends Target {
  /** Whether to send several requests before the first answer. */
  readonly pipelining: boolean;
  /** Headers of most requests, such as `Authorization`. */
  readonly headers: readonly string[];
}

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
