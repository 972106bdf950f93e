import type { ServerResponse } from 'node:http';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createStorage, type KeyValueStorage, StorageError, type StorageOptions } from '../../src/index.ts';
import { always, html, json, type OldServer, startOldServer } from '../support/old-server.ts';
import { rejection } from '../support/rejection.ts';
import { lendIndexedDb, withoutIndexedDb } from '../support/without-indexeddb.ts';

withoutIndexedDb();

let server: OldServer;
let storage: KeyValueStorage;
const lines: string[] = [];
const logger = {
  info: (line: string) => void lines.push(`info: ${line}`),
  warn: (line: string) => void lines.push(`warn: ${line}`),
};
let databases = 0;

function open(options: StorageOptions = {}): KeyValueStorage {
  databases += 1;
  storage = createStorage({
    useFlask: true,
    flaskUrl: server.url,
    logger,
    database: `flask-${databases}`,
    ...options,
  });
  return storage;
}

beforeEach(async () => {
  server = await startOldServer();
  lines.length = 0;
});
afterEach(async () => {
  await storage?.close();
  await server.close();
});

describe('selecting the server', () => {
  it('says indexeddb until the server has answered, and logs the selection once', async () => {
    open();
    expect(storage.getBackendType()).toBe('indexeddb');
    await storage.ready();
    await storage.get('a');
    expect(storage.getBackendType()).toBe('flask');
    expect(lines).toEqual([`info: @codeforge/storage uses the Flask backend at ${server.url}/`]);
  });

  it('sends nothing before the first call', async () => {
    open();
    // What it had sent would have arrived before this.
    await fetch(`${server.url}/api/storage/keys`);
    expect(server.seen.map(({ url }) => url)).toEqual(['/api/storage/keys']);
  });

  it('sends no header that an old server’s CORS answer would refuse', async () => {
    open();
    await storage.set('a', 1);
    await storage.get('a');
    const allowed = [
      'accept',
      'accept-encoding',
      'accept-language',
      'cache-control',
      'connection',
      'content-length',
    ];
    const names = new Set(server.seen.flatMap(({ headers }) => Object.keys(headers)));
    for (const name of [
      ...allowed,
      'content-type',
      'host',
      'pragma',
      'sec-fetch-mode',
      'user-agent',
      'transfer-encoding',
    ])
      names.delete(name);
    expect([...names]).toEqual([]);
    for (const { method, headers } of server.seen)
      if (method === 'GET') expect(headers['content-type']).toBeUndefined();
  });

  it('accepts a base URL with a path, with and without a trailing slash', async () => {
    const deep = await startOldServer('/deep/base');
    for (const flaskUrl of [deep.url, `${deep.url}/`]) {
      open({ flaskUrl });
      await storage.set('a', flaskUrl);
      expect(await storage.get('a')).toBe(flaskUrl);
      expect(storage.getBackendType()).toBe('flask');
      await storage.close();
    }
    await deep.close();
  });

  for (const [name, spoil] of [
    ['foreign', (response) => response.writeHead(200, html).end('<p>ok</p>')],
    ['missing', (response) => response.writeHead(404, html).end('<h1>Not Found</h1>')],
    ['not readable', (response) => response.destroy()],
    ['a redirect', (response) => response.writeHead(301, { location: '/elsewhere' }).end()],
  ] satisfies ReadonlyArray<readonly [string, (response: ServerResponse) => unknown]>)
    it(`finds a server whose /health is ${name}`, async () => {
      server.intercept = (request, response) => {
        if (request.url !== '/health') return false;
        spoil(response);
        return true;
      };
      open();
      await storage.ready();
      expect(storage.getBackendType()).toBe('flask');
      expect(storage.status().level).toBe(0);
    });
});

describe('a server that fails later', () => {
  const failures: ReadonlyArray<readonly [string, OldServer['intercept']]> = [
    ['200 with HTML', always(200, html, '<p>hello</p>')],
    ['404 with HTML', always(404, html, '<p>hello</p>')],
    ['a JSON 404 of something else', always(404, json, '{"error":"Not Found"}')],
    ['an empty 200', always(200, json, '')],
    ['truncated JSON', always(200, json, '{"value":{"a":')],
    ['JSON without what was asked for', always(200, json, '{}')],
    ['success that is not true', always(200, json, '{"success":false,"error":"no"}')],
    ['a list', always(200, json, '[1]')],
    ['a redirect', always(307, { location: '/elsewhere' }, '')],
    ['502', always(502, html, 'Bad Gateway')],
    ['a closed connection', (request) => Boolean(request.socket.destroy())],
  ];
  for (const [name, intercept] of failures) {
    it(`never takes ${name} for an empty store, a missing key or a stored value`, async () => {
      open();
      await storage.set('a', 1);
      server.intercept = intercept;
      const calls = [
        ...[
          storage.get('a'),
          storage.has('a'),
          storage.set('b', 1),
          storage.setMany([
            ['c', 1],
            ['d', 2],
          ]),
        ],
        ...[storage.delete('a'), storage.keys(), storage.stats(), storage.clear(), storage.entries().next()],
      ];
      for (const call of await Promise.all(calls.map(rejection))) {
        expect(call).toBeInstanceOf(StorageError);
        expect(call).toMatchObject({ code: 'unavailable' });
      }
      expect([...server.data.keys()]).toEqual(['a']);
    });
  }

  it('never takes a foreign answer to /export for a store without the keys', async () => {
    open();
    await storage.setMany(Array.from({ length: 60 }, (_, i) => [`k${i}`, i]));
    await storage.set('keys', 'shadowed');
    server.intercept = (request, response) => {
      if (request.url !== '/api/storage/export') return false;
      response.writeHead(200, json).end('{"success":false,"error":"maintenance"}');
      return true;
    };
    const keys = Array.from({ length: 60 }, (_, i) => `k${i}`);
    expect(await storage.getMany(keys)).toEqual(keys.map((_, i) => i));
    expect(await rejection(storage.get('keys'))).toMatchObject({ code: 'unavailable' });
    const back = lendIndexedDb(() => storage.migrateToIndexedDB());
    expect(await rejection(back)).toMatchObject({ code: 'migration', migrated: 0 });
    await storage.delete('keys');
    expect(await Array.fromAsync(storage.entries())).toHaveLength(60);
  });

  it('lets no failing shortcut fail what it was a shortcut for', async () => {
    open();
    await storage.setMany(Array.from({ length: 60 }, (_, i) => [`k${i}`, i]));
    server.intercept = (request, response) => {
      if (request.url !== '/api/storage/stats') return false;
      response.writeHead(403, json).end('{"error":"no statistics"}');
      return true;
    };
    const [values] = await Promise.all([
      storage.getMany(['k1', ...Array.from({ length: 60 }, (_, i) => `k${i}`)]),
      storage.set('unrelated', 1),
    ]);
    expect(values[0]).toBe(1);
    expect(server.data.get('unrelated')).toBe(1);
  });

  it('lets a failing export fail only the keys that nothing else can read', async () => {
    open();
    await storage.setMany([
      ['a', 1],
      ['keys', 2],
    ]);
    server.intercept = (request, response) => {
      if (request.url !== '/api/storage/export') return false;
      response.writeHead(500, json).end('{"error":"too much"}');
      return true;
    };
    const outcomes = await Promise.allSettled([
      storage.get('a'),
      storage.get('keys'),
      storage.get('missing'),
    ]);
    expect(outcomes[0]).toMatchObject({ value: 1 });
    expect(outcomes[1]).toMatchObject({ reason: { code: 'unavailable' } });
    expect(outcomes[2]).toMatchObject({ value: undefined });
  });

  it('sends nothing again that got no answer', async () => {
    open();
    await storage.ready();
    for (const call of [() => storage.set('a', 1), () => storage.get('a'), () => storage.delete('a')]) {
      const before = server.seen.length;
      server.intercept = (request) => Boolean(request.socket.destroy());
      expect(await rejection(call())).toMatchObject({ code: 'unavailable' });
      // undici may open a second connection for a request whose first was closed before it was written.
      expect(server.seen.length - before).toBe(1);
    }
  });

  it('repeats a request after 503 when Retry-After has passed, and not at all where that is beyond the time limit', async () => {
    open({ timeout: 5000 });
    await storage.ready();
    for (const [seconds, attempts] of [
      ['1', 2],
      ['60', 1],
    ] as const) {
      const before = server.seen.length;
      let refusals = 1;
      server.intercept = (_, response) => {
        if (refusals-- <= 0) return false;
        response.writeHead(503, { ...json, 'retry-after': seconds }).end('{"error":"busy"}');
        return true;
      };
      const begun = performance.now();
      const outcome = await storage.set('a', 1).catch(({ code }) => code);
      const took = performance.now() - begun;
      expect([outcome, server.seen.length - before]).toEqual([
        attempts === 2 ? undefined : 'unavailable',
        attempts,
      ]);
      if (attempts === 2) expect(took).toBeGreaterThanOrEqual(1000);
      else expect(took).toBeLessThan(5000);
    }
  });

  it('does not believe an import that stored fewer entries than were sent: it sends them one by one', async () => {
    open();
    server.intercept = (request, response) => {
      if (request.url !== '/api/storage/import') return false;
      response.writeHead(200, json).end('{"success":true,"imported":1}');
      return true;
    };
    await storage.setMany([
      ['a', 1],
      ['b', 2],
    ]);
    expect([...server.data]).toEqual([
      ['a', 1],
      ['b', 2],
    ]);
  });

  it('stores the rest of a batch when the server fails at one value only, and gives up when it fails at all', async () => {
    open();
    await storage.ready();
    const failing =
      (marker: string): OldServer['intercept'] =>
      (request, response, body) => {
        if (request.method === 'GET' || !body.includes(marker)) return false;
        response.writeHead(500, json).end('{"error":"boom"}');
        return true;
      };
    server.intercept = failing('BAD');
    const outcomes = await Promise.allSettled(
      ['a', 'BAD', 'c'].map((value, i) => storage.set(`k${i}`, value)),
    );
    expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
    server.intercept = failing('value');
    const before = server.seen.length;
    await Promise.allSettled(Array.from({ length: 16 }, (_, i) => storage.set(`k${i}`, 'value')));
    expect(server.seen.length - before).toBeLessThan(40);
  }, 60_000);

  it('names the key whose value another program broke, and lets has() and others be', async () => {
    server.data.set('broken', { $cf: [['Unknown', 1]] }).set('fine', 1);
    open();
    const outcomes = await Promise.allSettled([
      storage.has('broken'),
      storage.get('broken'),
      storage.get('fine'),
    ]);
    expect(outcomes[0]).toMatchObject({ value: true });
    expect(outcomes[1]).toMatchObject({
      reason: { code: 'unsupported-value', message: expect.stringContaining('broken') },
    });
    expect(outcomes[2]).toMatchObject({ value: 1 });
    const back = lendIndexedDb(() => storage.migrateToIndexedDB());
    expect((await rejection(back)).message).toContain('Key broken');
  });

  it('closes at once while the server hangs at the start, and sends nothing after that', async () => {
    server.intercept = () => true;
    for (let turns = 0; turns < 12; turns += 1) {
      open();
      const call = rejection(storage.set('a', 1));
      for (let turn = 0; turn < turns; turn += 1) await undefined;
      const started = performance.now();
      await storage.close();
      expect(performance.now() - started).toBeLessThan(1000);
      expect(await call).toMatchObject({ code: 'closed' });
    }
    expect(server.data.size).toBe(0);
  });

  it('rejects a lost answer of a body cut in the middle', async () => {
    open();
    await storage.set('a', 1);
    server.intercept = (_, response) => {
      response.writeHead(200, { ...json, 'content-length': '100' });
      response.write('{"value":', () => response.destroy());
      return true;
    };
    expect(await rejection(storage.get('a'))).toMatchObject({ code: 'unavailable' });
  });

  for (const [name, run] of [
    ['get', (s) => s.get('a')],
    ['set', (s) => s.set('a', 2)],
    [
      'setMany',
      (s) =>
        s.setMany([
          ['a', 2],
          ['b', 2],
        ]),
    ],
    ['delete', (s) => s.delete('a')],
  ] satisfies Array<[string, (s: KeyValueStorage) => Promise<unknown>]>) {
    it(`survives one 500 in ${name}: old servers answer it when two first writes of a key race`, async () => {
      open();
      await storage.set('a', 1);
      let failed = 0;
      server.intercept = (_, response) => {
        failed += 1;
        if (failed === 1) response.writeHead(500, json).end('{"error":"UNIQUE constraint failed"}');
        return failed === 1;
      };
      await run(storage);
      expect(failed).toBe(2);
    });
  }

  it('never sends clear twice', async () => {
    open();
    await storage.ready();
    const before = server.seen.length;
    server.intercept = always(500, json, '{"error":"boom"}');
    expect(await rejection(storage.clear())).toMatchObject({ code: 'unavailable' });
    expect(server.seen.length - before).toBe(1);
  });

  it('takes a delete whose answer was lost for done when the key is gone at the second try', async () => {
    open();
    await storage.set('a', 1);
    let first = true;
    server.intercept = (request, response) => {
      if (!first || request.method !== 'DELETE') return false;
      first = false;
      server.data.delete('a');
      response.writeHead(500, json).end('{"error":"late"}');
      return true;
    };
    await storage.delete('a');
    expect(await storage.has('a')).toBe(false);
  });

  it('rejects within about one time limit, however many calls wait on a server that hangs', async () => {
    open({ timeout: 300 });
    await storage.ready();
    server.intercept = () => true;
    const started = performance.now();
    const outcomes = await Promise.allSettled(Array.from({ length: 200 }, (_, i) => storage.get(`k${i}`)));
    expect(performance.now() - started).toBeLessThan(3000);
    for (const outcome of outcomes)
      expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'timeout' } });
  });

  it('aborts what is under way when it is closed', async () => {
    open();
    await storage.ready();
    const asked = Promise.withResolvers<void>();
    server.intercept = () => {
      asked.resolve();
      return true;
    };
    const call = rejection(storage.get('a'));
    const waiting = rejection(storage.get('b'));
    await asked.promise;
    const started = performance.now();
    await storage.close();
    expect(performance.now() - started).toBeLessThan(1000);
    expect(await call).toMatchObject({ code: 'closed' });
    expect(await waiting).toMatchObject({ code: 'closed' });
  });
});

describe('requests', () => {
  it('sends 1,000 sets of one turn in at most 3 requests, detection included', async () => {
    open();
    await Promise.all(
      Array.from({ length: 1000 }, (_, i) => storage.set(`k${i}`, { i, text: 'x'.repeat(1000) })),
    );
    expect(server.data.size).toBe(1000);
    expect(server.seen.length).toBeLessThanOrEqual(3);
  });

  it('sends a setMany of 10,000 in a handful of requests of bounded size', async () => {
    open();
    await storage.setMany(Array.from({ length: 10_000 }, (_, i) => [`k${i}`, { i, text: 'é'.repeat(500) }]));
    expect(server.data.size).toBe(10_000);
    expect(server.seen.length).toBeLessThanOrEqual(8);
    for (const { bytes } of server.seen) expect(bytes).toBeLessThanOrEqual(4 * 1024 * 1024);
  });

  it('has at most 6 requests under way', async () => {
    open();
    await storage.ready();
    server.intercept = (_, response) => {
      setTimeout(() => response.writeHead(404, json).end('{"error":"Key not found"}'), 50);
      return true;
    };
    await storage.getMany(Array.from({ length: 40 }, (_, i) => `k${i}`));
    expect(server.mostAtOnce).toBe(6);
  });

  it('asks for a key once, however often a turn reads it', async () => {
    open();
    await storage.set('a', [1]);
    const before = server.seen.length;
    expect(await Promise.all([storage.get('a'), storage.get('a'), storage.has('a')])).toEqual([
      [1],
      [1],
      true,
    ]);
    expect(server.seen.length - before).toBe(1);
  });

  it('writes and reads the keys that level-0 routes shadow, without ever posting to them', async () => {
    open();
    for (const key of ['keys', 'export', 'stats', 'clear', 'import']) {
      await storage.set(key, `of ${key}`);
      expect(await storage.get(key)).toBe(`of ${key}`);
      expect(await storage.has(key)).toBe(true);
    }
    await storage.delete('clear');
    expect(server.data.size).toBe(4);
    expect(server.seen.filter(({ method }) => method === 'POST')).toEqual([]);
  });

  it('finds out which of many puts a server refuses, and stores the rest', async () => {
    open();
    await storage.ready();
    server.intercept = (_, response, body) => {
      if (body.length < 20_000) return false;
      response.writeHead(413, html).end('<h1>413 Request Entity Too Large</h1>');
      return true;
    };
    const calls = Array.from({ length: 50 }, (_, i) =>
      storage.set(`k${i}`, 'x'.repeat(i === 17 ? 30_000 : 1000)),
    );
    const outcomes = await Promise.allSettled(calls);
    expect(outcomes.filter(({ status }) => status === 'rejected')).toHaveLength(1);
    expect(outcomes[17]).toMatchObject({ status: 'rejected', reason: { code: 'too-large' } });
    expect(server.data.size).toBe(49);
  });

  it('reads many keys of a small store with one export, and of a large one with a request a key', async () => {
    open();
    await storage.setMany(Array.from({ length: 100 }, (_, i) => [`k${i}`, i]));
    const keys = Array.from({ length: 100 }, (_, i) => `k${i}`);
    const paths = (from: number) =>
      server.seen.slice(from).map(({ url }) => url.replace('/api/storage/', ''));
    let before = server.seen.length;
    expect(await Array.fromAsync(storage.entries())).toHaveLength(100);
    expect(paths(before)).toEqual(['keys', 'stats', 'export']);
    before = server.seen.length;
    expect(await storage.getMany(['missing', ...keys])).toEqual([undefined, ...keys.map((_, i) => i)]);
    expect(paths(before)).toEqual(['stats', 'export', 'keys']);
    server.intercept = (request, response) => {
      if (request.url !== '/api/storage/stats') return false;
      response.writeHead(200, json).end('{"total_keys":100,"total_size_bytes":99999999}');
      return true;
    };
    before = server.seen.length;
    expect(await Array.fromAsync(storage.entries())).toHaveLength(100);
    expect(await storage.getMany(keys)).toEqual(keys.map((_, i) => i));
    expect(paths(before)).not.toContain('export');
    server.data.set('a/b', 'listed by an old app').set('a/c', 'too');
    before = server.seen.length;
    expect(await Array.fromAsync(storage.entries({ prefix: 'a' }))).toEqual([
      ['a/b', 'listed by an old app'],
      ['a/c', 'too'],
    ]);
    expect(paths(before)).toEqual(['keys', 'export']);
  });
});
