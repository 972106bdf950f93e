/**
 * `watch()` and `watchStatus()` with a real server and without IndexedDB, as in Node.js: the server's change feed is followed, and no change
 * is told twice (docs/guarantees.md, 5.5).
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, onTestFinished, vi } from 'vitest';
import {
  type Change,
  createStorage,
  type KeyValueStorage,
  type StorageOptions,
  type StorageStatus,
} from '../../src/index.ts';
import { type MortalServer, mortalServer } from '../support/mortal-server.ts';
import { startOldServer } from '../support/old-server.ts';
import { startProxy } from '../support/proxy.ts';
import { startTenants, TOKENS } from '../support/tenants.ts';
import { withoutIndexedDb } from '../support/without-indexeddb.ts';

withoutIndexedDb();

let folder = '';
let server: MortalServer;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'codeforge-watch-'));
  server = await mortalServer(join(folder, 'test.db'), {});
  await server.start();
});
afterEach(async () => {
  await server.kill();
  await rm(folder, { recursive: true, force: true });
});

function open(url = server.url, options: StorageOptions = {}): KeyValueStorage {
  const storage = createStorage({ useFlask: true, flaskUrl: url, logger: false, ...options });
  onTestFinished(() => storage.close());
  return storage;
}
/** Another client. */
const theirs = (key: string, value: unknown): Promise<void> => server.put(key, value);
const soon = (check: () => void): Promise<void> => vi.waitFor(check, { timeout: 40_000, interval: 20 });

type Told = readonly [type: string, key: string | undefined, value: unknown, source: string];
const short = ({ type, key, value, source }: Change): Told => [type, key, value, source];

/** What a listener hears, once the feed is followed. */
async function listen(storage: KeyValueStorage, write = theirs): Promise<Told[]> {
  const heard: Told[] = [];
  storage.watch(undefined, (change) => heard.push(short(change)));
  await storage.ready();
  let n = 0;
  await vi.waitFor(
    async () => {
      n += 1;
      await write('first', n);
      expect(heard).not.toEqual([]);
    },
    { timeout: 40_000, interval: 100 },
  );
  await soon(() => expect(heard.at(-1)).toEqual(['set', 'first', n, 'remote']));
  heard.length = 0;
  return heard;
}

it('tells the changes of other clients by one stream, and its own ones once, with their revisions', async () => {
  const proxy = await startProxy(server.url);
  onTestFinished(() => proxy.close());
  const storage = open(proxy.url);
  const heard = await listen(storage);
  const revisions: unknown[] = [];
  storage.watch('a', (change) => revisions.push(change.type === 'set' && change.revision));
  await new Promise((done) => setTimeout(done, 500));
  const { requests } = proxy.traffic;
  await theirs('a', 1);
  await soon(() => expect(heard).toHaveLength(1));
  expect(proxy.traffic.requests).toBe(requests);
  await storage.set('a', new Map([[1, new Date(5)]]));
  expect(revisions.at(-1)).toBe((await storage.getEntry('a'))?.revision);
  await storage.setMany([
    ['n:1', 1],
    ['n:2', 2],
  ]);
  await storage.update('n:1', () => ({ n: 3 }));
  await storage.atomic([{ set: 'b', value: 4 }, { delete: 'n:2' }]);
  await storage.clear({ prefix: 'n:' });
  await storage.clear();
  await theirs('end', 1);
  await soon(() =>
    expect(heard).toEqual([
      ['set', 'a', 1, 'remote'],
      ['set', 'a', new Map([[1, new Date(5)]]), 'local'],
      ['set', 'n:1', 1, 'local'],
      ['set', 'n:2', 2, 'local'],
      ['set', 'n:1', { n: 3 }, 'local'],
      ['set', 'b', 4, 'local'],
      ['delete', 'n:2', undefined, 'local'],
      ['delete', 'n:1', undefined, 'local'],
      ['clear', undefined, undefined, 'local'],
      ['set', 'end', 1, 'remote'],
    ]),
  );
});

it('tells no change twice, none after a newer one, and the last one, while the line is cut and the server is killed', async () => {
  const proxy = await startProxy(server.url);
  onTestFinished(() => proxy.close());
  const clients = [open(proxy.url), open(proxy.url), open()];
  const KEYS = ['a', 'b', 'c'];
  const faults: string[] = [];
  const states = clients.map(() => new Map<string, unknown>());
  const told: string[][] = clients.map(() => []);
  for (const [i, client] of clients.entries()) {
    const seqs = new Map<string, number>();
    client.watch(undefined, (change) => {
      // What keys hold, after changes may have been missed.
      if (change.type !== 'set') return void faults.push(`${i} has heard a ${change.type}`);
      const seq = Number(change.revision?.split('.')[1]);
      const before = seqs.get(change.key) ?? 0;
      if (!(seq > before)) faults.push(`${i}: ${change.key} at ${seq} (${change.source}) after ${before}`);
      seqs.set(change.key, seq);
      states[i]?.set(change.key, change.value);
      if (change.source === 'local') told[i]?.push(`${change.key}=${change.value}`);
    });
  }
  await Promise.all(clients.map((client) => client.ready()));
  let isOver = false;
  const trouble = (async () => {
    for (let n = 0; !isOver; n += 1) {
      await new Promise((done) => setTimeout(done, 300));
      if (n % 5 === 4) {
        await server.kill();
        await server.start();
      } else {
        proxy.cut();
        proxy.restore();
      }
    }
  })();
  const accepted: string[][] = clients.map(() => []);
  await Promise.all(
    clients.map(async (client, i) => {
      for (let n = 0; n < 150; n += 1) {
        const [key, value] = [KEYS[n % 3] as string, `${i}.${n}`];
        await client.set(key, value).then(
          () => accepted[i]?.push(`${key}=${value}`),
          () => undefined,
        );
        await new Promise((done) => setTimeout(done, 10));
      }
    }),
  );
  isOver = true;
  await trouble;
  const truth = await clients[2]?.getMany(KEYS);
  for (const state of states) await soon(() => expect(KEYS.map((key) => state.get(key))).toEqual(truth));
  expect(faults).toEqual([]);
  for (const [i, all] of accepted.entries()) {
    expect(all.length).toBeGreaterThan(50);
    expect(new Set(told[i]).size).toBe(told[i]?.length);
  }
  // An answer that was lost is not known as the client's own: its write is told as the feed brings it, or a newer one.
  const missing = accepted.flatMap((all, i) => all.filter((one) => !told[i]?.includes(one)));
  expect(missing.length).toBeLessThan(accepted.flat().length / 10);
}, 120_000);

it('hears by held requests where a proxy gathers answers', async () => {
  const proxy = await startProxy(server.url, { faults: () => undefined });
  onTestFinished(() => proxy.close());
  const heard = await listen(open(proxy.url));
  await theirs('a', 1);
  await soon(() => expect(heard).toEqual([['set', 'a', 1, 'remote']]));
});

it('tells the present state where another database has taken the place of the one that was', async () => {
  const storage = open();
  await storage.setMany([
    ['kept', 1],
    ['lost', 1],
  ]);
  const heard = await listen(storage);
  const [kept, lost]: [Told[], Told[]] = [[], []];
  storage.watch('kept', (change) => kept.push(short(change)), { immediate: true });
  storage.watch('lost', (change) => lost.push(short(change)), { immediate: true });
  await soon(() => expect([kept, lost].map(({ length }) => length)).toEqual([1, 1]));
  await server.kill();
  for (const file of ['', '-wal', '-shm']) await rm(join(folder, `test.db${file}`), { force: true });
  await server.start();
  await theirs('kept', 2);
  await soon(() =>
    expect(heard).toEqual([
      ['clear', undefined, undefined, 'tab'],
      ['set', 'kept', 2, 'tab'],
    ]),
  );
  await theirs('kept', 3);
  await soon(() => expect(kept.map(([, , value]) => value)).toEqual([1, 2, 3]));
  expect(lost.map(([type]) => type)).toEqual(['set', 'delete']);
});

it('tells nothing of another account, and goes on with the account that the calls go on with', async () => {
  const tenants = await startTenants();
  onTestFinished(() => tenants.stop());
  const storage = open(tenants.url, { token: tenants.token });
  let n = 0;
  const heard = await listen(storage, (key, value) => tenants.put('a', key, value));
  tenants.current = TOKENS.b;
  await expect(storage.set('k', 'computed from the data of a')).rejects.toMatchObject({ code: 'forbidden' });
  await storage.set('k', 'of b');
  await tenants.put('a', 'secret', 1);
  await vi.waitFor(
    async () => {
      n += 1;
      await tenants.put('b', 'theirs', n);
      expect(heard.map(([, key]) => key)).toContain('theirs');
    },
    { timeout: 40_000, interval: 500 },
  );
  expect(JSON.stringify(heard)).not.toMatch(/secret/);
  expect(heard).toContainEqual(['set', 'k', 'of b', expect.any(String)]);
});

it('tells the listeners of watchStatus() when the server stops answering, and when it answers again', async () => {
  const storage = open();
  const states: Array<StorageStatus['state']> = [];
  storage.watchStatus(({ state }) => states.push(state));
  await storage.set('a', 1);
  expect(states).toEqual(['online']);
  // No call is made meanwhile: the feed is followed.
  storage.watch('a', () => {});
  await new Promise((done) => setTimeout(done, 500));
  await server.kill();
  await soon(() => expect(states).toEqual(['online', 'offline']));
  expect(storage.status().reason).toMatch(/cannot be used/);
  await server.start();
  await soon(() => expect(states).toEqual(['online', 'offline', 'online']));
});

it('tells its own changes, and no others, on a server of level 0', async () => {
  const old = await startOldServer();
  onTestFinished(() => old.close());
  const storage = open(old.url);
  const heard: Told[] = [];
  storage.watch(undefined, (change) => heard.push(short(change)));
  await storage.set('a', 1);
  old.data.set('b', 'theirs');
  expect(await storage.get('b')).toBe('theirs');
  await storage.delete('a');
  expect(heard).toEqual([
    ['set', 'a', 1, 'local'],
    ['delete', 'a', undefined, 'local'],
  ]);
});

it('a program of Node.js lives while it watches, and ends after that', async () => {
  const program = `
    import { createStorage } from ${JSON.stringify(String(new URL('../../src/index.ts', import.meta.url)))};
    const storage = createStorage({ useFlask: true, flaskUrl: '${server.url}', logger: false });
    const stop = storage.watch('a', ({ value }) => {
      console.log(value);
      if (value === 'end') stop();
    }, { immediate: true });
  `;
  const child = spawn(process.execPath, ['--input-type=module', '-e', program]);
  onTestFinished(() => void child.kill());
  let output = '';
  child.stdout.on('data', (data) => {
    output += data;
  });
  const ended = once(child, 'exit');
  await soon(() => expect(output).toBe('undefined\n'));
  await new Promise((done) => setTimeout(done, 2000));
  expect(child.exitCode).toBeNull();
  await theirs('a', 'end');
  expect(await ended).toEqual([0, null]);
  expect(output).toBe('undefined\nend\n');
});

it('without a server too, a listener is told why nothing can be read', async () => {
  vi.stubGlobal('IDBKeyRange', undefined);
  onTestFinished(() => void vi.unstubAllGlobals());
  const storage = createStorage({ logger: false });
  onTestFinished(() => storage.close());
  const errors: unknown[] = [];
  storage.watch('a', () => {}, { immediate: true, onError: (error) => errors.push(error) });
  await soon(() => expect(errors).toEqual([expect.objectContaining({ code: 'unavailable' })]));
});
