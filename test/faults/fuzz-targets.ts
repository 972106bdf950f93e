/** What a fuzzer asks for: the routes of both levels with the methods and bodies that belong there, and their near misses. */
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

/** What is known of the server. */
export interface Target {
  readonly loot: Loot;
  readonly client: FuzzClient;
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
export const NO_METHODS = ['CONNECT', 'get', 'FOO', 'P\tUT', ''];

/** What a request is about. */
export interface Aim {
  readonly method: string;
  readonly target: string;
  readonly body?: Buffer;
  readonly type?: string;
}

const JSON_TYPE = 'application/json';
const NDJSON_TYPE = 'application/x-ndjson';

/** A route with the method and the body that belong there; or with others. */
export function aim(random: Random, target: Target): Aim {
  const right = rightRequest(random, target);
  const body = right.body !== undefined && random.chance(0.08) ? otherBody(random, right.body) : right.body;
  const method = random.chance(0.9)
    ? right.method
    : random.pick(random.pick([METHODS, METHODS, METHODS, ODD_METHODS, NO_METHODS]));
  const path = random.chance(0.9) ? right.target : nearMiss(random, right.target);
  return { ...right, method, target: path, ...(body !== undefined && { body }) };
}

function rightRequest(random: Random, { loot, client }: Target): Aim {
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
