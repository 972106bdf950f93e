/**
 * A migration that ends early, is taken over, or finds another target than it had left; and the change to the target at its end
 * (docs/guarantees.md, 10.2, 10.4 to 10.6).
 */
import { createHash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { createStorage, type KeyValueStorage, type StorageStatus } from '../../src/index.ts';
import { type MortalServer, mortalServer } from '../support/mortal-server.ts';
import { startProxy } from '../support/proxy.ts';
import { failure } from '../support/rejection.ts';

const KEYS = 4000;
const entries = Array.from({ length: KEYS }, (_, i) => [`k${i}`, { i }] as const);

let folder: string;
let server: MortalServer;
let database: string;
let local: KeyValueStorage;
const open: KeyValueStorage[] = [];
let databases = 0;

function create(options: object = {}): KeyValueStorage {
  const storage = createStorage({ database, logger: false, timeout: 2000, ...options });
  open.push(storage);
  return storage;
}
const remote = (): KeyValueStorage => create({ useFlask: true, flaskUrl: server.url });

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'codeforge-migration-'));
  server = await mortalServer(join(folder, 'server.db'), {});
  await server.start();
  databases += 1;
  database = `goes-on-${databases}`;
  local = create();
  await local.setMany(entries);
});
afterEach(async () => {
  await Promise.all(open.splice(0).map((storage) => storage.close()));
  await server.kill();
  await rm(folder, { recursive: true, force: true });
});

/** Aborts when so many entries were copied. */
function abortedAfter(entries: number) {
  const controller = new AbortController();
  return {
    signal: controller.signal,
    onProgress({ phase, done }: { phase: string; done: number }) {
      if (phase === 'copy' && done >= entries) controller.abort();
    },
  };
}

describe('a migration that ended early', () => {
  it('tells what it did when it is aborted, and goes on after that when it is called again', async () => {
    const error = await failure(local.migrateToFlask(server.url, abortedAfter(1500)));
    expect(error).toMatchObject({ code: 'migration', failed: [], cause: { name: 'AbortError' } });
    expect(error.migrated).toBeGreaterThanOrEqual(1500);
    expect(error.migrated).toBeLessThan(KEYS);
    expect(error.message).toContain('with the same arguments to continue');
    let first: number | undefined;
    const count = await local.migrateToFlask(server.url, {
      onProgress({ done }) {
        first ??= done;
      },
    });
    expect(count).toBe(KEYS);
    expect(first).toBe(error.migrated);
    expect(await server.applied()).toBe(KEYS);
  });

  it('begins anew with another mode', async () => {
    await failure(local.migrateToFlask(server.url, abortedAfter(1500)));
    let first: number | undefined;
    const count = await local.migrateToFlask(server.url, {
      onConflict: 'skip',
      onProgress({ done }) {
        first ??= done;
      },
    });
    expect([first, count]).toEqual([0, KEYS]);
  });

  it('brings over what was changed and deleted at the source since then', async () => {
    await failure(local.migrateToFlask(server.url, abortedAfter(1500)));
    const [changed, gone] = ['k0', 'k1'];
    await local.set(changed, 'changed');
    await local.delete(gone);
    await local.set('added', 1);
    expect(await local.migrateToFlask(server.url)).toBe(KEYS);
    const held = await server.entries();
    expect([held[changed], held[gone], held.added]).toEqual(['changed', undefined, 1]);
    expect(Object.keys(held)).toHaveLength(KEYS);
  });

  it('begins anew where the target was emptied meanwhile', async () => {
    await failure(local.migrateToFlask(server.url, abortedAfter(1500)));
    await (await fetch(`${server.url}/api/storage/clear`, { method: 'POST' })).json();
    expect(await local.migrateToFlask(server.url)).toBe(KEYS);
    expect(await server.entries()).toEqual(Object.fromEntries(entries));
  });

  it('begins anew where the server has another data set by then', async () => {
    await failure(local.migrateToFlask(server.url, abortedAfter(1500)));
    await server.kill();
    for (const end of ['', '-wal', '-shm']) await rm(join(folder, `server.db${end}`), { force: true });
    await server.start();
    await (
      await fetch(`${server.url}/api/storage/import`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(Object.fromEntries(Array.from({ length: 3000 }, (_, i) => [`other${i}`, i]))),
      })
    ).json();
    expect(await local.migrateToFlask(server.url)).toBe(KEYS);
    expect(await server.entries()).toMatchObject(Object.fromEntries(entries));
  });

  it('is taken over by another tab: the first one ends with an error, the second has all', async () => {
    const other = create();
    let second: Promise<number> | undefined;
    const error = await failure(
      local.migrateToFlask(server.url, {
        onProgress({ phase, done }) {
          if (phase === 'copy' && done >= 500) second ??= other.migrateToFlask(server.url);
        },
      }),
    );
    expect(error.message).toContain('has taken over this migration');
    expect(await second).toBe(KEYS);
    expect(await server.entries()).toEqual(Object.fromEntries(entries));
  });
});

describe('another caller', () => {
  const hashOf = (token: string): string => createHash('sha256').update(token).digest('hex');

  beforeEach(async () => {
    await server.kill();
    const tokens = ['one:first', 'one:refreshed', 'two:other'].map((name) => {
      const [tenant, token] = name.split(':') as [string, string];
      return `${tenant}:admin:${hashOf(token)}`;
    });
    server = await mortalServer(join(folder, 'tenants.db'), { TOKENS: tokens.join() });
    await server.start();
  });
  const ask = async (path: string, token: string) =>
    (await fetch(server.url + path, { headers: { authorization: `Bearer ${token}` } })).json();

  for (const [kind, tokenOf] of [
    ['token', (token: string) => token],
    ['function for a token', (token: string) => async () => token],
  ] as const)
    it(`with another ${kind} has everything brought over, whatever the one before has`, async () => {
      await failure(create({ token: tokenOf('first') }).migrateToFlask(server.url, abortedAfter(1500)));
      // So many that the number of keys tells nothing.
      const others = Object.fromEntries(Array.from({ length: 3000 }, (_, i) => [`other${i}`, i]));
      await create({ token: 'other', useFlask: true, flaskUrl: server.url }).setMany(Object.entries(others));
      expect(await create({ token: tokenOf('other') }).migrateToFlask(server.url)).toBe(KEYS);
      expect(await ask('/api/storage/export', 'other')).toEqual({
        ...Object.fromEntries(entries),
        ...others,
      });
    });

  it('who is not let in is told that it takes another token', async () => {
    for (const token of [undefined, 'nobody']) {
      const error = await failure(create({ token }).migrateToFlask(server.url));
      expect(error).toMatchObject({ migrated: 0, cause: { code: 'forbidden' } });
      expect(error.message).toMatch(/Call it again with a token that allows this\.$/);
    }
  });

  it('who is the same one with a new token is not sent again what has arrived', async () => {
    await failure(create({ token: 'first' }).migrateToFlask(server.url, abortedAfter(1500)));
    expect(await create({ token: 'refreshed' }).migrateToFlask(server.url)).toBe(KEYS);
    // Each write counts one up.
    expect((await ask('/health', 'first')).seq).toBe(KEYS);
  });
});

describe('activate', () => {
  it('does not happen where another tab has taken over', async () => {
    let begins = (): void => {};
    const hasBegun = new Promise<void>((resolve) => {
      begins = resolve;
    });
    let second: Promise<number> | undefined;
    let asked = 0;
    const proxy = await startProxy(server.url, {
      // Who the server is, is asked before the copy, and, before and after each look, once more.
      faults({ target, body }) {
        if (!target.endsWith('/batch') || !body.includes('"ops":[]')) return undefined;
        asked += 1;
        if (asked !== 2) return undefined;
        second = create().migrateToFlask(proxy.url, { onProgress: begins });
        return { hold: hasBegun };
      },
    });
    onTestFinished(proxy.close);
    const error = await failure(local.migrateToFlask(proxy.url, { activate: true }));
    expect(error.message).toContain('has taken over this migration');
    expect(local.getBackendType()).toBe('indexeddb');
    expect(await second).toBe(KEYS);
  });

  it('uses the server from then on, with the writes that were made meanwhile, and tells who watches', async () => {
    const statuses: StorageStatus[] = [];
    local.watchStatus((status) => void statuses.push(status));
    let late: Promise<void> | undefined;
    const count = await local.migrateToFlask(server.url, {
      activate: true,
      onProgress({ phase }) {
        if (phase === 'copy') late ??= local.set('late', 1);
      },
    });
    await late;
    expect(count).toBe(KEYS + 1);
    expect(local.getBackendType()).toBe('flask');
    expect(statuses.at(-1)).toMatchObject({ backend: 'flask', state: 'online', level: 1 });
    await local.set('after', 2);
    expect(await server.entries()).toMatchObject({ late: 1, after: 2 });
    await expect(local.migrateToFlask(server.url)).rejects.toMatchObject({ code: 'wrong-backend' });
    // Another object of the same page reads its own options.
    expect(await create().has('after')).toBe(false);
  });

  it('uses IndexedDB from then on, and the server no more', async () => {
    const there = remote();
    await there.setMany(entries.slice(0, 700));
    await there.set('alone', 'server');
    expect(await there.migrateToIndexedDB({ activate: true })).toBe(701);
    expect(there.getBackendType()).toBe('indexeddb');
    expect(there.status()).toMatchObject({ state: 'local', pending: 0 });
    await there.set('after', 2);
    expect(await local.getMany(['alone', 'after'])).toEqual(['server', 2]);
    expect(await server.entries()).not.toHaveProperty('after');
    await expect(there.migrateToIndexedDB()).rejects.toMatchObject({ code: 'wrong-backend' });
  });

  it('changes nothing without it, and nothing where an entry was refused', async () => {
    expect(await local.migrateToFlask(server.url)).toBe(KEYS);
    expect(local.getBackendType()).toBe('indexeddb');
    await server.kill();
    server = await mortalServer(join(folder, 'small.db'), { MAX_BODY_BYTES: '65536' });
    await server.start();
    await local.set('large', 'x'.repeat(70_000));
    const error = await failure(local.migrateToFlask(server.url, { activate: true }));
    expect(error).toMatchObject({ migrated: KEYS, failed: [{ key: 'large' }] });
    expect(local.getBackendType()).toBe('indexeddb');
    await local.set('after', 2);
    expect(await server.entries()).not.toHaveProperty('after');
  });
});
