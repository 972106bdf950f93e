/** A tab that has the lock under which the outbox is sent, and is suspended: nobody waits for it for long (docs/guarantees.md, 5.1). */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { afterEach, beforeEach, expect, it, onTestFinished } from 'vitest';
import { type Level1Server, startLevel1Server } from '../support/level1-server.ts';
import { syncedStorages } from '../support/synced-storages.ts';

const open = syncedStorages();
let server: Level1Server;

beforeEach(async () => {
  server = await startLevel1Server();
});
afterEach(() => server.stop().catch(() => undefined));

/** Takes a lock and stops, as a suspended process does: it neither renews nor releases anything. */
const SUSPENDED = `
  const { parentPort, workerData } = require('node:worker_threads');
  navigator.locks.request(workerData, () => {
    parentPort.postMessage('has it');
    return new Promise(() => setImmediate(() => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)));
  });
`;

/** A thread that has the locks of a storage's outbox for ever. */
async function suspendedWith(name: string): Promise<void> {
  const worker = new Worker(SUSPENDED, { eval: true, workerData: name });
  onTestFinished(() => void worker.terminate());
  await once(worker, 'message');
}

/** The lock under which a storage sends, read while it sends. */
async function lockOf(database: string): Promise<string> {
  let name: string | undefined;
  server.before = ({ batch }) => {
    if (batch?.m !== undefined)
      void navigator.locks.query().then(({ held }) => {
        name = held?.find((lock) => lock.name?.startsWith('codeforge-sync:'))?.name;
      });
    return false;
  };
  await server.stop();
  const storage = open(server.url, { database });
  await storage.set('first', 1);
  await server.start();
  await storage.flush();
  await storage.close();
  server.before = undefined;
  return String(name);
}

it('reads, writes and ready() go on at once, and flush() resolves: the lock is taken from a suspended tab', async () => {
  const name = await lockOf('suspended');
  expect(name).toMatch(/^codeforge-sync:/);
  await server.stop();
  const storage = open(server.url, { database: 'suspended' });
  await storage.set('waits', 1);
  await suspendedWith(name);
  await server.start();

  const begin = performance.now();
  await storage.reaches('online');
  await storage.ready();
  await storage.set('direct', 2);
  expect(await storage.getMany(['first', 'waits', 'direct'])).toEqual([1, 1, 2]);
  expect(performance.now() - begin).toBeLessThan(6000);
  expect(storage.status().pending).toBe(1);

  await storage.flush();
  expect(server.data.get('waits')?.value).toBe(1);
  expect(storage.status()).toMatchObject({ state: 'online', pending: 0, conflicts: 0 });
}, 40_000);

it('a tab that is alive keeps the lock, and flush() of another tab waits until it has sent', async () => {
  await server.stop();
  const one = open(server.url, { database: 'alive' });
  await one.setMany([
    ['a', 1],
    ['b', 2],
  ]);
  let answer = (): void => {};
  const held = new Promise<void>((resolve) => {
    server.before = ({ batch, text }, response) => {
      if (batch?.m === undefined) return false;
      answer = () => {
        server.before = undefined;
        const { status, json } = server.apply(JSON.parse(text));
        response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(json));
      };
      resolve();
      return true;
    };
  });
  await server.start();
  await held;
  const two = open(server.url, { database: 'alive' });
  await two.ready();
  const flushed = two.flush();
  // Longer than a tab without a heartbeat keeps it.
  setTimeout(answer, 7000);
  await flushed;
  expect(server.applied).toEqual(['put a 1', 'put b 2']);
  expect(server.mostWritesAtOnce).toBe(1);
}, 40_000);
