/**
 * What is written while a migration is under way, in real tabs over real servers: by its own tab, by another tab of the origin, and
 * by another client of the server (docs/guarantees.md, 10.2 and 10.5). And every kind of value, both ways.
 */
import type { Page } from 'playwright';
import { describe, expect, it, onTestFinished } from 'vitest';
import { createStorage, type StorageOptions } from '../../src/index.ts';
import { ORDINARY_KEYS, PATH_KEYS, VALUES } from '../contract/samples.ts';
import type { Fault, ProxiedRequest } from '../support/faults.ts';
import { chromiumSkipReason } from '../support/library-page.ts';
import { offlineStage } from '../support/offline-page.ts';
import { startOldServer } from '../support/old-server.ts';
import { startProxy } from '../support/proxy.ts';

const KEYS = 4000;
const keyOf = (i: number): string => `k${String(i).padStart(5, '0')}`;
const plain = (): Record<string, unknown> =>
  Object.fromEntries(Array.from({ length: KEYS }, (_, i) => [keyOf(i), { i }]));

const stage = offlineStage();

/** Holds the request with that number of those that `matches` takes, until `work` is done. */
function createGate(number: number, matches: (request: ProxiedRequest) => boolean) {
  let seen = 0;
  let work = async (): Promise<void> => {};
  let done = false;
  return {
    during(given: () => Promise<void>) {
      work = given;
    },
    /** Whether the request has come. */
    passed: () => done,
    fault(request: ProxiedRequest): Fault | undefined {
      if (!matches(request)) return undefined;
      seen += 1;
      if (seen !== number) return undefined;
      done = true;
      return { hold: work() };
    },
  };
}

const isBatchOf = (op: 'put' | 'get') => (request: ProxiedRequest) =>
  request.target.endsWith('/batch') && request.body.includes(`"op":"${op}"`);

async function open(page: Page, options: StorageOptions = {}): Promise<void> {
  await page.evaluate((given) => {
    globalThis.storage = library.createStorage({ logger: false, timeout: 20_000, ...given });
  }, options);
}

/** Set and delete in a tab. */
const write = (page: Page, sets: ReadonlyArray<readonly [string, unknown]>, gone: readonly string[] = []) =>
  page.evaluate(
    async ([sets, gone]) => {
      await storage.setMany(sets);
      await storage.deleteMany(gone);
    },
    [sets, gone] as const,
  );

const held = async (page: Page): Promise<Record<string, unknown>> =>
  Object.fromEntries(await page.evaluate(() => Array.fromAsync(storage.entries())));

describe.skipIf(chromiumSkipReason)('what is written while a migration is under way', () => {
  it('by its tab and by another one is at the server', async () => {
    const gate = createGate(5, isBatchOf('put'));
    const server = await stage.server();
    const proxy = await stage.network(server, gate.fault);
    await server.start();
    const context = await stage.profile();
    const [tab, other] = [await stage.tab(context), await stage.tab(context)];
    await Promise.all([open(tab), open(other)]);
    await write(tab, Object.entries(plain()));
    const added = await fetch(`${server.url}/api/storage/alone`, {
      method: 'PUT',
      headers: { 'content-type': 'application/json' },
      body: '{"value":"kept"}',
    });
    expect(added.status).toBe(200);
    // Among what was copied, among what was not, before and after all keys.
    gate.during(async () => {
      await write(
        tab,
        [
          [keyOf(1), 'by its tab'],
          [keyOf(3900), 'by its tab'],
          ['a', 1],
        ],
        [keyOf(2)],
      );
      await write(
        other,
        [
          [keyOf(3), 'by another'],
          [keyOf(3901), 'by another'],
          ['z', 1],
        ],
        [keyOf(4), keyOf(3902)],
      );
    });
    const count = await tab.evaluate((url) => storage.migrateToFlask(url), proxy.url);
    expect(gate.passed()).toBe(true);
    const source = await held(other);
    expect(source).toMatchObject({ a: 1, z: 1, [keyOf(1)]: 'by its tab', [keyOf(3901)]: 'by another' });
    expect(await server.entries()).toEqual({ ...source, alone: 'kept' });
    expect(count).toBe(KEYS - 1);
    expect(count).toBe(Object.keys(source).length);
  });

  it('by another client is in IndexedDB, told by a server of level 1', async () => {
    const gate = createGate(5, isBatchOf('get'));
    const server = await stage.server();
    const proxy = await stage.network(server, gate.fault);
    await server.start();
    const client = clientOf(server.url);
    await client.import(plain());
    const context = await stage.profile();
    const [tab, local] = [await stage.tab(context), await stage.tab(context)];
    await Promise.all([open(tab, { useFlask: true, flaskUrl: proxy.url }), open(local)]);
    await write(local, [['alone', 'kept']]);
    gate.during(async () => {
      for (const key of [keyOf(1), keyOf(3900), 'a', 'z']) await client.set(key, 'by a client');
      for (const key of [keyOf(2), keyOf(3902)]) await client.delete(key);
    });
    const count = await tab.evaluate(() => storage.migrateToIndexedDB());
    expect(gate.passed()).toBe(true);
    const source = await server.entries();
    expect(source).toMatchObject({ a: 'by a client', [keyOf(3900)]: 'by a client' });
    expect(await held(local)).toEqual({ ...source, alone: 'kept' });
    expect(count).toBe(Object.keys(source).length);
  });

  it('by another client is in IndexedDB, read again from a server of level 0', async () => {
    const old = await startOldServer();
    onTestFinished(old.close);
    old.intercept = (request, response) => {
      response.setHeader('access-control-allow-origin', '*');
      response.setHeader('access-control-allow-headers', '*');
      response.setHeader('access-control-allow-methods', 'GET, PUT, POST, DELETE');
      if (request.method !== 'OPTIONS') return false;
      response.writeHead(204).end();
      return true;
    };
    const reserved = { keys: 1, export: 2, stats: 3, clear: 4, import: 5 };
    for (const [key, value] of Object.entries({ ...plain(), ...reserved })) old.data.set(key, value);
    // The copy reads the whole data set; the next look reads it again.
    let reads = 0;
    const proxy = await startProxy(old.url, {
      faults: ({ method, target }) => {
        if (method !== 'GET' || !target.endsWith('/export')) return undefined;
        reads += 1;
        if (reads !== 2) return undefined;
        for (const key of [keyOf(1), keyOf(3900), 'a', 'z']) old.data.set(key, 'by a client');
        for (const key of [keyOf(2), 'stats']) old.data.delete(key);
        return {};
      },
    });
    onTestFinished(proxy.close);
    const context = await stage.profile();
    const [tab, local] = [await stage.tab(context), await stage.tab(context)];
    await Promise.all([open(tab, { useFlask: true, flaskUrl: proxy.url }), open(local)]);
    await write(local, [['alone', 'kept']]);
    const count = await tab.evaluate(() => storage.migrateToIndexedDB());
    expect(reads).toBeGreaterThanOrEqual(2);
    const source = Object.fromEntries(old.data);
    expect(source).toMatchObject({ keys: 1, a: 'by a client' });
    expect(await held(local)).toEqual({ ...source, alone: 'kept' });
    expect(count).toBe(old.data.size);
  });
});

describe.skipIf(chromiumSkipReason)('activate, while its tab goes on writing', () => {
  for (const way of ['to the server', 'to IndexedDB'] as const)
    it(`loses no write that resolved, ${way}`, async ({ annotate }) => {
      const server = await stage.server();
      await server.start();
      const context = await stage.profile();
      const [tab, local] = [await stage.tab(context), await stage.tab(context)];
      await open(tab, way === 'to the server' ? {} : { useFlask: true, flaskUrl: server.url });
      await write(tab, Object.entries(plain()));
      const [count, writes, type] = await tab.evaluate(
        async ([url, to]) => {
          let writes = 0;
          let over = false;
          const writing = (async () => {
            for (let after = 0; after < 20; after += over ? 1 : 0) {
              await storage.set(`written-${String(writes).padStart(6, '0')}`, writes);
              writes += 1;
              // Paced: a tab that writes without a pause for itself can outrun a migration on a slow machine.
              await new Promise((resolve) => setTimeout(resolve, 5));
            }
          })();
          const options = { activate: true } as const;
          const count = await (to
            ? storage.migrateToFlask(url, options)
            : storage.migrateToIndexedDB(options));
          over = true;
          await writing;
          await storage.flush();
          return [count, writes, storage.getBackendType()] as const;
        },
        [server.url, way === 'to the server'] as const,
      );
      await open(local);
      const found = way === 'to the server' ? await server.entries() : await held(local);
      await annotate(`${writes} writes while it ran and after, ${count} entries told`);
      expect(type).toBe(way === 'to the server' ? 'flask' : 'indexeddb');
      expect(found).toEqual({
        ...plain(),
        ...Object.fromEntries(
          Array.from({ length: writes }, (_, i) => [`written-${String(i).padStart(6, '0')}`, i]),
        ),
      });
      expect(count).toBeGreaterThanOrEqual(KEYS);
      expect(count).toBeLessThanOrEqual(KEYS + writes);
    });
});

describe.skipIf(chromiumSkipReason)('a migration whose server part cannot be loaded', () => {
  it('is refused before anything is written, and the storage goes on with IndexedDB', async () => {
    const server = await stage.server();
    await server.start();
    const tab = await stage.tab(await stage.profile());
    await open(tab);
    await write(tab, [['a', 1]]);
    await tab.route('**/sync/index.ts*', (route) => route.abort());
    const told = await tab.evaluate(
      (url) =>
        storage.migrateToFlask(url, { activate: true }).then(
          () => 'It resolved.',
          (error: { code: string; message: string }) => `${error.code}: ${error.message}`,
        ),
      server.url,
    );
    expect(told).toMatch(/^unavailable: The part server .* could not be loaded/);
    expect(await server.entries()).toEqual({});
    await write(tab, [['b', 2]]);
    expect(await held(tab)).toEqual({ a: 1, b: 2 });
    expect(await tab.evaluate(() => storage.getBackendType())).toBe('indexeddb');
  });
});

describe.skipIf(chromiumSkipReason)('every kind of key and value', () => {
  it('comes from a server into IndexedDB, and from there to another server, as it was', async () => {
    const [first, second] = [await stage.server(), await stage.server()];
    await Promise.all([first.start(), second.start()]);
    const at = (flaskUrl: string) => {
      const storage = createStorage({
        useFlask: true,
        flaskUrl,
        database: `kinds-${flaskUrl}`,
        logger: false,
      });
      onTestFinished(() => storage.close());
      return storage;
    };
    const wanted = new Map<string, unknown>([
      ...VALUES.map(([name, value]) => [`value: ${name}`, value] as const),
      ...[...PATH_KEYS, ...ORDINARY_KEYS].map((key, i) => [key, i] as const),
    ]);
    await at(first.url).setMany([...wanted]);
    const tab = await stage.tab(await stage.profile());
    await open(tab, { useFlask: true, flaskUrl: first.url });
    expect(await tab.evaluate(() => storage.migrateToIndexedDB())).toBe(wanted.size);
    await first.kill();
    await tab.evaluate(() => storage.close());
    await open(tab);
    expect(await tab.evaluate((url) => storage.migrateToFlask(url), second.url)).toBe(wanted.size);
    expect(new Map(await Array.fromAsync(at(second.url).entries()))).toEqual(wanted);
  });
});

/** Somebody else who writes to a server. */
function clientOf(url: string) {
  const ask = async (method: string, path: string, body?: unknown): Promise<void> => {
    const response = await fetch(`${url}/api/storage/${path}`, {
      method,
      headers: { 'content-type': 'application/json' },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    expect(response.status).toBe(200);
  };
  return {
    import: (entries: Record<string, unknown>) => ask('POST', 'import', entries),
    set: (key: string, value: unknown) => ask('PUT', key, { value }),
    delete: (key: string) => ask('DELETE', key),
  };
}
