/**
 * A token that comes to be that of another account, without IndexedDB (docs/guarantees.md, 9.3): nothing of one account reaches the
 * other. The peer is a real server with two tenants.
 */
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { createStorage, type KeyValueStorage, type StorageOptions } from '../../src/index.ts';
import { answerLost } from '../support/faults.ts';
import { type Level1Server, startLevel1Server } from '../support/level1-server.ts';
import { rejection } from '../support/rejection.ts';
import { importWhileAccountChanges, startTenants, type Tenants, TOKENS } from '../support/tenants.ts';
import { lendIndexedDb, withoutIndexedDb } from '../support/without-indexeddb.ts';

withoutIndexedDb();

let tenants: Tenants;
let storage: KeyValueStorage;

function open(options: StorageOptions = {}): KeyValueStorage {
  storage = createStorage({
    useFlask: true,
    flaskUrl: tenants.url,
    token: tenants.token,
    logger: false,
    ...options,
  });
  return storage;
}

beforeAll(async () => {
  tenants = await startTenants();
}, 60_000);
beforeEach(() => tenants.reset());
afterEach(() => storage.close());
afterAll(() => tenants.stop());

/** The batches since the requests were last forgotten: `set k`, `void`, or nothing for one without operations. */
const batches = (): string[] =>
  tenants.requests.splice(0).flatMap(({ target, body }) => {
    if (!target.endsWith('/batch')) return [];
    const batch = JSON.parse(body);
    if (batch.void !== undefined) return [`void ${batch.void}`];
    return [batch.ops.map(({ op, key }: { op: string; key: string }) => `${op} ${key}`).join(', ')];
  });

it('one call rejects with forbidden and nothing is applied, then the other account is used', async () => {
  open();
  await storage.set('k', 'of a');
  tenants.current = TOKENS.b;
  expect(await rejection(storage.set('k', 'computed from the data of a'))).toMatchObject({
    code: 'forbidden',
    message: expect.stringMatching(/another account.*applied nothing/),
  });
  expect(await tenants.data('b')).toEqual({});
  expect(await storage.get('k')).toBeUndefined();
  await storage.set('k', 'of b');
  expect([await tenants.data('a'), await tenants.data('b')]).toEqual([{ k: 'of a' }, { k: 'of b' }]);
  tenants.current = TOKENS.a;
  expect(await rejection(storage.update('k', (value) => `${value}, changed`))).toMatchObject({
    code: 'forbidden',
  });
  expect(await storage.update('k', (value) => `${value}, changed`)).toBe('of a, changed');
  expect(await tenants.data('b')).toEqual({ k: 'of b' });
});

it('every method rejects, also those whose requests cannot name an account', async () => {
  await tenants.put('b', 'secret', 1);
  const calls: Record<string, () => Promise<unknown>> = {
    get: () => storage.get('secret'),
    has: () => storage.has('secret'),
    keys: () => storage.keys(),
    entries: async () => {
      for await (const _ of storage.entries()) return;
    },
    count: () => storage.count(),
    stats: () => storage.stats(),
    clear: () => storage.clear(),
    'clear of a prefix': () => storage.clear({ prefix: 's' }),
    delete: () => storage.delete('secret'),
    atomic: () => storage.atomic([{ delete: 'secret' }]),
    export: () => storage.export({ as: 'blob' }),
  };
  for (const [name, call] of Object.entries(calls)) {
    tenants.current = TOKENS.a;
    open();
    await storage.set('own', 1);
    tenants.current = TOKENS.b;
    expect([name, await rejection(call())]).toMatchObject([name, { code: 'forbidden' }]);
    await call();
    await tenants.put('b', 'secret', 1);
    await storage.close();
  }
});

it('a list that is under way never goes on with the entries of another account', async () => {
  const values = Array.from({ length: 1200 }, (_, i) => [`k${i}`, i] as const);
  open();
  await storage.setMany(values);
  const listed: unknown[] = [];
  const listing = (async () => {
    for await (const [key] of storage.entries()) {
      listed.push(key);
      if (listed.length !== 1) continue;
      tenants.current = TOKENS.b;
      await rejection(storage.get('k1'));
      await storage.set('of b', 1);
    }
  })();
  expect(await rejection(listing)).toMatchObject({ code: 'forbidden' });
  expect(listed.length).toBeLessThan(1200);
  expect(listed).not.toContain('of b');
});

it('a renewed token of the same account costs one request, before the first list', async () => {
  open();
  await storage.set('k', 1);
  await storage.keys();
  tenants.current = TOKENS['a renewed'];
  batches();
  expect(await storage.keys()).toEqual(['k']);
  await storage.stats();
  await storage.keys();
  expect(batches()).toEqual(['']);
  tenants.current = TOKENS.a;
  await storage.get('k');
  await storage.keys();
  // The answer to the read has shown whose the token is.
  expect(batches()).toEqual(['get k']);
});

it('a token that alternates between accounts mixes nothing', async () => {
  let calls = 0;
  open({
    token: () => {
      calls += 1;
      return calls % 2 === 0 ? TOKENS.a : TOKENS.b;
    },
  });
  const results = await Promise.allSettled(
    Array.from({ length: 20 }, (_, i) => i).map(async (i) => {
      const before = await storage.get('owner');
      await storage.set(`k${i}`, before);
    }),
  );
  for (const result of results)
    if (result.status === 'rejected') expect(result.reason).toMatchObject({ code: 'forbidden' });
  await storage.close();
  // What one request wrote, no other account has.
  const [a, b] = [await tenants.data('a'), await tenants.data('b')];
  expect(Object.keys(a).filter((key) => key in b)).toEqual([]);
});

it('a write that had no answer is given up only with a token of its account', async () => {
  open();
  await storage.set('k', 'before');
  tenants.faults = ({ body }) => (body.includes('in doubt') ? answerLost('rst') : undefined);
  expect(await rejection(storage.set('k', 'in doubt'))).toMatchObject({ code: 'unavailable' });
  tenants.current = TOKENS.b;
  expect(await rejection(storage.set('k', 'of b'))).toMatchObject({ code: 'forbidden' });
  batches();
  await storage.set('k', 'of b');
  expect(batches()).toEqual(['', 'put k']);
  tenants.current = TOKENS.a;
  expect(await rejection(storage.set('k', 'after'))).toMatchObject({ code: 'forbidden' });
  batches();
  await storage.set('k', 'after');
  expect(batches()).toEqual(['', 'void 2', 'put k']);
  expect([await tenants.data('a'), await tenants.data('b')]).toEqual([{ k: 'after' }, { k: 'of b' }]);
});

it('a write that is sent again with the token of another account applies to the data of one account', async () => {
  for (const isFirst of [true, false]) {
    open();
    tenants.current = TOKENS.a;
    if (!isFirst) await storage.get('k');
    let lost = 0;
    tenants.faults = ({ body }) => {
      if (!body.includes('sent twice')) return undefined;
      lost += 1;
      if (lost > 1) return undefined;
      tenants.current = TOKENS.b;
      return answerLost('rst');
    };
    // It was applied for `a`, and its result is not known.
    expect(await rejection(storage.set('k', 'sent twice'))).toMatchObject({ code: 'unavailable' });
    expect([await tenants.data('a'), await tenants.data('b')]).toEqual([{ k: 'sent twice' }, {}]);
    tenants.faults = undefined;
    tenants.current = TOKENS.a;
    await storage.delete('k');
    await storage.close();
  }
});

it('an import that is under way when the account changes rejects, also if another call was told before', async () => {
  open();
  expect(await importWhileAccountChanges(tenants, storage)).toMatchObject({
    message: expect.stringMatching(/another account/),
  });
  expect(Object.keys(await tenants.data('a')).length).toBeGreaterThan(0);
});

it('a backup that is under way when the account changes rejects', async () => {
  open();
  await storage.setMany(Array.from({ length: 6000 }, (_, i) => [`k${i}`, i]));
  await tenants.put('b', 'secret', 1);
  const reader = (await storage.export()).getReader();
  await reader.read();
  await reader.read();
  tenants.current = TOKENS.b;
  await rejection(storage.get('k0'));
  await storage.get('k0');
  const rest = (async () => {
    while (!(await reader.read()).done);
  })();
  expect(await rejection(rest)).toMatchObject({ message: expect.stringMatching(/another account/) });
});

it('a migration that is under way when the account changes rejects', async () => {
  const local = await lendIndexedDb(async () => {
    const local = open({ useFlask: false, database: 'account-migration' });
    await local.setMany(Array.from({ length: 2000 }, (_, i) => [`k${i}`, i]));
    return local;
  });
  const migrating = lendIndexedDb(() =>
    local.migrateToFlask(tenants.url, {
      onProgress({ phase, done }) {
        if (phase === 'copy' && done > 0) tenants.current = TOKENS.b;
      },
    }),
  );
  expect(await rejection(migrating)).toMatchObject({ message: expect.stringMatching(/another account/) });
  expect(await tenants.data('b')).toEqual({});
});

it('a server that names no account is used as before', async () => {
  const server: Level1Server = await startLevel1Server();
  let token = 'first';
  try {
    open({ flaskUrl: server.url, token: () => token });
    await storage.set('k', 1);
    token = 'second';
    server.seen.length = 0;
    await storage.set('k', 2);
    expect(await storage.keys()).toEqual(['k']);
    expect(server.seen.length).toBe(2);
    expect(server.seen.every(({ text }) => !text.includes('account'))).toBe(true);
  } finally {
    await storage.close();
    await server.stop();
  }
});
