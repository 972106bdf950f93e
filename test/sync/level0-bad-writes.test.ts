/**
 * Writes that a server of level 0, or something on the way to it, never accepts: all others arrive (docs/guarantees.md, 8.4).
 */
import type { ServerResponse } from 'node:http';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { html, json, type OldServer, startOldServer } from '../support/old-server.ts';
import { rejection } from '../support/rejection.ts';
import { type SyncedStorage, syncedStorages } from '../support/synced-storages.ts';

const open = syncedStorages();
let server: OldServer;

beforeEach(async () => {
  server = await startOldServer();
});
afterEach(() => server.close());

const BAD = 'never accepted';
/** For a busy machine: what is tested is that something happens, not how soon. */
const PATIENCE_MS = 120_000;

type Answer = (response: ServerResponse) => unknown;
const failed: Answer = (r) => r.writeHead(500, json).end('{"error":"It failed"}');

/** Answers every request whose body a test chooses. */
const answering = (isChosen: (body: string, method: string | undefined) => boolean, answer: Answer): void => {
  server.intercept = ({ method }, response, body) => {
    if (!isChosen(body, method)) return false;
    answer(response);
    return true;
  };
};
const answeringBad = (answer: Answer): void => answering((body) => body.includes(BAD), answer);
const leave = (): void =>
  answering(
    () => true,
    (r) => r.destroy(),
  );
const comeBack = (): void => {
  server.intercept = undefined;
};
const held = (): Record<string, unknown> => Object.fromEntries(server.data);
const reachesPending = (storage: SyncedStorage, count: number) =>
  storage.reaches(({ state, pending }) => state === 'online' && pending === count);

const ANSWERS: Readonly<Record<string, Answer>> = {
  '500 as JSON': failed,
  '500 as HTML': (r) => r.writeHead(500, html).end('<h1>Error</h1>'),
  '404 as HTML': (r) => r.writeHead(404, html).end('<h1>Not Found</h1>'),
  '503 as HTML': (r) => r.writeHead(503, html).end('<h1>Busy</h1>'),
  '503 that asks to wait': (r) => r.writeHead(503, { ...json, 'retry-after': '1' }).end('{"error":"Busy"}'),
  'a closed connection': (r) => r.destroy(),
  'no answer': () => undefined,
};

for (const [name, answer] of Object.entries(ANSWERS))
  it(`9 good writes arrive beside one that gets ${name}; after three attempts, each after another value was stored, it is a conflict`, {
    timeout: PATIENCE_MS,
  }, async () => {
    const storage = open(server.url, { timeout: 2500 });
    await storage.ready();
    leave();
    for (let i = 0; i < 10; i += 1) await storage.set(`k${i}`, i === 2 ? BAD : i);
    answeringBad(answer);
    const others = Object.fromEntries(Array.from({ length: 10 }, (_, i) => [`k${i}`, i]));
    delete others.k2;
    await storage.flush().catch(() => undefined);
    await reachesPending(storage, 1);
    expect(held()).toEqual(others);
    // Until then it is read back, and nothing else waits for it.
    expect(await storage.get('k2')).toBe(BAD);
    for (let n = 0; storage.status().conflicts === 0; n += 1) {
      await storage.set('other', n);
      await storage.flush().catch(() => undefined);
      expect(server.data.get('other')).toBe(n);
    }
    expect(storage.status().pending).toBe(0);
    expect(await storage.conflicts()).toMatchObject([
      { key: 'k2', reason: 'rejected', local: { value: BAD } },
    ]);
    comeBack();
    await storage.set('k2', 'accepted');
    expect(server.data.get('k2')).toBe('accepted');
  });

it('a write that is forbidden alone stays in the outbox, and all others arrive', {
  timeout: PATIENCE_MS,
}, async () => {
  const storage = open(server.url);
  await storage.ready();
  leave();
  for (let i = 0; i < 5; i += 1) await storage.set(`k${i}`, i === 2 ? BAD : i);
  answeringBad((r) => r.writeHead(403, html).end('<h1>Forbidden</h1>'));
  await storage.flush().catch(() => undefined);
  await reachesPending(storage, 1);
  for (let n = 0; n < 5; n += 1) {
    await storage.set('other', n);
    await rejection(storage.flush());
  }
  expect(storage.status()).toMatchObject({ pending: 1, conflicts: 0 });
  comeBack();
  await storage.flush();
  expect(held()).toEqual({ k0: 0, k1: 1, k2: BAD, k3: 3, k4: 4, other: 4 });
});

it('10 bad ones among 50: all others arrive before one of the bad ones is rejected', {
  timeout: PATIENCE_MS,
}, async () => {
  const storage = open(server.url);
  await storage.ready();
  leave();
  const isBad = (i: number): boolean => i % 5 === 2;
  for (let i = 0; i < 50; i += 1) await storage.set(`k${i}`, isBad(i) ? `${BAD} ${i}` : i);
  answeringBad((r) => r.destroy());
  await storage.flush().catch(() => undefined);
  await reachesPending(storage, 10);
  expect(storage.status().conflicts).toBe(0);
  expect(Object.values(held()).sort()).toEqual(
    Array.from({ length: 50 }, (_, i) => i)
      .filter((i) => !isBad(i))
      .sort(),
  );
});

it('a later write of the key waits behind it, and arrives in its place', {
  timeout: PATIENCE_MS,
}, async () => {
  const storage = open(server.url);
  await storage.ready();
  leave();
  await storage.set('k', BAD);
  answeringBad(failed);
  const lastError = async (): Promise<string | undefined> =>
    (await storage.outbox()).find(({ serverUrl }) => serverUrl === server.url)?.lastError;
  await storage.flush().catch(() => undefined);
  await expect.poll(lastError, { timeout: PATIENCE_MS, interval: 20 }).toContain('It failed');
  await storage.set('k', 'accepted');
  await storage.set('other', 1);
  await storage.flush();
  expect(held()).toEqual({ k: 'accepted', other: 1 });
  expect(storage.status()).toMatchObject({ state: 'online', pending: 0, conflicts: 0 });
});

it('a write that fails alone while the server is there does not end the state online', {
  timeout: PATIENCE_MS,
}, async () => {
  const storage = open(server.url);
  await storage.ready();
  answeringBad(failed);
  await storage.set('k', BAD);
  await storage.set('other', 1);
  expect(storage.statuses.map(({ state }) => state).filter((state) => state === 'offline')).toEqual([]);
  expect(storage.status()).toMatchObject({ state: 'online', pending: 1 });
  expect(held()).toEqual({ other: 1 });
});

it('a clear() after it deletes what was known, and nothing that is written after it is deleted', {
  timeout: PATIENCE_MS,
}, async () => {
  server.data.set('a', 1);
  server.data.set('b', 1);
  const storage = open(server.url);
  await storage.ready();
  leave();
  await storage.set('k', BAD);
  await storage.clear();
  await storage.set('b', 2);
  await storage.set('new', BAD);
  answeringBad(failed);
  await storage.flush().catch(() => undefined);
  await reachesPending(storage, 1);
  expect(held()).toEqual({ b: 2 });
  expect(await storage.keys()).toEqual(['b', 'new']);
});

for (const [name, answer] of [
  ['500', failed],
  ['429', (r: ServerResponse) => r.writeHead(429, json).end('{"error":"Only reads for now"}')],
] as const)
  it(`a server that answers every write with ${name} for a while keeps everything waiting, and nothing is rejected`, {
    timeout: PATIENCE_MS,
  }, async () => {
    const storage = open(server.url);
    await storage.ready();
    leave();
    for (let i = 0; i < 4; i += 1) await storage.set(`k${i}`, i);
    answering((_, method) => method !== 'GET', answer);
    for (let pass = 0; pass < 4; pass += 1) await rejection(storage.flush());
    expect(storage.status()).toMatchObject({ pending: 4, conflicts: 0 });
    comeBack();
    await storage.sent();
    expect(held()).toEqual(Object.fromEntries(Array.from({ length: 4 }, (_, i) => [`k${i}`, i])));
    expect(await storage.conflicts()).toEqual([]);
  });
