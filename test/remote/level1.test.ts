/**
 * The Flask backend on level 1: detection, tokens, how a batch is cut, and what an update sends. The peer is a server in
 * memory that announces what a test wants; lost answers are in flask-lost-answers.test.ts.
 */
import type { ServerResponse } from 'node:http';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  ConflictError,
  createStorage,
  type KeyValueStorage,
  StorageError,
  type StorageOptions,
} from '../../src/index.ts';
import { type Level1Server, startLevel1Server } from '../support/level1-server.ts';
import { html, json } from '../support/old-server.ts';
import { rejection } from '../support/rejection.ts';
import { lendIndexedDb, withoutIndexedDb } from '../support/without-indexeddb.ts';

withoutIndexedDb();

let server: Level1Server;
let storage: KeyValueStorage;
const lines: string[] = [];
const logger = {
  info: (line: string) => void lines.push(`info: ${line}`),
  warn: (line: string) => void lines.push(`warn: ${line}`),
};
let databases = 0;

function open(options: StorageOptions = {}): KeyValueStorage {
  databases += 1;
  const database = `level1-${databases}`;
  storage = createStorage({ useFlask: true, flaskUrl: server.url, logger, database, ...options });
  return storage;
}

/** One that has asked the server who it is; only what comes after that is counted. */
async function openReady(options: StorageOptions = {}): Promise<KeyValueStorage> {
  open(options);
  await storage.ready();
  expect(storage.status().level).toBe(1);
  server.seen.length = 0;
  return storage;
}

beforeEach(async () => {
  server = await startLevel1Server();
  lines.length = 0;
});
afterEach(async () => {
  await storage?.close();
  await server.stop().catch(() => undefined);
});

/** Nothing is kept for later where there is no IndexedDB. */
const UNSYNCED = { pending: 0, conflicts: 0, lastSyncAtMs: undefined };
const sizes = (): Array<number | undefined> => server.seen.map(({ batch }) => batch?.ops.length);
const opsOf = (): string[] =>
  server.seen.map(({ batch, url }) => batch?.ops.map(({ op, key = '' }) => `${op} ${key}`).join(', ') ?? url);

describe('detection', () => {
  it('asks /health once, and says what it found', async () => {
    open();
    expect(storage.status()).toEqual({
      ...UNSYNCED,
      backend: 'indexeddb',
      state: 'offline',
      level: undefined,
      reason: `${server.url}/ was not asked yet`,
    });
    await storage.ready();
    await storage.get('a');
    expect(server.seen.map(({ url }) => url)).toEqual(['/health', '/api/v1/batch']);
    expect(storage.status()).toEqual({
      ...UNSYNCED,
      backend: 'flask',
      state: 'online',
      level: 1,
      reason: `${server.url}/health announced contract 1`,
    });
    expect(lines).toEqual([`info: @codeforge/storage uses the Flask backend at ${server.url}/`]);
  });

  it('says why nothing serves where it does not answer, and finds it when it does', async () => {
    const answered = server.before;
    open();
    server.before = (_, response) => {
      response.writeHead(500, json).end('{"error":"out of order"}');
      return true;
    };
    expect(await rejection(storage.get('a'))).toMatchObject({ code: 'unavailable' });
    expect(storage.status()).toMatchObject({
      state: 'offline',
      reason: expect.stringContaining('out of order'),
    });
    server.before = answered;
    await storage.set('a', 1);
    expect(storage.status()).toMatchObject({
      state: 'online',
      reason: `${server.url}/health announced contract 1`,
    });
  });

  it('asks again whether the server answers when ready() is called again', async () => {
    await openReady();
    await storage.ready();
    expect(server.seen.map(({ url }) => url)).toEqual(['/health']);
    await server.stop();
    expect(await rejection(storage.ready())).toMatchObject({ code: 'unavailable' });
  });

  for (const [name, capabilities, missing] of [
    ['no batches', ['keys', 'etag'], 'batch'],
    ['no list of keys', ['batch'], 'keys'],
    ['nothing', undefined, 'batch and keys'],
  ] as const) {
    it(`takes a server that announces ${name} for one of level 0`, async () => {
      server.health = { ...server.health, capabilities };
      open();
      expect(await storage.get('a')).toBeUndefined();
      expect(storage.status()).toEqual({
        ...UNSYNCED,
        backend: 'flask',
        state: 'online',
        level: 0,
        reason: `${server.url}/health announced contract 1 without ${missing}: level 0`,
      });
      expect(server.seen.map(({ url }) => url)).toEqual(['/health', '/api/storage/a']);
    });
  }

  it('finds level 1 though the first answer of /health was lost', async () => {
    server.after = ({ url }, response) => {
      server.after = undefined;
      expect(url).toBe('/health');
      return Boolean(response.destroy());
    };
    open();
    await storage.ready();
    expect(storage.status().level).toBe(1);
    expect(server.seen.map(({ url }) => url)).toEqual(['/health', '/api/storage/_health_check', '/health']);
  });

  it('says why a server is of level 0', async () => {
    server.health = { status: 'ok' };
    open();
    await storage.ready();
    expect(storage.status().reason).toBe(`${server.url}/health announced no contract: level 0`);
    await storage.close();
    server.before = ({ url }, response) => {
      if (url === '/health') response.writeHead(404, json).end('{"error":"Not Found"}');
      return url === '/health';
    };
    open();
    await storage.ready();
    expect(storage.status().reason).toMatch(
      /health is not a storage server's, and the server answers as level 0 does/,
    );
  });

  const NOT_SAID: ReadonlyArray<readonly [string, (response: ServerResponse) => unknown]> = [
    ['502 with HTML', (r) => r.writeHead(502, html).end('<h1>Bad Gateway</h1>')],
    ['503 with JSON', (r) => r.writeHead(503, json).end('{"error":"busy"}')],
    ['429', (r) => r.writeHead(429, json).end('{"error":"slow down"}')],
    ['403 with HTML', (r) => r.writeHead(403, html).end('<h1>Forbidden</h1>')],
    ['401', (r) => r.writeHead(401, json).end('{"error":"who are you?"}')],
    ['a redirect', (r) => r.writeHead(302, { location: '/login' }).end()],
    ['half of a body', (r) => r.writeHead(200, json).end('{"status":"ok","contr')],
    ['nothing', (r) => r.destroy()],
  ];
  for (const [name, spoil] of NOT_SAID)
    it(`never takes it for one of level 0 because /health is answered with ${name}`, async () => {
      server.before = ({ url }, response) => {
        if (url === '/health') spoil(response);
        return url === '/health';
      };
      open();
      expect(await rejection(storage.set('a/b', 1))).toMatchObject({ code: 'unavailable' });
      expect(storage.status().level).toBeUndefined();
      server.before = undefined;
      await storage.set('a/b', 1);
      expect(storage.status()).toMatchObject({ state: 'online', level: 1 });
      expect(await storage.update('a/b', (n) => Number(n) + 1)).toBe(2);
    });

  it('finds level 1 when a server of level 0 was upgraded and is asked again', async () => {
    const { health } = server;
    server.health = { status: 'ok' };
    open();
    await storage.ready();
    expect(storage.status().level).toBe(0);
    server.health = health;
    await storage.ready();
    expect(storage.status().level).toBe(1);
    expect(await storage.update('n', () => 1)).toBe(1);
  });
});

describe('a token', () => {
  const bearers = (): Array<string | undefined> => server.seen.map(({ headers }) => headers.authorization);

  it('goes with every request but /health', async () => {
    open({ token: 'secret' });
    await storage.set('a', 1);
    await storage.keys();
    await storage.stats();
    expect(server.seen.map(({ url }) => url.split('?')[0])).toEqual([
      ...['/health', '/api/v1/batch', '/api/v1/keys', '/api/v1/stats'],
    ]);
    expect(bearers()).toEqual([undefined, ...Array(3).fill('Bearer secret')]);
  });

  it('is asked for before each request, resends included', async () => {
    let asked = 0;
    await openReady({ token: async () => `token-${++asked}` });
    let lost = false;
    server.after = (_, response) => {
      if (lost) return false;
      lost = true;
      return Boolean(response.destroy());
    };
    await storage.set('a', 1);
    await storage.get('a');
    // The first request asks whose the token is: a write goes to the data of one account only.
    expect(bearers()).toEqual([1, 2, 3, 4].map((n) => `Bearer token-${n}`));
    expect(server.applied).toEqual(['put a 1']);
  });

  it('that cannot be had rejects the call, and nothing is sent', async () => {
    const cause = new Error('signed out');
    let token: () => string | Promise<string> = () => {
      throw cause;
    };
    await openReady({ token: () => token(), timeout: 300 });
    expect(await rejection(storage.set('a', 1))).toMatchObject({ code: 'forbidden', cause });
    token = () => Promise.reject(cause);
    expect(await rejection(storage.keys())).toMatchObject({ code: 'forbidden', cause });
    token = () => 'two words';
    expect(await rejection(storage.get('a'))).toMatchObject({ code: 'forbidden' });
    token = () => new Promise(() => {});
    expect(await rejection(storage.get('a'))).toMatchObject({ code: 'timeout' });
    expect(server.seen).toEqual([]);
    token = () => 'secret';
    await storage.set('a', 1);
    expect(server.applied).toEqual(['put a 1']);
  });

  it('is checked at once, and never shown', () => {
    for (const token of ['', 'two words', 'línea', 'a\n', 5, {}, null]) {
      const create = () => createStorage({ token: token as string });
      expect(create).toThrow(expect.objectContaining({ code: 'invalid-option' }));
      if (token) expect(create).not.toThrow(String(token));
    }
  });

  it('goes to the server of a migration', async () => {
    const target = await startLevel1Server();
    open({ useFlask: false, token: 'secret' });
    await lendIndexedDb(async () => {
      await storage.set('a', 1);
      expect(await storage.migrateToFlask(target.url)).toBe(1);
    });
    expect(target.seen.slice(1).every(({ headers }) => headers.authorization === 'Bearer secret')).toBe(true);
    expect(target.seen[0]?.headers.authorization).toBeUndefined();
    await target.stop();
  });
});

describe('requests', () => {
  it('carries 1,000 sets, 1,000 gets and 1,000 has of one turn in two requests each', async () => {
    await openReady();
    const keys = Array.from({ length: 1000 }, (_, i) => `k${i}`);
    await Promise.all(keys.map((key, i) => storage.set(key, { i })));
    expect(sizes()).toEqual([500, 500]);
    expect(await Promise.all(keys.map((key) => storage.get(key)))).toEqual(keys.map((_, i) => ({ i })));
    expect(await Promise.all(keys.map((key) => storage.has(key)))).toEqual(keys.map(() => true));
    expect(sizes()).toEqual([500, 500, 500, 500, 500, 500]);
    expect(server.data.size).toBe(1000);
  });

  it('sends one mixed turn as one request', async () => {
    await openReady();
    expect(
      await Promise.all([
        storage.set('a', 1),
        storage.delete('b'),
        storage.delete('a'),
        storage.set('a', 2),
        storage.get('a'),
        storage.set('b', 3, { ifRevision: null }),
        storage.has('b'),
      ]),
    ).toEqual([undefined, undefined, undefined, undefined, 2, undefined, true]);
    expect(opsOf()).toEqual(['put a, delete b, delete a, put a, get a, put b, head b']);
  });

  it('sends a write in a later request than what looked at its key, and everything else together', async () => {
    await openReady();
    const set = (key: string) => storage.set(key, 1);
    await Promise.allSettled([
      ...[storage.get('a'), set('b'), set('a')],
      ...[storage.has('b'), set('c'), storage.delete('b')],
      ...[storage.set('c', 2, { ifRevision: null }), set('a'), set('c')],
      ...[storage.delete('a', { ifRevision: 'first.1' }), storage.get('a'), storage.clear()],
      ...[set('d'), storage.clear()],
    ]);
    expect(opsOf()).toEqual([
      'get a, put b',
      'put a, head b, put c',
      'delete b, put c, put a',
      'put c, delete a, get a',
      'clear , put d, clear ',
    ]);
  });

  it('keeps bodies under 4 MiB, and one request with writes under way at a time', async () => {
    await openReady();
    await storage.setMany(Array.from({ length: 3000 }, (_, i) => [`k${i}`, 'é'.repeat(2000)]));
    expect(server.data.size).toBe(3000);
    for (const { text } of server.seen) expect(Buffer.byteLength(text)).toBeLessThan(4 * 1024 * 1024);
    expect(server.mostWritesAtOnce).toBe(1);
  });

  it('keeps to the limits that the server announces; what is over them alone fails alone', async () => {
    server.health = { ...server.health, limits: { valueBytes: 1000, batchOps: 3, bodyBytes: 2000 } };
    await openReady();
    const outcomes = await Promise.allSettled([
      ...['a', 'b', 'c', 'd'].map((key) => storage.set(key, 1)),
      storage.set('large', 'x'.repeat(999)),
      storage.set('fits', 'x'.repeat(998)),
      storage.set('é', 'é'.repeat(499)),
      storage.update('u', () => 'x'.repeat(999)),
    ]);
    expect(outcomes.map(({ status }) => status[0]).join('')).toBe('ffffrffr');
    for (const outcome of [outcomes[4], outcomes[7]])
      expect(outcome).toMatchObject({
        reason: { code: 'too-large', message: expect.stringMatching(/1001 bytes.*1000/) },
      });
    for (const { text, batch } of server.seen) {
      expect(Buffer.byteLength(text)).toBeLessThanOrEqual(2000);
      expect(batch?.ops.length).toBeLessThanOrEqual(3);
    }
    expect(server.data.size).toBe(6);
  });

  it('finds out which of many writes a proxy in between refuses, and stores the rest', async () => {
    await openReady();
    server.before = ({ text }, response) => {
      if (text.length < 20_000) return false;
      response.writeHead(413, { 'content-type': 'text/html' }).end('<h1>413 Request Entity Too Large</h1>');
      return true;
    };
    const outcomes = await Promise.allSettled(
      Array.from({ length: 50 }, (_, i) => storage.set(`k${i}`, 'x'.repeat(i === 17 ? 30_000 : 1000))),
    );
    expect(outcomes.filter(({ status }) => status === 'rejected')).toHaveLength(1);
    expect(outcomes[17]).toMatchObject({ reason: { code: 'too-large' } });
    expect(server.applied).toHaveLength(49);
  });

  it('asks again for what an answer had no room for, before anything later is sent', async () => {
    server.answerBytes = 100;
    await openReady();
    const text = 'x'.repeat(60);
    await storage.setMany(['a', 'b', 'c'].map((key) => [key, text]));
    server.seen.length = 0;
    expect(
      await Promise.all([
        storage.getMany(['a', 'b', 'c']),
        ...['a', 'b', 'c'].map((key) => storage.set(key, `of ${key}`)),
        storage.get('b'),
      ]),
    ).toEqual([[text, text, text], undefined, undefined, undefined, 'of b']);
    expect(opsOf()).toEqual(['get a, get b, get c', 'get b, get c', 'get c', 'put a, put b, put c, get b']);
  });

  it('reads what is there where a conflict had no room for it', async () => {
    server.answerBytes = 100;
    await openReady();
    const text = 'x'.repeat(90);
    await storage.setMany([
      ['a', text],
      ['b', text],
    ]);
    const outcomes = await Promise.allSettled(
      ['a', 'b'].map((key) => storage.set(key, 1, { ifRevision: null })),
    );
    for (const [i, outcome] of outcomes.entries())
      expect(outcome).toMatchObject({ reason: { current: { value: text, revision: `first.${i + 1}` } } });
  });

  it('shows what stood against a conflict that had no room for it, not what was written after it', async () => {
    server.answerBytes = 100;
    await openReady();
    const texts = ['a', 'b', 'c'].map((key) => key + 'x'.repeat(90));
    const setAll = () => storage.setMany(texts.map((text) => [text.charAt(0), text]));
    const conditional = () => ['a', 'b', 'c'].map((key) => storage.set(key, 1, { ifRevision: 'first.999' }));
    for (const [later, ops] of [
      [() => storage.set('c', 'later'), 'put c'],
      [() => storage.delete('c'), 'delete c'],
      [() => storage.clear(), 'clear '],
    ] as const) {
      await setAll();
      server.seen.length = 0;
      const outcomes = await Promise.allSettled([...conditional(), later()]);
      expect(outcomes.slice(0, 3)).toMatchObject(texts.map((value) => ({ reason: { current: { value } } })));
      expect(outcomes[3]?.status).toBe('fulfilled');
      expect(opsOf()).toEqual(['put a, put b, put c', 'get b, get c', 'get c', ops]);
    }
  });

  it('lists by what a URL can say, and looks at the rest itself', async () => {
    await openReady();
    const long = 'ä'.repeat(450);
    await storage.setMany(['🗝', '🗞', 'a b&c=d', `${long}1`, `${long}2`].map((key) => [key, 1]));
    expect(await storage.keys({ prefix: '\ud83d' })).toEqual(['🗝', '🗞']);
    expect(await storage.keys({ prefix: 'a b&c' })).toEqual(['a b&c=d']);
    expect(await storage.keys({ prefix: `${long}2` })).toEqual([`${long}2`]);
    expect(await storage.keys({ prefix: 'a\0' })).toEqual([]);
    expect(await storage.keys({ prefix: '\udc00a' })).toEqual([]);
    for (const { method, headers } of server.seen)
      if (method === 'GET') expect(headers['content-type']).toBeUndefined();
  });

  it('believes no list that goes back, repeats itself, or holds what is no key', async () => {
    await openReady({ timeout: 400 });
    // On a slow machine the limit passes before the first answer.
    const refused = { code: expect.stringMatching(/^(unavailable|timeout)$/) };
    const lists = [
      { keys: [{ key: 'b' }, { key: 'a' }], next: null },
      { keys: [{ key: 'a' }, { key: 'a' }], next: null },
      { keys: [{ key: 'a' }], next: '' },
      { keys: [{ key: 'a' }] },
      { keys: [{}], next: null },
      { keys: ['a'], next: null },
      { next: null },
    ];
    for (const list of lists) {
      server.before = (_, response) => {
        response.writeHead(200, json).end(JSON.stringify({ epoch: 'first', seq: 1, ...list }));
        return true;
      };
      expect(await rejection(storage.keys())).toMatchObject(refused);
      expect(await rejection(storage.entries().next())).toMatchObject(refused);
      expect(await rejection(storage.stats())).toMatchObject(refused);
    }
  });

  it('names the key whose value another program broke, and lets others be', async () => {
    server.apply({
      ops: [
        { op: 'put', key: 'broken', value: { $cf: [['Unknown', 1]] } },
        { op: 'put', key: 'fine', value: 1 },
      ],
    });
    await openReady();
    const outcomes = await Promise.allSettled([
      storage.get('broken'),
      storage.getEntry('broken'),
      storage.set('broken', 1, { ifRevision: null }),
      storage.update('broken', () => 1),
      storage.has('broken'),
      storage.get('fine'),
    ]);
    for (const outcome of outcomes.slice(0, 4))
      expect(outcome).toMatchObject({
        reason: { code: 'unsupported-value', message: expect.stringContaining('broken') },
      });
    expect(outcomes.slice(4)).toMatchObject([{ value: true }, { value: 1 }]);
  });
});

describe('update', () => {
  it('reads all keys at once, writes them at once, and again only those that met another writer', async () => {
    await openReady();
    await storage.setMany([
      ['a', 1],
      ['b', 1],
    ]);
    server.seen.length = 0;
    server.after = ({ batch }) => {
      if (batch?.ops[0]?.op !== 'get') return false;
      server.after = undefined;
      server.apply({ ops: [{ op: 'put', key: 'b', value: 50 }] });
      return false;
    };
    const double = (n: unknown) => Number(n ?? 1) * 2;
    expect(
      await Promise.all([
        ...['a', 'b', 'c', 'a'].map((key) => storage.update(key, double)),
        storage.get('b'),
      ]),
    ).toEqual([2, 100, 2, 4, 100]);
    expect(opsOf()).toEqual(['get a, get b, get c', 'put a, put b, put c', 'put b', 'get b']);
  });

  it('rejects with both sides when others were faster until its time had passed', async () => {
    await openReady({ timeout: 1500 });
    let others = 0;
    server.before = ({ batch }) => {
      if (batch?.ops[0]?.op === 'put') server.apply({ ops: [{ op: 'put', key: 'n', value: ++others }] });
      return false;
    };
    const error = await rejection(storage.update('n', (n) => `mine after ${n}`));
    expect(error).toBeInstanceOf(ConflictError);
    expect(error).toMatchObject({
      key: 'n',
      // On a slow machine there is time for one attempt only, when nothing was there.
      attempted: `mine after ${others > 1 ? others - 1 : undefined}`,
      current: { value: others, revision: `first.${others}` },
    });
    expect(server.data.get('n')?.value).toBe(others);
  });

  it('reads again where the conflict had no room for the value', async () => {
    server.answerBytes = 0;
    await openReady();
    await storage.set('n', [1]);
    server.seen.length = 0;
    server.after = ({ batch }) => {
      if (batch?.ops[0]?.op !== 'get') return false;
      server.after = undefined;
      server.apply({ ops: [{ op: 'put', key: 'n', value: [1, 2] }] });
      return false;
    };
    expect(await storage.update('n', (list) => [...(list as number[]), 3])).toEqual([1, 2, 3]);
    expect(opsOf()).toEqual(['get n', 'put n', 'get n', 'put n']);
  });

  it('rejects every update of a request without an answer, except one whose function threw', async () => {
    await openReady({ timeout: 300 });
    server.after = ({ batch }, response) => batch?.ops[0]?.op === 'put' && Boolean(response.destroy());
    const outcomes = await Promise.allSettled([
      storage.update('a', () => 1),
      storage.update('a', () => {
        throw new TypeError('mine');
      }),
      storage.update('b', () => 1),
    ]);
    expect(outcomes).toMatchObject([
      { reason: { code: 'unavailable' } },
      { reason: { name: 'TypeError', message: 'mine' } },
      { reason: { code: 'unavailable' } },
    ]);
    expect(outcomes[0]).toMatchObject({ reason: expect.any(StorageError) });
  });
});
