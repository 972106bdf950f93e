/**
 * Several writes of an outbox that the server, or something on the way to it, never accepts: all others arrive before one of them is
 * sent alone a second time (docs/guarantees.md, 2.4).
 */
import type { ServerResponse } from 'node:http';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { type Level1Request, type Level1Server, startLevel1Server } from '../support/level1-server.ts';
import { syncedStorages } from '../support/synced-storages.ts';

const open = syncedStorages();
let server: Level1Server;

beforeEach(async () => {
  server = await startLevel1Server();
});
afterEach(() => server.stop().catch(() => undefined));

const json = { 'content-type': 'application/json' };
const html = { 'content-type': 'text/html' };
const BAD = 'never accepted';

type Answer = (response: ServerResponse) => unknown;
const failed: Answer = (r) => r.writeHead(500, json).end('{"error":"It failed"}');
const ANSWERS: ReadonlyArray<readonly [string, Answer]> = [
  ['500 as JSON', failed],
  ['400 as HTML', (r) => r.writeHead(400, html).end('<h1>Bad Request</h1>')],
  ['403 as HTML', (r) => r.writeHead(403, html).end('<h1>Forbidden</h1>')],
  ['503 as HTML', (r) => r.writeHead(503, html).end('<h1>Busy</h1>')],
  ['a closed connection', (r) => r.destroy()],
];

/** The key of a bad write that is sent alone. */
const keyAlone = ({ batch, text }: Level1Request): string | undefined =>
  text.includes(BAD) && batch?.ops.length === 1 ? batch.ops[0]?.key : undefined;

/** Answers requests with bad writes. `again` is called before a bad write that is sent alone a second time is answered. */
function refuseBad(
  answer: Answer,
  again: (key: string, response: ServerResponse) => boolean | undefined,
): void {
  const mutations = new Map<string, Set<unknown>>();
  server.before = (request, response) => {
    if (!request.text.includes(BAD)) return false;
    const key = keyAlone(request);
    if (key !== undefined) {
      // A request that is repeated is one of the same client.
      const clients = mutations.get(key) ?? new Set();
      mutations.set(key, clients.add(request.batch?.client));
      if (clients.size > 1 && again(key, response)) return true;
    }
    answer(response);
    return true;
  };
}

for (const [name, answer] of ANSWERS)
  it(`40 good writes arrive before any of 10 bad ones, answered with ${name}, is sent alone again`, async () => {
    await server.stop();
    const storage = open(server.url);
    const isBad = (i: number): boolean => i % 5 === 2;
    for (let i = 0; i < 50; i += 1) await storage.set(`k${i}`, isBad(i) ? BAD : i);
    const good = Array.from({ length: 50 }, (_, i) => i).filter((i) => !isBad(i));
    const arrived: number[] = [];
    refuseBad(answer, () => void arrived.push(server.data.size));
    const kept = storage.reaches(({ pending, conflicts }) => pending === 0 && conflicts === 10);
    await server.start();
    await storage.flush().catch(() => undefined);
    await kept;
    expect(Math.min(...arrived)).toBe(good.length);
    expect([...server.data.keys()].sort()).toEqual(good.map((i) => `k${i}`).sort());
    expect(server.applied).toHaveLength(good.length);
    const conflicts = await storage.conflicts();
    expect(conflicts.map(({ reason, local }) => [reason, local])).toEqual(
      Array(10).fill(['rejected', { value: BAD }]),
    );
    expect(storage.status()).toMatchObject({ state: 'online', pending: 0 });
  }, 120_000);

it('a write that is queued while bad ones are sent again is sent before the next of them', async () => {
  const storage = open(server.url, { ack: 'local' });
  await storage.ready();
  await server.stop();
  for (let i = 0; i < 10; i += 1) await storage.set(`k${i}`, i < 3 ? BAD : i);
  let first: string | undefined;
  const wasFreshThere: boolean[] = [];
  refuseBad(failed, (key, response) => {
    if (first !== undefined) {
      if (key !== first) wasFreshThere.push(server.data.has('fresh'));
      return false;
    }
    first = key;
    void storage.set('fresh', 1).then(() => failed(response));
    return true;
  });
  await server.start();
  await storage.reaches(({ conflicts, pending }) => conflicts === 3 && pending === 0);
  expect(wasFreshThere).not.toHaveLength(0);
  expect(wasFreshThere).not.toContain(false);
}, 120_000);

it('a later write of a bad key arrives with the good ones, and replaces the bad one', async () => {
  await server.stop();
  const storage = open(server.url);
  for (let i = 0; i < 10; i += 1) await storage.set(`k${i}`, i < 2 ? BAD : i);
  let isReplaced = false;
  refuseBad(failed, (key, response) => {
    if (isReplaced) return false;
    isReplaced = true;
    void storage.set(key, 'accepted').then(() => failed(response));
    return true;
  });
  await server.start();
  await storage.reaches(({ conflicts, pending }) => conflicts === 1 && pending === 0);
  expect([...server.data.values()].filter(({ value }) => value === 'accepted')).toHaveLength(1);
  expect(server.data.size).toBe(9);
}, 120_000);

it('a write whose request is lost once arrives, and so does a clear() with what was written after it', async () => {
  const storage = open(server.url);
  await storage.setMany([
    ['a', 1],
    ['b', 1],
  ]);
  await storage.filled();
  await server.stop();
  await storage.clear();
  await storage.set('b', 2);
  server.applied.length = 0;
  const lost = new Set<string>();
  server.before = ({ batch }, response) => {
    const [op] = batch?.m === undefined ? [] : batch.ops;
    if (!op || op.op === 'check' || lost.has(op.op)) return false;
    lost.add(op.op);
    response.destroy();
    return true;
  };
  await server.start();
  await storage.flush();
  expect([...lost]).toEqual(['clear', 'put']);
  expect(server.applied).toEqual(['clear', 'put b 2']);
  expect(storage.status()).toMatchObject({ state: 'online', pending: 0, conflicts: 0 });
});
