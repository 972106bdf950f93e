/**
 * The Flask backend with an IndexedDB beside it: what serves, and what is said of it, where the server cannot be used, and
 * what becomes of it when it can.
 */
import { createServer as createTcpServer } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { always, html, json, type OldServer, startOldServer } from '../support/old-server.ts';
import { listen } from '../support/ports.ts';
import { syncedStorages } from '../support/synced-storages.ts';

const open = syncedStorages();
let server: OldServer;

async function urlWhereNothingListens(): Promise<string> {
  const free = createTcpServer();
  const port = await listen(free);
  await new Promise((done) => free.close(done));
  return `http://127.0.0.1:${port}`;
}

beforeEach(async () => {
  server = await startOldServer();
});
afterEach(() => server.close());

/** It is tried again from time to time. */
const AWAY = expect.stringMatching(/^(offline|reconnecting)$/);

describe('a server that cannot be used', () => {
  const unusable: ReadonlyArray<readonly [string, OldServer['intercept'], RegExp]> = [
    ['answers 200 with HTML to everything', always(200, html, '<!doctype html>'), /text\/html, not JSON/],
    ['answers 404 with HTML', always(404, html, '<h1>Not Found</h1>'), /404 text\/html/],
    ['answers JSON that is not ours', always(200, json, '{"status":"ok"}'), /JSON of an unexpected shape/],
    ['answers a JSON 404 of its own', always(404, json, '{"error":"no such page"}'), /404/],
    ['answers truncated JSON', always(200, json, '{"status":"o'), /not complete JSON/],
    ['answers a list', always(200, json, '[]'), /not an object/],
    ['answers 500', always(500, json, '{"error":"boom"}'), /the server failed \(status 500\): boom/],
    ['redirects', always(302, { location: 'http://127.0.0.1:1/' }, ''), /redirect/],
    ['hangs', () => true, /did not answer within 2000 ms/],
  ];
  for (const [name, intercept, reason] of unusable) {
    it(`is stood in for by the outbox, and warned about once with the reason, when it ${name}`, async () => {
      server.intercept = intercept;
      const storage = open(server.url);
      await storage.setMany([
        ['a', 1],
        ['b', 2],
        ['c', 3],
      ]);
      await storage.delete('b');
      expect(await storage.update('a', (n) => Number(n) + 1)).toBe(2);
      expect(await storage.getMany(['a', 'b', 'c', 'never'])).toEqual([2, undefined, 3, undefined]);
      expect(await storage.keys()).toEqual(['a', 'c']);
      expect(await Array.fromAsync(storage.entries())).toEqual([
        ['a', 2],
        ['c', 3],
      ]);
      expect(await storage.stats()).toEqual({ keys: 2, sizeBytes: 2 });
      await storage.clear();
      expect(await storage.keys()).toEqual([]);
      await storage.set('d', 4);
      expect(storage.getBackendType()).toBe('indexeddb');
      expect(storage.status()).toEqual({
        backend: 'indexeddb',
        state: AWAY,
        level: undefined,
        pending: 1,
        conflicts: 0,
        lastSyncAtMs: undefined,
        reason: expect.stringMatching(reason),
      });
      await expect(storage.flush()).rejects.toMatchObject({
        code: 'unavailable',
        message: expect.stringMatching(reason),
      });
      // It was tried again and is still away: that is no news.
      expect(storage.lines).toEqual([expect.stringMatching(reason)]);
      expect(storage.lines[0]).toMatch(/^warn: @codeforge\/storage uses IndexedDB/);
      expect(server.data.size).toBe(0);
      expect(storage.statuses.map(({ state }) => state)).not.toContain('online');
    }, 20_000);

    it(`gets what was written meanwhile when it no longer ${name}`, async () => {
      server.intercept = intercept;
      const storage = open(server.url);
      await storage.set('a', 1);
      server.intercept = undefined;
      await storage.sent();
      expect(Object.fromEntries(server.data)).toEqual({ a: 1 });
      expect(storage.getBackendType()).toBe('flask');
      expect(storage.status()).toMatchObject({ state: 'online', level: 0, pending: 0 });
      expect(storage.lines).toEqual([
        expect.stringMatching(/^warn: @codeforge\/storage uses IndexedDB/),
        `info: @codeforge/storage uses the Flask backend at ${server.url}/`,
      ]);
    }, 20_000);
  }

  it('is one where nothing listens, and the reason says that the connection was refused', async () => {
    const storage = open(await urlWhereNothingListens());
    await storage.set('a', 1);
    expect(await storage.get('a')).toBe(1);
    expect(storage.getBackendType()).toBe('indexeddb');
    expect(storage.lines).toEqual([expect.stringMatching(/^warn: .*refused/)]);
    expect(storage.status()).toMatchObject({
      state: AWAY,
      pending: 1,
      reason: expect.stringMatching(/^the server cannot be used: .*refused/),
    });
  });

  it('keeps what was written for the next storage of the same server and database', async () => {
    const url = await urlWhereNothingListens();
    const first = open(url, { database: 'kept' });
    await first.set('a', { deep: new Date(5) });
    await first.close();
    const second = open(url, { database: 'kept' });
    expect(await second.get('a')).toEqual({ deep: new Date(5) });
    expect(second.status().pending).toBe(1);
    const other = open(url, { database: 'other' });
    expect(await other.get('a')).toBeUndefined();
  });

  it('leaves the database of the app without a server as it is', async () => {
    const url = await urlWhereNothingListens();
    const local = open(url, { database: 'apart', useFlask: false });
    await local.set('mine', 1);
    const away = open(url, { database: 'apart' });
    expect(await away.get('mine')).toBeUndefined();
    await away.clear();
    await away.set('theirs', 2);
    expect(await Array.fromAsync(local.entries())).toEqual([['mine', 1]]);
  });
});
