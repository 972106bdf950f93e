/**
 * One write that the server, or something on the way to it, never accepts: all others arrive, and it is kept among the conflicts
 * (docs/guarantees.md, 2.4).
 */
import type { ServerResponse } from 'node:http';
import { expect, it } from 'vitest';
import { type Level1Request, startLevel1Server } from '../support/level1-server.ts';
import { rejection } from '../support/rejection.ts';
import { syncedStorages } from '../support/synced-storages.ts';

const open = syncedStorages();

const json = { 'content-type': 'application/json' };
const html = { 'content-type': 'text/html' };
const POISON = 'never accepted';

type Answer = (response: ServerResponse) => unknown;

const REFUSALS: Readonly<Record<string, Answer>> = {
  '400 as HTML': (r) => r.writeHead(400, html).end('<h1>Bad Request</h1>'),
  '403 as HTML': (r) => r.writeHead(403, html).end('<h1>Forbidden</h1>'),
  '404 as HTML': (r) => r.writeHead(404, html).end('<h1>Not Found</h1>'),
  '409 as JSON': (r) => r.writeHead(409, json).end('{"error":"Conflict"}'),
  '422 as JSON': (r) => r.writeHead(422, json).end('{"error":"Unprocessable"}'),
  '422 as HTML': (r) => r.writeHead(422, html).end('<h1>Unprocessable</h1>'),
  '500 as JSON': (r) => r.writeHead(500, json).end('{"error":"It failed"}'),
  '503 as HTML': (r) => r.writeHead(503, html).end('<h1>Busy</h1>'),
  'a closed connection': (r) => r.destroy(),
};

const isPoisoned = ({ text }: Level1Request): boolean => text.includes(POISON);

it('a waiting write that is never accepted keeps no other one waiting, whatever it is answered', async () => {
  const outcomes = Object.entries(REFUSALS).map(async ([name, answer]) => {
    const server = await startLevel1Server();
    try {
      await server.stop();
      const storage = open(server.url);
      for (let i = 0; i < 10; i += 1) await storage.set(`k${i}`, i === 4 ? POISON : i);
      server.before = (request, response) => isPoisoned(request) && Boolean(answer(response));
      await server.start();
      const kept = storage.reaches(({ pending, conflicts }) => pending === 0 && conflicts === 1);
      await storage.reaches('online');
      await storage.flush().catch(() => {});
      // The others do not wait for what becomes of it.
      expect([name, [...server.data.keys()].sort()]).toEqual([
        name,
        ['k0', 'k1', 'k2', 'k3', 'k5', 'k6', 'k7', 'k8', 'k9'],
      ]);
      await kept;
      expect([name, await storage.conflicts()]).toMatchObject([
        name,
        [{ key: 'k4', reason: 'rejected', local: { value: POISON } }],
      ]);
      // What is written next arrives, also under that key.
      server.before = undefined;
      await storage.set('k4', 'accepted');
      await storage.flush();
      expect([name, server.data.get('k4')?.value]).toEqual([name, 'accepted']);
      expect([name, storage.status()]).toMatchObject([name, { state: 'online', pending: 0 }]);
      expect([name, server.applied.length]).toEqual([name, 10]);
    } finally {
      await server.stop().catch(() => {});
    }
  });
  await Promise.all(outcomes);
}, 60_000);

it('a later write of the same key waits behind it, and arrives in its place', async () => {
  const server = await startLevel1Server();
  try {
    const storage = open(server.url);
    await storage.ready();
    await server.stop();
    await storage.set('k', POISON);
    server.before = (request, response) =>
      isPoisoned(request) && Boolean(REFUSALS['500 as JSON']?.(response));
    await server.start();
    await storage.reaches('online');
    const attempts = async (): Promise<number> => (await storage.outbox())[0]?.attempts ?? 0;
    await expect.poll(attempts, { timeout: 10_000, interval: 10 }).toBeGreaterThan(0);
    expect(storage.status()).toMatchObject({ state: 'online', pending: 1 });
    await storage.set('k', 'accepted');
    await storage.set('other', 1);
    await storage.flush();
    expect(server.data.get('k')?.value).toBe('accepted');
    expect(storage.status()).toMatchObject({ pending: 0, conflicts: 0 });
  } finally {
    await server.stop().catch(() => {});
  }
}, 60_000);

it('a write that a proxy answers with a page is rejected alone, and the page goes on', async () => {
  const server = await startLevel1Server();
  try {
    const storage = open(server.url);
    await storage.ready();
    server.before = (request, response) =>
      isPoisoned(request) && Boolean(REFUSALS['403 as HTML']?.(response));
    expect(await rejection(storage.set('k', POISON))).toMatchObject({ code: 'forbidden' });
    await storage.set('k', 1);
    await storage.update('k', (n) => Number(n) + 1);
    expect(await storage.get('k')).toBe(2);
    expect(storage.status()).toMatchObject({ state: 'online', pending: 0, conflicts: 0 });
    expect(server.applied).toEqual(['put k 1', 'put k 2']);
  } finally {
    await server.stop().catch(() => {});
  }
});

it('a server that takes no writes for a while keeps everything waiting, and nothing is rejected', async () => {
  for (const status of [429, 500, 503]) {
    const server = await startLevel1Server();
    try {
      await server.stop();
      const storage = open(server.url, { timeout: 2000 });
      for (let i = 0; i < 3; i += 1) await storage.set(`k${i}`, i);
      server.before = ({ batch }, response) => {
        if (batch?.m === undefined) return false;
        response.writeHead(status, json).end('{"error":"Only reads for now"}');
        return true;
      };
      await server.start();
      await storage.reaches('online');
      // More passes than a bad write gets.
      for (let pass = 0; pass < 5; pass += 1) await rejection(storage.flush());
      expect([status, storage.status()]).toMatchObject([status, { pending: 3, conflicts: 0 }]);
      expect(storage.status().reason).toMatch(/Only reads for now|status/);
      server.before = undefined;
      await storage.reaches('online');
      await storage.flush();
      expect([...server.data.keys()]).toEqual(['k0', 'k1', 'k2']);
    } finally {
      await server.stop().catch(() => {});
    }
  }
}, 60_000);

it('a write that the server refuses takes no other call of its turn with it', async () => {
  for (const [status, code] of [
    [403, 'forbidden'],
    [422, 'refused'],
    [507, 'quota'],
  ] as const) {
    const server = await startLevel1Server();
    try {
      const storage = open(server.url);
      await storage.setMany([
        ['a', 1],
        ['b', 2],
      ]);
      server.before = (request, response) => {
        if (!isPoisoned(request)) return false;
        response.writeHead(status, json).end('{"error":"no"}');
        return true;
      };
      const outcomes = await Promise.allSettled([
        storage.get('a'),
        storage.set('bad', POISON),
        storage.delete('b'),
        storage.set('c', 3),
      ]);
      expect([status, outcomes]).toMatchObject([
        status,
        [{ value: 1 }, { reason: { code } }, { status: 'fulfilled' }, { status: 'fulfilled' }],
      ]);
      expect([...server.data.keys()]).toEqual(['a', 'c']);
    } finally {
      await server.stop().catch(() => {});
    }
  }
});
