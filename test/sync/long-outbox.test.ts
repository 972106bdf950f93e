/** An outbox that takes long to send: nothing that a reader calls waits for it (docs/guarantees.md, 3.1). */
import type { ServerResponse } from 'node:http';
import { afterEach, beforeEach, expect, it, onTestFinished, vi } from 'vitest';
import { type Level1Request, type Level1Server, startLevel1Server } from '../support/level1-server.ts';
import { syncedStorages } from '../support/synced-storages.ts';

const open = syncedStorages();
let server: Level1Server;

beforeEach(async () => {
  server = await startLevel1Server();
});
afterEach(() => server.stop().catch(() => undefined));

/** Keep back the answer to every write, until it is let go. */
function holdWrites(): { readonly held: Promise<void>; letGo(): void } {
  const waiting: Array<() => void> = [];
  let tell = (): void => {};
  const held = new Promise<void>((resolve) => {
    tell = resolve;
  });
  server.before = ({ batch, text }: Level1Request, response: ServerResponse): boolean => {
    if (batch?.m === undefined) return false;
    waiting.push(() => {
      const { status, json } = server.apply(JSON.parse(text));
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(json));
    });
    tell();
    return true;
  };
  return {
    held,
    letGo() {
      server.before = undefined;
      for (const go of waiting) go();
    },
  };
}

it('reads and ready() resolve while the server has not answered what waits, and flush() waits for that', async () => {
  server.apply({ ops: [{ op: 'put', key: 'theirs', value: 1 }] });
  await server.stop();
  const before = open(server.url, { database: 'long' });
  await before.setMany([
    ['ours', 2],
    ['other', 3],
  ]);
  await before.delete('other');
  await before.close();
  const writes = holdWrites();
  await server.start();

  const storage = open(server.url, { database: 'long' });
  expect(await storage.getMany(['theirs', 'ours', 'other'])).toEqual([1, 2, undefined]);
  await storage.ready();
  await writes.held;
  expect(await storage.keys()).toEqual(['ours', 'theirs']);
  expect(await storage.update('ours', (n) => Number(n) + 10)).toBe(12);
  expect(await storage.get('ours')).toBe(12);
  expect(storage.status()).toMatchObject({ state: 'online', backend: 'flask' });
  expect(storage.status().pending).toBeGreaterThan(0);

  let isFlushed = false;
  const flushed = storage.flush().then(() => {
    isFlushed = true;
  });
  expect(await storage.get('theirs')).toBe(1);
  expect(isFlushed).toBe(false);
  writes.letGo();
  await flushed;
  expect([...server.data].map(([key, { value }]) => [key, value]).sort()).toEqual([
    ['ours', 12],
    ['theirs', 1],
  ]);
  expect(storage.status()).toMatchObject({ pending: 0, conflicts: 0 });
});

it('a call does not read the outbox, however much waits there', async () => {
  /** How many records were read since it was last 0. */
  let records = 0;
  for (const method of ['get', 'getKey', 'getAll', 'getAllKeys'] as const) {
    const original = IDBObjectStore.prototype[method] as (...given: unknown[]) => IDBRequest;
    const counted = vi.spyOn(IDBObjectStore.prototype, method).mockImplementation(function (
      this: IDBObjectStore,
      ...given: unknown[]
    ) {
      const request = original.apply(this, given);
      request.addEventListener('success', () => {
        records += Array.isArray(request.result) ? request.result.length : 1;
      });
      return request;
    } as never);
    onTestFinished(() => counted.mockRestore());
  }
  const COUNT = 400;
  await server.stop();
  const storage = open(server.url);
  await storage.setMany(Array.from({ length: COUNT }, (_, i) => [`waits ${i}`, i] as const));
  const writes = holdWrites();
  await server.start();
  await storage.reaches('online');
  await writes.held;
  records = 0;
  await storage.getMany(['a', 'b']);
  expect(records).toBeGreaterThan(0);
  // Some are read in the background meanwhile.
  expect(records).toBeLessThan(COUNT / 4);
  writes.letGo();
  await storage.flush();
});

it('the reason says why something waits, and no longer says it when that has been sent', async () => {
  const storage = open(server.url);
  await storage.set('a', 1);
  const { reason } = storage.status();
  await server.stop();
  await storage.set('a', 2);
  expect(storage.status().reason).toMatch(/^the server cannot be used: /);
  server.before = ({ batch }, response) => {
    const isWrite = batch?.m !== undefined;
    if (isWrite)
      response.writeHead(507, { 'content-type': 'application/json' }).end('{"error":"The disk is full"}');
    return isWrite;
  };
  await server.start();
  await storage.reaches((status) =>
    /^writes are still in the outbox, because .*The disk is full/.test(status.reason),
  );
  expect(storage.status()).toMatchObject({ state: 'online', pending: 1 });
  server.before = undefined;
  await storage.flush();
  expect(storage.status()).toMatchObject({ state: 'online', pending: 0, reason });
});
