/**
 * Edges: signing out in several tabs, a clear() that is not allowed, names and limits as the app knows them, and error pages that
 * concern one request (docs/guarantees.md, 1.7, 2.4, 4.1, 9.3).
 */
import type { ServerResponse } from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ConflictError, type StorageStatus } from '../../src/index.ts';
import { type Level1Server, startLevel1Server } from '../support/level1-server.ts';
import { rejection } from '../support/rejection.ts';
import { syncedStorages } from '../support/synced-storages.ts';
import { startTenants, type Tenants, TOKENS } from '../support/tenants.ts';

const open = syncedStorages();
const html = { 'content-type': 'text/html' };

async function withServer(work: (server: Level1Server) => Promise<void>): Promise<void> {
  const server = await startLevel1Server();
  try {
    await work(server);
  } finally {
    await server.stop().catch(() => {});
  }
}

it('after forget() status() says so, and the listeners of all tabs are told once', () =>
  withServer(async (server) => {
    const options = { database: 'forgotten in two tabs' };
    const [here, other] = [open(server.url, options), open(server.url, options)];
    await here.set('k', 1);
    await other.get('k');
    const told: StorageStatus[][] = [[], []];
    for (const [i, storage] of [here, other].entries())
      storage.watchStatus((status) => void told[i]?.push(status));
    const otherTold = other.reaches(({ reason }) => /forget\(\)/.test(reason));
    await here.forget();
    await otherTold;
    await other.close();
    for (const storage of [here, other])
      expect(storage.status()).toMatchObject({
        state: 'offline',
        pending: 0,
        conflicts: 0,
        reason: expect.stringMatching(/closed.*forget\(\)/),
      });
    expect(told.map((statuses) => statuses.length)).toEqual([1, 1]);
    expect(await rejection(other.get('k'))).toMatchObject({ code: 'closed' });
  }));

describe('a token that may only read', () => {
  let tenants: Tenants;
  beforeAll(async () => {
    tenants = await startTenants();
  }, 60_000);
  afterAll(() => tenants.stop());

  it('keeps a clear() of the outbox waiting like every other write, and status() says why', async () => {
    const storage = open(tenants.url, { token: tenants.token });
    await tenants.put('a', 'k', 1);
    await storage.get('k');
    await storage.filled();
    tenants.cut();
    await storage.clear();
    expect(await storage.keys()).toEqual([]);
    tenants.current = TOKENS['a reads'];
    tenants.restore();
    await storage.reaches('online');
    expect(await rejection(storage.flush())).toMatchObject({
      message: expect.stringMatching(/does not allow this \(status 403\)/),
    });
    expect(storage.status()).toMatchObject({ pending: 1, conflicts: 0, state: 'online' });
    expect(storage.status().reason).toMatch(/does not allow this \(status 403\)/);
    expect(await storage.outbox()).toMatchObject([
      { type: 'clear', lastError: expect.stringMatching(/403/) },
    ]);
    expect(await tenants.data('a')).toEqual({ k: 1 });
    tenants.current = TOKENS.a;
    await storage.flush();
    expect(await tenants.data('a')).toEqual({});
  });
});

it('a conflict in a namespace names the key as its caller knows it, whatever the call', () =>
  withServer(async (server) => {
    const storage = open(server.url);
    const space = storage.namespace('n:').namespace('m:');
    await space.set('k', 1);
    const before = await space.getEntry('k');
    await space.set('k', 2);
    const ifRevision = before?.revision as string;
    const calls = [
      () => space.set('k', 3, { ifRevision }),
      () => space.delete('k', { ifRevision }),
      () =>
        space.atomic([
          { set: 'l', value: 1 },
          { check: 'k', ifRevision },
        ]),
      () => space.atomic([{ set: 'k', value: 1, ifRevision }]),
    ];
    for (const state of ['online', 'offline'] as const) {
      if (state === 'offline') {
        await storage.filled();
        await server.stop();
        await storage.get('k').catch(() => {});
      }
      for (const call of calls) {
        const error = await rejection(call());
        expect(error).toBeInstanceOf(ConflictError);
        expect([state, (error as ConflictError).key]).toEqual([state, 'k']);
        expect(error.message).toMatch(/^Key k has/);
        expect(error.stack).not.toMatch(/n:m:/);
      }
    }
  }));

it('an entry of the outbox names the server by the URL that the app gave', () =>
  withServer(async (server) => {
    for (const url of [server.url, `${server.url}/`, `${server.url}/path`]) {
      const storage = open(url, { database: `named by ${url}` });
      await storage.set('k', 1).catch(() => {});
      const entries = await storage.outbox();
      expect(
        entries.filter(({ database }) => database === `named by ${url}`).map(({ serverUrl }) => serverUrl),
      ).toEqual(url.endsWith('path') ? [url] : []);
    }
    await server.stop();
    const storage = open(server.url, { database: 'named while away' });
    await storage.set('k', 1);
    expect(await storage.outbox()).toContainEqual(
      expect.objectContaining({ database: 'named while away', serverUrl: server.url }),
    );
  }));

type Answer = (response: ServerResponse) => unknown;

const PAGES: Readonly<Record<string, Answer>> = {
  '500 as HTML': (r) => r.writeHead(500, html).end('<h1>Internal Server Error</h1>'),
  '403 as HTML': (r) => r.writeHead(403, html).end('<h1>Forbidden</h1>'),
  '422 as HTML': (r) => r.writeHead(422, html).end('<h1>Unprocessable</h1>'),
  '400 as HTML': (r) => r.writeHead(400, html).end('<h1>Bad Request</h1>'),
};

it(
  'an error page that one write gets does not take the tab offline',
  () =>
    withServer(async (server) => {
      for (const [name, answer] of Object.entries(PAGES)) {
        server.before = undefined;
        const storage = open(server.url, { timeout: 10_000 });
        await storage.set('k', 1);
        server.before = ({ text }, response) => text.includes('poison') && Boolean(answer(response));
        storage.statuses.length = 0;
        const outcome = await storage.set('bad', 'poison').then(
          () => 'in the outbox',
          (error) => error.code,
        );
        expect([name, outcome]).toEqual([name, name === '403 as HTML' ? 'forbidden' : 'in the outbox']);
        await storage.set('k', name);
        expect([name, server.data.get('k')?.value]).toEqual([name, name]);
        expect([name, storage.statuses.filter(({ state }) => state !== 'online')]).toEqual([name, []]);
        await storage.close();
      }
    }),
  60_000,
);

it('the size of an atomic unit online is limited by what the server announces', () =>
  withServer(async (server) => {
    server.health = { ...server.health, limits: { valueBytes: 16e6, batchOps: 5000, bodyBytes: 12e6 } };
    const storage = open(server.url, { timeout: 60_000 });
    const value = 'x'.repeat(3e6);
    await storage.atomic([
      { set: 'a', value },
      { set: 'b', value },
      { set: 'c', value },
    ]);
    expect(server.data.size).toBe(3);
    const many = Array.from({ length: 3000 }, (_, i) => ({ set: `k${i}`, value: i }));
    await storage.atomic(many);
    expect(server.data.size).toBe(3003);
    expect(
      await rejection(storage.atomic(['a', 'b', 'c', 'd', 'e'].map((key) => ({ set: key, value })))),
    ).toMatchObject({ code: 'too-large', message: expect.stringMatching(/12000000 bytes/) });
  }));
