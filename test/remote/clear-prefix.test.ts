/** `clear({ prefix })` on a server: what others write meanwhile, what the server refuses, and what becomes of a lost answer. */
import { afterEach, expect, it } from 'vitest';
import { type Level1Server, startLevel1Server } from '../support/level1-server.ts';
import { type OldServer, startOldServer } from '../support/old-server.ts';
import { shut, syncedStorages } from '../support/synced-storages.ts';

const open = syncedStorages();
const servers: Array<() => Promise<void>> = [];
afterEach(async () => {
  await Promise.all(servers.splice(0).map((stop) => stop().catch(() => undefined)));
});

async function level1(): Promise<Level1Server> {
  const server = await startLevel1Server();
  servers.push(server.stop);
  return server;
}
async function level0(): Promise<OldServer> {
  const server = await startOldServer();
  servers.push(server.close);
  return server;
}
const ENTRIES = [
  ['a:1', 1],
  ['a:2', 2],
  ['b', 3],
] as const;

for (const ack of ['server', 'local'] as const)
  it(`what another client writes after the keys were listed stays, acknowledged by the ${ack}`, async () => {
    const server = await level1();
    const storage = open(server.url, { ack });
    await storage.setMany(ENTRIES);
    await storage.flush();
    server.before = ({ batch }) => {
      if (!batch?.ops.some(({ op }) => op === 'delete')) return false;
      server.before = undefined;
      server.apply({
        ops: [
          { op: 'put', key: 'a:2', value: 'theirs' },
          { op: 'delete', key: 'a:1' },
        ],
      });
      return false;
    };
    await storage.clear({ prefix: 'a:' });
    expect(await storage.getMany(['a:1', 'a:2', 'b'])).toEqual([undefined, 'theirs', 3]);
    expect(server.before).toBeUndefined();
    // The mirror has learned the same.
    shut(server);
    expect(await storage.getMany(['a:1', 'a:2', 'b'])).toEqual([undefined, 'theirs', 3]);
  });

it('writes that wait are sent before the prefix is cleared', async () => {
  const server = await level1();
  const storage = open(server.url, { ack: 'local' });
  await storage.setMany(ENTRIES);
  await Promise.all([storage.set('a:3', 4), storage.clear({ prefix: 'a:' })]);
  expect([...server.data.keys()]).toEqual(['b']);
  expect(await storage.keys()).toEqual(['b']);
  expect(storage.status()).toMatchObject({ pending: 0, conflicts: 0 });
});

it('a clear whose answer is lost is settled later, and a later write of such a key is no conflict with it', async () => {
  for (const isApplied of [true, false]) {
    const server = await level1();
    const storage = open(server.url, { timeout: 1500 });
    await storage.setMany(ENTRIES);
    await storage.filled();
    const lose: Level1Server['before'] = ({ batch }, response) =>
      Boolean(batch?.ops.some(({ op }) => op === 'delete') && response.destroy());
    if (isApplied) server.after = lose;
    else server.before = lose;
    await storage.clear({ prefix: 'a:' });
    await storage.set('a:1', 'later');
    expect(await storage.keys()).toEqual(['a:1', 'b']);
    server.after = server.before = undefined;
    await storage.flush();
    expect(await storage.conflicts()).toEqual([]);
    expect(storage.status()).toMatchObject({ state: 'online', pending: 0 });
    expect(await storage.getMany(['a:1', 'a:2', 'b'])).toEqual(['later', undefined, 3]);
    expect(server.mostWritesAtOnce).toBe(1);
  }
});

it('a clear of a prefix waits while the server is away, and spares what others have written meanwhile', async () => {
  const server = await level1();
  const storage = open(server.url);
  await storage.setMany(ENTRIES);
  await storage.filled();
  await server.stop();
  await storage.set('a:4', 4);
  await storage.reaches('offline');
  await storage.clear({ prefix: 'a:' });
  expect(await storage.keys()).toEqual(['b']);
  await storage.set('a:late', 5);
  server.apply({ ops: [{ op: 'put', key: 'a:2', value: 'theirs' }] });
  server.apply({ ops: [{ op: 'put', key: 'a:new', value: 'theirs' }] });
  await server.start();
  await storage.flush();
  expect([...server.data.keys()].sort()).toEqual(['a:2', 'a:late', 'a:new', 'b']);
  expect(await storage.conflicts()).toMatchObject([
    { key: 'a:2', local: undefined, server: { value: 'theirs' } },
  ]);
});

it('on level 0, keys that no URL can name are reported, and the others are deleted', async () => {
  const server = await level0();
  for (const [key, value] of [...ENTRIES, ['a:/', 5] as const]) server.data.set(key, value);
  const storage = open(server.url);
  await expect(storage.clear({ prefix: 'a:' })).rejects.toMatchObject({
    code: 'invalid-key',
    message: expect.stringContaining('a:/'),
  });
  expect([...server.data.keys()]).toEqual(['b', 'a:/']);
  server.data.delete('a:/');
  await storage.clear({ prefix: 'a:' });
  // The mirror has learned the same.
  server.intercept = (request) => Boolean(request.socket.destroy());
  expect(await storage.getMany(['a:1', 'b'])).toEqual([undefined, 3]);
});
