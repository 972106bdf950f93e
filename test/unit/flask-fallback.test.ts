/**
 * The Flask backend with an IndexedDB beside it: what serves, and what is said of it, where the server cannot be used.
 */
import { createServer as createTcpServer } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createStorage, type KeyValueStorage, type StorageOptions } from '../../src/index.ts';
import { type OldServer, startOldServer } from '../support/old-server.ts';
import { listen } from '../support/proxy.ts';

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
  const database = `fallback-${databases}`;
  storage = createStorage({ useFlask: true, flaskUrl: server.url, logger, database, ...options });
  return storage;
}

async function urlWhereNothingListens(): Promise<string> {
  const free = createTcpServer();
  const port = await listen(free);
  await new Promise((done) => free.close(done));
  return `http://127.0.0.1:${port}`;
}

beforeEach(async () => {
  server = await startOldServer();
  lines.length = 0;
});
afterEach(async () => {
  await storage?.close();
  await server.close();
});

const html = { 'content-type': 'text/html' };
const json = { 'content-type': 'application/json' };
/** Answer every request the same. */
const always =
  (status: number, headers: Record<string, string>, body: string): OldServer['intercept'] =>
  (_, response) => {
    response.writeHead(status, headers).end(body);
    return true;
  };

describe('a server that cannot be used', () => {
  const unusable: ReadonlyArray<readonly [string, OldServer['intercept'], RegExp]> = [
    ['answers 200 with HTML to everything', always(200, html, '<!doctype html>'), /text\/html, not JSON/],
    ['answers 404 with HTML', always(404, html, '<h1>Not Found</h1>'), /404 text\/html/],
    ['answers JSON that is not ours', always(200, json, '{"status":"ok"}'), /without a value/],
    ['answers a JSON 404 of its own', always(404, json, '{"error":"no such page"}'), /404/],
    ['answers truncated JSON', always(200, json, '{"status":"o'), /no whole JSON/],
    ['answers a list', always(200, json, '[]'), /no object/],
    ['answers 500', always(500, json, '{"error":"boom"}'), /status 500: boom/],
    ['redirects', always(302, { location: 'http://127.0.0.1:1/' }, ''), /redirect/],
    ['hangs', () => true, /did not answer within 2000 ms/],
  ];
  for (const [name, intercept, reason] of unusable) {
    it(`uses IndexedDB, and warns once why, when the server ${name}`, async () => {
      server.intercept = intercept;
      open();
      await storage.set('a', 1);
      expect(await storage.get('a')).toBe(1);
      expect(storage.getBackendType()).toBe('indexeddb');
      expect(lines).toEqual([expect.stringMatching(reason)]);
      expect(lines[0]).toMatch(/^warn: @codeforge\/storage uses IndexedDB/);
      expect(server.data.size).toBe(0);
    }, 10_000);
  }

  it('uses IndexedDB when nothing listens there, and says that the connection was refused', async () => {
    open({ flaskUrl: await urlWhereNothingListens() });
    await storage.set('a', 1);
    expect(storage.getBackendType()).toBe('indexeddb');
    expect(lines).toEqual([expect.stringMatching(/^warn: .*refused/)]);
  });

  it('says why IndexedDB serves', async () => {
    open({ flaskUrl: await urlWhereNothingListens() });
    await storage.get('a');
    expect(storage.status()).toEqual({
      backend: 'indexeddb',
      level: undefined,
      reason: expect.stringMatching(/^the server cannot be used: .*refused/),
    });
    await storage.close();
    open({ useFlask: false });
    expect(storage.status().reason).toBe('no server is configured (useFlask)');
  });
});
