/**
 * Lost answers on level 1 (docs/contract.md, 12.2 to 12.7): what is sent again applies once, and what is in doubt never
 * overtakes a later write. The peer is a server that loses answers on purpose.
 */
import type { ServerResponse } from 'node:http';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createStorage, type KeyValueStorage, StorageError, type StorageOptions } from '../../src/index.ts';
import { type Level1Request, type Level1Server, startLevel1Server } from '../support/level1-server.ts';
import { rejection } from '../support/rejection.ts';
import { withoutIndexedDb } from '../support/without-indexeddb.ts';

withoutIndexedDb();

let server: Level1Server;
let storage: KeyValueStorage;
let databases = 0;

async function open(options: StorageOptions = {}): Promise<KeyValueStorage> {
  databases += 1;
  const database = `lost-${databases}`;
  storage = createStorage({ useFlask: true, flaskUrl: server.url, logger: false, database, ...options });
  await storage.ready();
  expect(storage.status().level).toBe(1);
  server.seen.length = 0;
  return storage;
}

beforeEach(async () => {
  server = await startLevel1Server();
});
afterEach(async () => {
  await storage?.close();
  await server.stop().catch(() => undefined);
});

const json = { 'content-type': 'application/json' };
const html = { 'content-type': 'text/html' };
type Spoil = (response: ServerResponse) => unknown;

/** Answer so, the first `times` times, in place of what the server says. */
const first =
  (spoil: Spoil, times = 1) =>
  (_: Level1Request, response: ServerResponse): boolean => {
    times -= 1;
    if (times < 0) return false;
    spoil(response);
    return true;
  };
/** What the requests were: `1: put k, delete k` is a mutation, `void 1` gives it up. */
const sent = (): string[] =>
  server.seen.map(({ batch, url }) => {
    if (!batch) return url;
    if (batch.void !== undefined) return `void ${batch.void}`;
    const ops = batch.ops.map(({ op, key = '' }) => `${op} ${key}`.trim()).join(', ');
    return batch.m === undefined ? ops : `${batch.m}: ${ops}`;
  });

const LOSSES: ReadonlyArray<readonly [string, Spoil]> = [
  ['a reset connection', (r) => r.socket?.resetAndDestroy()],
  ['a closed connection', (r) => r.socket?.destroy()],
  [
    'a body cut in the middle',
    (r) => {
      const part = '{"epoch":"first","results":[{"st';
      r.writeHead(200, { ...json, 'content-length': '500' }).write(part, () => r.destroy());
    },
  ],
  ['an empty answer', (r) => r.writeHead(200, json).end()],
  ['200 with HTML', (r) => r.writeHead(200, html).end('<!doctype html>')],
  ['403 with HTML, as a proxy says it', (r) => r.writeHead(403, html).end('<h1>Forbidden</h1>')],
  ['404 with HTML', (r) => r.writeHead(404, html).end('<h1>Not Found</h1>')],
  ['JSON that ends early', (r) => r.writeHead(200, json).end('{"epoch":"first","seq":1,"results":[')],
  ['JSON of something else', (r) => r.writeHead(200, json).end('{"status":"ok"}')],
  ['a list', (r) => r.writeHead(200, json).end('[]')],
  ['no results', (r) => r.writeHead(200, json).end('{"epoch":"first","seq":1,"results":[]}')],
  [
    'too many results',
    (r) => {
      const results = Array(9).fill({ status: 200, rev: '1', value: 1, size: 1 });
      r.writeHead(200, json).end(JSON.stringify({ epoch: 'first', seq: 1, results }));
    },
  ],
  [
    'results of no epoch',
    (r) => r.writeHead(200, json).end('{"seq":1,"results":[{"status":200,"rev":"1"}]}'),
  ],
  [
    'a result that is none',
    (r) => r.writeHead(200, json).end('{"epoch":"first","seq":1,"results":[{"status":200}]}'),
  ],
  ...[408, 429, 500, 502, 503, 504].map(
    (status) =>
      [String(status), (r: ServerResponse) => r.writeHead(status, json).end('{"error":"later"}')] as const,
  ),
];

describe('an answer that was lost', () => {
  for (const [name, spoil] of LOSSES) {
    it(`is asked for again after ${name}: each write applies once, each read is answered`, async () => {
      await open();
      await storage.set('n', 1);
      const calls: Array<[() => Promise<unknown>, unknown]> = [
        [() => storage.set('k', 1), undefined],
        [() => storage.get('k'), 1],
        [() => storage.has('k'), true],
        [() => storage.delete('k'), undefined],
        [() => storage.set('once', 1, { ifRevision: null }), undefined],
        [() => storage.update('n', (n) => Number(n) + 1), 2],
        [() => storage.keys(), ['n', 'once']],
        [() => storage.stats(), { keys: 2, sizeBytes: 2 }],
        [() => Array.fromAsync(storage.entries({ prefix: 'n' })), [['n', 2]]],
        [() => storage.clear(), undefined],
      ];
      for (const [call, expected] of calls) {
        server.after = first(spoil);
        expect(await call()).toEqual(expected);
      }
      expect(server.applied).toEqual(['put n 1', 'put k 1', 'delete k', 'put once 1', 'put n 2', 'clear']);
    });
  }

  it('is asked for as the very same mutation, however often it is lost', async () => {
    await open();
    server.after = first((r) => r.destroy(), 4);
    await Promise.all([storage.set('a', 1), storage.delete('a'), storage.clear(), storage.get('a')]);
    expect(sent()).toEqual(Array(5).fill('1: put a, delete a, clear, get a'));
    await storage.set('b', 1);
    expect(sent().at(-1)).toBe('2: put b');
    expect(server.applied).toEqual(['put a 1', 'delete a', 'clear', 'put b 1']);
  });

  it('never shows a read what the same turn wrote after it', async () => {
    await open();
    const reads: Record<string, [() => Promise<unknown>, unknown]> = {
      get: [() => storage.get('k'), 'old'],
      has: [() => storage.has('k'), true],
      getEntry: [() => storage.getEntry('k'), expect.objectContaining({ value: 'old' })],
    };
    const writes: Record<string, () => Promise<unknown>> = {
      set: () => storage.set('k', 'new'),
      delete: () => storage.delete('k'),
      clear: () => storage.clear(),
    };
    for (const [name, [read, expected]] of Object.entries(reads))
      for (const [then, write] of Object.entries(writes)) {
        await storage.set('k', 'old');
        server.after = first((r) => r.destroy());
        expect([name, then, ...(await Promise.all([read(), write()]))]).toEqual([
          ...[name, then, expected, undefined],
        ]);
      }
  });

  it('never shows a conflict what the same turn wrote after it', async () => {
    await open();
    for (const write of [
      () => storage.set('k', 'later'),
      () => storage.delete('k'),
      () => storage.clear(),
      () => storage.update('k', () => 'later'),
    ]) {
      server.after = first((r) => r.destroy());
      const outcomes = await Promise.allSettled([
        storage.set('k', 'first'),
        storage.set('k', 'mine', { ifRevision: null }),
        storage.delete('k', { ifRevision: 'first.999' }),
        write(),
      ]);
      expect(outcomes).toMatchObject([
        { status: 'fulfilled' },
        { reason: { code: 'conflict', attempted: 'mine', current: { value: 'first' } } },
        { reason: { code: 'conflict', current: { value: 'first' } } },
        { status: 'fulfilled' },
      ]);
    }
  });

  it('never makes a conflict claim that the key is missing, where its value could not be read', async () => {
    await open({ timeout: 500 });
    server.apply({ ops: [{ op: 'put', key: 'k', value: 'theirs' }] });
    server.answerBytes = 0;
    server.before = ({ batch }, response) => {
      const isRead = batch?.ops[0]?.op === 'get';
      if (isRead) response.socket?.destroy();
      return isRead;
    };
    const refused = {
      name: 'StorageError',
      code: 'unavailable',
      message: expect.stringMatching(
        /^Key k has another revision .* nothing was stored\. .* could not be read/,
      ),
    };
    expect(await rejection(storage.set('k', 'mine', { ifRevision: null }))).toMatchObject(refused);
    expect(await rejection(storage.atomic([{ set: 'k', value: 'mine', ifRevision: null }]))).toMatchObject(
      refused,
    );
    server.before = undefined;
    server.answerBytes = 1000;
    expect(await rejection(storage.set('k', 'mine', { ifRevision: null }))).toMatchObject({
      code: 'conflict',
      current: { value: 'theirs' },
    });
  });

  it('lets an update go on from what is there, though the answer that it lost named no value', async () => {
    await open();
    await storage.set('n', 1);
    server.after = (request, response) => {
      const [op] = request.batch?.ops ?? [];
      if (op?.op === 'get') {
        server.apply({ ops: [{ op: 'put', key: 'n', value: 10 }] });
        return false;
      }
      server.after = undefined;
      return Boolean(response.destroy());
    };
    expect(await storage.update('n', (n) => Number(n) + 1)).toBe(11);
    expect(sent().slice(1)).toEqual(['get n', '2: put n', '2: put n', 'get n', '3: put n']);
    expect(server.applied).toEqual(['put n 1', 'put n 10', 'put n 11']);
  });

  it('is not asked for again before Retry-After has passed', async () => {
    await open();
    server.before = first((r) => r.writeHead(503, { ...json, 'retry-after': '1' }).end('{"error":"busy"}'));
    await storage.set('a', 1);
    const [asked, again] = server.seen;
    expect(Number(again?.atMs) - Number(asked?.atMs)).toBeGreaterThan(990);
  });

  it('is given up at once where Retry-After is beyond the time limit', async () => {
    await open({ timeout: 900 });
    const later = new Date(Date.now() + 100_000).toUTCString();
    for (const wait of ['100', later]) {
      server.before = first((r) =>
        r.writeHead(429, { ...json, 'retry-after': wait }).end('{"error":"busy"}'),
      );
      server.seen.length = 0;
      expect(await rejection(storage.get('a'))).toMatchObject({ code: 'unavailable' });
      expect(server.seen).toHaveLength(1);
    }
  });

  it('is given up after a handful of attempts where nothing listens, without any doubt', async () => {
    await open();
    await server.stop();
    expect(await rejection(storage.set('a', 1))).toMatchObject({ code: 'unavailable' });
    await server.start();
    await storage.set('b', 2);
    // Nothing had arrived, so there is nothing to wait for.
    expect(sent()).toEqual(['2: put b']);
    expect(server.applied).toEqual(['put b 2']);
  });

  it('leaves no call waiting, whatever the server does for ever', async () => {
    await open({ timeout: 400 });
    const forever: Spoil[] = [
      () => undefined,
      (r) => r.writeHead(200, json).write('{"epoch":'),
      (r) => r.writeHead(200, html).end('<p>'),
      (r) => r.writeHead(503, { ...json, 'retry-after': '0' }).end('{"error":"busy"}'),
      (r) => r.destroy(),
    ];
    for (const spoil of forever) {
      server.after = first(spoil, 1e6);
      server.seen.length = 0;
      const calls = [
        ...[storage.get('a'), storage.set('a', 1), storage.update('b', () => 1), storage.delete('c')],
        ...[
          storage.keys(),
          storage.stats(),
          storage.entries().next(),
          storage.getEntry('a'),
          storage.clear(),
        ],
      ];
      for (const outcome of await Promise.allSettled(calls))
        expect(outcome).toMatchObject({ reason: { code: expect.stringMatching(/^(timeout|unavailable)$/) } });
      expect(server.seen.length).toBeLessThan(100);
    }
  }, 60_000);

  it('is not waited for by a storage that is closed', async () => {
    await open();
    const answered = Promise.withResolvers<void>();
    server.before = first(
      (r) => r.writeHead(503, { ...json, 'retry-after': '9' }).end('{"error":"busy"}', answered.resolve),
      1e6,
    );
    const call = rejection(storage.set('a', 1));
    await answered.promise;
    const started = performance.now();
    await storage.close();
    expect(performance.now() - started).toBeLessThan(2000);
    expect(await call).toBeInstanceOf(StorageError);
  });
});

describe('an answer that says no', () => {
  const refusals: ReadonlyArray<readonly [number, string]> = [
    [400, 'refused'],
    [401, 'forbidden'],
    [403, 'forbidden'],
    [404, 'unavailable'],
    [409, 'refused'],
    [413, 'too-large'],
    [507, 'quota'],
  ];
  for (const [status, code] of refusals) {
    it(`is believed at once: ${status} is ${code}`, async () => {
      await open();
      server.before = first((r) => r.writeHead(status, json).end('{"error":"no"}'));
      expect(await rejection(storage.set('a', 1))).toMatchObject({ code });
      server.before = undefined;
      await storage.set('b', 1);
      expect(sent()).toEqual(['1: put a', '2: put b']);
    });
  }

  it('rejects a write of which an earlier attempt was lost only when it is known not to apply', async () => {
    await open();
    for (const [isApplied, outcome] of [
      [true, 'fulfilled'],
      [false, 'rejected'],
    ] as const) {
      let attempts = 0;
      const spoil = ({ batch }: Level1Request, response: ServerResponse): boolean => {
        if (batch?.m === undefined) return false;
        attempts += 1;
        if (attempts === 1) response.destroy();
        else if (attempts === 2) response.writeHead(403, json).end('{"error":"no"}');
        return attempts < 3;
      };
      if (isApplied) server.after = spoil;
      else server.before = spoil;
      server.applied.length = 0;
      const [result] = await Promise.allSettled([storage.set('a', 1)]);
      expect(result.status).toBe(outcome);
      expect(server.applied).toEqual(isApplied ? ['put a 1'] : []);
      server.before = server.after = undefined;
    }
  });

  it('leaves in doubt what was lost before it, while the server does not tell', async () => {
    await open();
    let attempts = 0;
    server.after = (_, response) => {
      attempts += 1;
      if (attempts === 1) response.destroy();
      else response.writeHead(403, json).end('{"error":"no"}');
      return true;
    };
    expect(await rejection(storage.set('a', 1))).toMatchObject({
      code: 'unavailable',
      cause: { code: 'forbidden' },
    });
    server.after = undefined;
    await storage.set('b', 2);
    expect(sent()).toEqual(['1: put a', '1: put a', 'void 1', 'void 1', '2: put b']);
    expect(server.applied).toEqual(['put a 1', 'put b 2']);
  });
});

describe('a write in doubt', () => {
  /** Short, because each test waits for it; long enough for a slow machine to answer what does not hang. */
  const timeout = 1500;
  /** Let the next requests hang; returns what they held. */
  const hang = (times: number): Level1Request[] => {
    const held: Level1Request[] = [];
    let left = times;
    server.before = (request) => {
      left -= 1;
      if (left >= 0) held.push(request);
      return left >= 0;
    };
    return held;
  };
  /** Let a held request arrive now. */
  const arrive = (request: Level1Request | undefined) => request?.batch && server.apply(request.batch);

  it('never overtakes a later write, however late it arrives', async () => {
    await open({ timeout });
    await storage.set('k', 'before');
    const held = hang(1);
    const late = await Promise.allSettled([storage.set('k', 'late'), storage.delete('x'), storage.clear()]);
    for (const outcome of late) expect(outcome).toMatchObject({ reason: { code: 'timeout' } });
    await storage.set('k', 'later');
    expect(sent().slice(1)).toEqual(['2: put k, delete x, clear', 'void 2', '3: put k']);
    expect(arrive(held[0])?.status).toBe(409);
    expect(await storage.get('k')).toBe('later');
    expect(server.applied).toEqual(['put k "before"', 'put k "later"']);
  });

  it('has happened before a later write, if it arrives in between', async () => {
    await open({ timeout });
    const held = hang(1);
    expect(await rejection(storage.set('k', 'late'))).toMatchObject({ code: 'timeout' });
    expect(arrive(held[0])?.status).toBe(200);
    expect(await storage.get('k')).toBe('late');
    await storage.set('k', 'later');
    expect(arrive(held[0])?.status).toBe(409);
    expect(server.applied).toEqual(['put k "late"', 'put k "later"']);
  });

  it('holds back every write, and no read, until the server has answered for it', async () => {
    await open({ timeout });
    hang(3);
    expect(await rejection(storage.set('k', 1))).toMatchObject({ code: 'timeout' });
    expect(await rejection(storage.set('k', 2))).toMatchObject({ code: 'timeout' });
    expect(await rejection(storage.set('k', 3))).toMatchObject({ code: 'timeout' });
    expect(await storage.get('k')).toBeUndefined();
    await storage.set('k', 4);
    expect(sent()).toEqual(['1: put k', ...Array(2).fill('void 1'), 'get k', 'void 1', '2: put k']);
    expect(server.applied).toEqual(['put k 4']);
  });

  const unread: ReadonlyArray<readonly [string, Spoil]> = [
    ['has no answer', (r) => r.destroy()],
    ['is answered by a proxy', (r) => r.writeHead(502, html).end('<h1>Bad Gateway</h1>')],
    ['is cut', (r) => r.writeHead(200, json).end('{"status":"ok","contr')],
    ['is of something else', (r) => r.writeHead(200, json).end('{"up":true}')],
  ];
  for (const [name, spoil] of unread)
    it(`is remembered, and the level stays, when ready() is called while /health ${name}`, async () => {
      await open({ timeout });
      await storage.ready();
      const before = storage.status();
      const held = hang(1);
      expect(await rejection(storage.set('k', 'late'))).toMatchObject({ code: 'timeout' });
      server.before = ({ url }, response) => {
        if (url === '/health') spoil(response);
        return url === '/health';
      };
      await storage.ready();
      expect(storage.status()).toEqual(before);
      server.before = undefined;
      await storage.ready();
      await storage.set('k', 'later');
      expect(arrive(held[0])?.status).toBe(409);
      expect(await storage.get('k')).toBe('later');
    });

  it('never happens once it was given up, also where the server has forgotten this client', async () => {
    await open({ timeout });
    await storage.set('a', 1);
    const held = hang(1);
    await rejection(storage.set('k', 'late'));
    server.forgetClients();
    await storage.set('k', 'later');
    expect(arrive(held[0])?.status).toBe(409);
    expect(server.data.get('k')?.value).toBe('later');
  });
});

describe('a server that was restored', () => {
  it('gets writes under the next number, though it knows nothing of those before', async () => {
    await open();
    await storage.set('a', 1);
    server.forgetClients();
    await Promise.all([storage.set('b', 2), storage.delete('a')]);
    expect(sent()).toEqual(['1: put a', '2: put b, delete a']);
    const ids = server.seen.map(({ batch }) => batch?.client ?? '');
    expect(ids[1]).toBe(ids[0]);
    for (const id of ids) expect(id).toMatch(/^[\w-]{22,64}$/);
    expect(server.applied).toEqual(['put a 1', 'put b 2', 'delete a']);
  });

  it('never takes a revision of another epoch for its own, though the number is the same', async () => {
    await open();
    await storage.set('k', 'old');
    const old = await storage.getEntry('k');
    server.epoch = 'second';
    server.seq = 0;
    server.data.clear();
    server.forgetClients();
    server.apply({ ops: [{ op: 'put', key: 'k', value: 'new' }] });
    expect(server.data.get('k')?.rev).toBe(1);
    expect(old?.revision).toBe('first.1');
    expect(await rejection(storage.set('k', 'mine', { ifRevision: old?.revision ?? null }))).toMatchObject({
      code: 'conflict',
      current: { value: 'new', revision: 'second.1' },
    });
    expect(await rejection(storage.delete('k', { ifRevision: old?.revision ?? '' }))).toMatchObject({
      code: 'conflict',
    });
    // A storage that has learned no epoch yet asks with the revision's own.
    await storage.close();
    await open();
    expect(await rejection(storage.set('k', 'mine', { ifRevision: 'first.1' }))).toMatchObject({
      code: 'conflict',
    });
    await storage.set('k', 'mine', { ifRevision: 'second.1' });
    expect(server.data.get('k')?.value).toBe('mine');
  });

  it('does not break an update that was under way', async () => {
    await open();
    await storage.set('n', 1);
    server.after = (request) => {
      if (request.batch?.ops[0]?.op !== 'get') return false;
      server.after = undefined;
      server.epoch = 'second';
      server.forgetClients();
      server.data.set('n', { value: 10, rev: 1 });
      return false;
    };
    expect(await storage.update('n', (n) => Number(n) + 1)).toBe(11);
    expect(server.data.get('n')?.value).toBe(11);
  });
});
