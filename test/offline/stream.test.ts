/**
 * How the real server is followed while somebody watches: by an event stream, or by held requests where a proxy lets none through. What
 * becomes of a stream that is cut, that is silent, and whose server is restarted (docs/guarantees.md, 5.4).
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, onTestFinished, vi } from 'vitest';
import { createStorage, type KeyValueStorage } from '../../src/index.ts';
import type { Faults } from '../support/faults.ts';
import { type MortalServer, mortalServer } from '../support/mortal-server.ts';
import { startProxy, type TcpProxy } from '../support/proxy.ts';

let folder = '';
let server: MortalServer;
let proxy: TcpProxy;
let databases = 0;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'codeforge-stream-'));
  server = await mortalServer(join(folder, 'test.db'), {});
  await server.start();
});
afterEach(async () => {
  await proxy.close();
  await server.kill();
  await rm(folder, { recursive: true, force: true });
});

/** A tab behind a proxy, whose copy is filled. */
async function openTab(faults?: Faults): Promise<KeyValueStorage> {
  proxy = await startProxy(server.url, faults ? { faults } : {});
  databases += 1;
  const storage = createStorage({
    useFlask: true,
    flaskUrl: proxy.url,
    database: `stream-${databases}`,
    logger: false,
  });
  onTestFinished(() => storage.close());
  await storage.set('a', 0);
  return storage;
}
/** Another client, with a line of its own. */
const theirs = (key: string, value: unknown): Promise<void> => server.put(key, value);
const soon = (check: () => void): Promise<void> => vi.waitFor(check, { timeout: 40_000, interval: 20 });

/** What a listener of `a` hears, once it hears changes of others. */
async function follow(storage: KeyValueStorage): Promise<unknown[]> {
  const heard: unknown[] = [];
  storage.watch('a', ({ value }) => heard.push(value));
  await theirs('a', 'first');
  await soon(() => expect(heard).toEqual(['first']));
  return heard;
}

it('hears all changes of others by one request', async () => {
  const heard = await follow(await openTab());
  // The requests of the start, if any are left.
  await new Promise((done) => setTimeout(done, 500));
  const { requests } = proxy.traffic;
  const values = Array.from({ length: 30 }, (_, i) => i);
  for (const value of values) {
    await theirs('a', value);
    await soon(() => expect(heard.at(-1)).toBe(value));
  }
  expect(heard).toEqual(['first', ...values]);
  expect(proxy.traffic.requests).toBe(requests);
});

it('asks for changes every 30 s while nobody watches, and never while a tab of the origin is followed by a stream', async () => {
  // Time passes at once for what is repeated, and for nothing else.
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
  onTestFinished(() => void vi.useRealTimers());
  const storage = await openTab();
  const neighbor = createStorage({
    useFlask: true,
    flaskUrl: proxy.url,
    database: `stream-${databases}`,
    logger: false,
  });
  onTestFinished(() => neighbor.close());
  await neighbor.get('a');
  const requestsInMinutes = async (minutes: number): Promise<number> => {
    // The requests before, if any are left.
    await new Promise((done) => setTimeout(done, 500));
    const { requests } = proxy.traffic;
    for (let n = 0; n < 20 * minutes; n += 1) {
      vi.advanceTimersByTime(3000);
      // Tabs hear each other meanwhile.
      await new Promise((done) => setTimeout(done, 20));
    }
    await new Promise((done) => setTimeout(done, 500));
    return proxy.traffic.requests - requests;
  };
  expect(await requestsInMinutes(1)).toBeGreaterThan(1);
  await follow(storage);
  expect(await requestsInMinutes(10)).toBe(0);
});

it('hears them by held requests where a proxy gathers answers, and tries no stream again for a while', async () => {
  const targets: string[] = [];
  const heard = await follow(
    await openTab(({ target }) => {
      targets.push(target);
      return undefined;
    }),
  );
  for (const value of [1, 2, 3]) {
    await theirs('a', value);
    await soon(() => expect(heard.at(-1)).toBe(value));
  }
  const streams = targets.filter((target) => target.includes('/changes?since') && !target.includes('limit'));
  expect(streams).toHaveLength(1);
  expect(targets.at(-1)).toMatch(/wait=\d/);
});

it('a stream that brings nothing is cut and resumed, as after the sleep of a device', async () => {
  const heard = await follow(await openTab());
  proxy.stall();
  await theirs('a', 'missed');
  await new Promise((done) => setTimeout(done, 500));
  expect(heard).toEqual(['first']);
  const now = Date.now();
  const clock = vi.spyOn(Date, 'now').mockImplementation(() => now + 3_600_000);
  onTestFinished(() => clock.mockRestore());
  await soon(() => expect(heard).toEqual(['first', 'missed']));
});

it('goes on where it was after the server was killed, and what it was told meanwhile is heard', async () => {
  const heard = await follow(await openTab());
  for (const value of [1, 2, 3]) {
    await server.kill();
    await server.start();
    await theirs('a', value);
    await soon(() => expect(heard.at(-1)).toBe(value));
  }
  expect(heard).toEqual(['first', 1, 2, 3]);
});

it('compares everything where another database has taken the place of the one that was', async () => {
  const storage = await openTab();
  await storage.setMany([
    ['b', 0],
    ['c', 0],
  ]);
  const all: unknown[] = [];
  const heard = await follow(storage);
  storage.watch(undefined, ({ type, key, value }) => all.push([type, key, value]));
  await server.kill();
  for (const file of ['', '-wal', '-shm']) await rm(join(folder, `test.db${file}`), { force: true });
  await server.start();
  await theirs('b', 0);
  await theirs('new', 1);
  await soon(() => expect(all).toContainEqual(['set', 'new', 1]));
  const from = all.findLastIndex((change) => (change as unknown[])[0] === 'clear');
  await soon(() =>
    expect(all.slice(from + 1).sort()).toEqual([
      ['set', 'b', 0],
      ['set', 'new', 1],
    ]),
  );
  await soon(() => expect(heard).toEqual(['first', undefined]));
});

it('data of more than 64 MiB is not copied, so what others change is told when it is read', async () => {
  const text = 'x'.repeat(900_000);
  for (let n = 0; n < 76; n += 1) await theirs(`large:${n}`, text);
  const storage = await openTab();
  const heard: unknown[] = [];
  storage.watch('a', ({ value, source }) => heard.push([value, source]));
  await storage.ready();
  await theirs('a', 1);
  await new Promise((done) => setTimeout(done, 3000));
  expect(heard).toEqual([]);
  expect(await storage.get('a')).toBe(1);
  await soon(() => expect(heard).toEqual([[1, 'remote']]));
  await storage.set('a', 2);
  await soon(() =>
    expect(heard).toEqual([
      [1, 'remote'],
      [2, 'local'],
    ]),
  );
});
