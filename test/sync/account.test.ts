/**
 * One device, two accounts (docs/guarantees.md, 9.3): what one account has written or read here never reaches the other. The peer is a
 * real server with two tenants.
 */
import { afterAll, beforeAll, beforeEach, expect, it, onTestFinished, vi } from 'vitest';
import type { StorageOptions } from '../../src/index.ts';
import { answerLost } from '../support/faults.ts';
import { contentsOf, deleteDatabase, makeCodeForgeStorage } from '../support/old-databases.ts';
import { rejection } from '../support/rejection.ts';
import { type SyncedStorage, syncedStorages } from '../support/synced-storages.ts';
import {
  adoptWhileAccountChanges,
  importWhileAccountChanges,
  startTenants,
  type Tenants,
  TOKENS,
} from '../support/tenants.ts';

let tenants: Tenants;
const openStorage = syncedStorages();
const open = (options: StorageOptions = {}): SyncedStorage =>
  openStorage(tenants.url, { token: tenants.token, ...options });

beforeAll(async () => {
  tenants = await startTenants();
}, 60_000);
beforeEach(() => tenants.reset());
afterAll(() => tenants.stop());

const EXPIRED = 'expired';

/** A storage of `a` with a mirror and, if `writes` are named, an outbox: the server cannot be reached. */
async function away(
  writes: Record<string, unknown> = {},
  options: StorageOptions = {},
): Promise<SyncedStorage> {
  const storage = open(options);
  await storage.set('seen', 'by a');
  await storage.filled();
  tenants.cut();
  for (const [key, value] of Object.entries(writes)) await storage.set(key, value);
  if (Object.keys(writes).length === 0) await storage.get('never read');
  return storage;
}

/** Calls that show or change data. */
const dataCalls = (storage: SyncedStorage): Record<string, () => Promise<unknown>> => ({
  get: () => storage.get('seen'),
  getEntry: () => storage.getEntry('seen'),
  has: () => storage.has('seen'),
  getMany: () => storage.getMany(['seen']),
  keys: () => storage.keys(),
  entries: async () => {
    for await (const _ of storage.entries());
  },
  count: () => storage.count(),
  stats: () => storage.stats(),
  set: () => storage.set('k', 'of b'),
  update: () => storage.update('k', () => 'of b'),
  delete: () => storage.delete('k'),
  clear: () => storage.clear(),
  'clear of a prefix': () => storage.clear({ prefix: 'k' }),
  atomic: () => storage.atomic([{ set: 'k', value: 'of b' }]),
  conflicts: () => storage.conflicts(),
  resolve: () => storage.resolve('seen', 'local'),
  export: () => storage.export({ as: 'blob' }),
  flush: () => storage.flush(),
  ready: () => storage.ready(),
});

it('the outbox of one account is not sent with the token of another, and is sent when the first is back', async () => {
  const storage = await away({ k: 'of a', l: 'of a' });
  tenants.current = TOKENS.b;
  tenants.restore();
  const { reason, pending, backend } = await storage.reaches('auth-required');
  expect([pending, backend]).toEqual([2, 'indexeddb']);
  expect(reason).toMatch(
    /still holds 2 writes of another account.*forget\(\{ discardPending: true \}\).*database/,
  );
  for (const [name, call] of Object.entries(dataCalls(storage)))
    expect([name, await rejection(call())]).toMatchObject([name, { code: 'forbidden', message: reason }]);
  expect((await storage.outbox()).flatMap(({ keys }) => keys)).toEqual(['k', 'l']);
  expect([await tenants.data('a'), await tenants.data('b')]).toEqual([{ seen: 'by a' }, {}]);
  expect(storage.lines.at(-1)).toMatch(/^warn: .* rejects every call: This device still holds/);
  tenants.current = TOKENS.a;
  await storage.sent();
  expect(await tenants.data('a')).toEqual({ seen: 'by a', k: 'of a', l: 'of a' });
  expect(await tenants.data('b')).toEqual({});
  expect(await storage.get('k')).toBe('of a');
  expect(await storage.conflicts()).toEqual([]);
});

it('a call right after the first account is back is served', async () => {
  const storage = await away({ k: 'of a' });
  tenants.current = TOKENS.b;
  tenants.restore();
  await storage.reaches('auth-required');
  await rejection(storage.get('k'));
  tenants.current = TOKENS.a;
  expect(await storage.get('k')).toBe('of a');
});

it('with nothing to send one call rejects, and the mirror of the account before is deleted', async () => {
  const storage = open();
  await storage.set('secret', 'of a');
  await storage.filled();
  tenants.current = TOKENS.b;
  expect(await rejection(storage.set('k', 'computed from the data of a'))).toMatchObject({
    code: 'forbidden',
  });
  expect(storage.status().state).toBe('online');
  await storage.set('k', 'of b');
  expect(await storage.keys()).toEqual(['k']);
  await storage.filled();
  tenants.cut();
  expect(await storage.get('secret')).toBeUndefined();
  expect(await storage.keys()).toEqual(['k']);
  tenants.restore();
  expect(await tenants.data('b')).toEqual({ k: 'of b' });
});

it('every call that meets the change rejects, whatever it is', async () => {
  for (const name of Object.keys(dataCalls(open()))) {
    // They make no request that names an account, or have nothing to do.
    if (/^(conflicts|resolve|flush|ready)$/.test(name)) continue;
    await tenants.reset();
    await tenants.put('b', 'seen', 'by b');
    const storage = open();
    await storage.set('seen', 'by a');
    tenants.current = TOKENS.b;
    expect([name, await rejection(dataCalls(storage)[name]?.() as Promise<unknown>)]).toMatchObject([
      name,
      { code: 'forbidden' },
    ]);
    expect([name, await storage.get('seen')]).toEqual([name, 'by b']);
    expect([name, await tenants.data('b')]).toEqual([name, { seen: 'by b' }]);
    await storage.close();
  }
}, 60_000);

it('a page that is opened with the token of another account keeps the outbox, and shows no data of the first account', async () => {
  const database = 'opened-with-another';
  const before = await away({ k: 'of a' }, { database });
  await before.close();
  tenants.current = TOKENS.b;
  tenants.restore();
  const storage = open({ database });
  expect(await rejection(storage.get('k'))).toMatchObject({
    code: 'forbidden',
    message: expect.stringMatching(/1 write of another account/),
  });
  expect(await rejection(storage.set('k', 'of b'))).toMatchObject({ code: 'forbidden' });
  await storage.close();
  tenants.current = TOKENS.a;
  const again = open({ database });
  await again.ready();
  await again.sent();
  expect([await tenants.data('a'), await tenants.data('b')]).toEqual([{ seen: 'by a', k: 'of a' }, {}]);
});

it('a page that is opened with the token of another account, and nothing to send, begins with an empty mirror', async () => {
  const database = 'opened-empty';
  await (await away({}, { database })).close();
  tenants.current = TOKENS.b;
  tenants.restore();
  const storage = open({ database });
  expect(await storage.get('seen')).toBeUndefined();
  await storage.filled();
  tenants.cut();
  expect(await storage.keys()).toEqual([]);
});

it('conflicts of the account before are kept too', async () => {
  const storage = await away({ seen: 'changed by a' });
  await tenants.put('a', 'seen', 'changed elsewhere');
  tenants.restore();
  await storage.reaches(({ conflicts, pending }) => conflicts === 1 && pending === 0);
  tenants.current = TOKENS.b;
  expect(await rejection(storage.get('seen'))).toMatchObject({ code: 'forbidden' });
  expect(storage.status()).toMatchObject({
    state: 'auth-required',
    conflicts: 1,
    reason: expect.stringMatching(/holds 1 conflict of another account/),
  });
  tenants.current = TOKENS.a;
  expect(await storage.conflicts()).toMatchObject([{ key: 'seen', local: { value: 'changed by a' } }]);
});

it('discard() makes room for another account', async () => {
  const storage = await away({ k: 'of a' });
  tenants.current = TOKENS.b;
  tenants.restore();
  await storage.reaches('auth-required');
  for (const { id } of await storage.outbox()) await storage.discard(id, { forget: true });
  await storage.reaches('online');
  await storage.set('k', 'of b');
  expect([await tenants.data('a'), await tenants.data('b')]).toEqual([{ seen: 'by a' }, { k: 'of b' }]);
});

it('forget() makes room for another account, and asks before it loses writes', async () => {
  const storage = await away({ k: 'of a' });
  tenants.current = TOKENS.b;
  tenants.restore();
  await storage.reaches('auth-required');
  expect(await rejection(storage.forget())).toMatchObject({ code: 'pending' });
  await storage.forget({ discardPending: true });
  const next = open({ database: 'forgotten-for-b' });
  await next.set('k', 'of b');
  expect([await tenants.data('a'), await tenants.data('b')]).toEqual([{ seen: 'by a' }, { k: 'of b' }]);
});

it('a write in doubt keeps its number, and is given up with the token of its account only', async () => {
  const storage = open();
  await storage.set('k', 'before');
  await storage.filled();
  tenants.faults = ({ body }) => (body.includes('in doubt') ? answerLost('rst') : undefined);
  await storage.set('k', 'in doubt');
  tenants.current = TOKENS.b;
  tenants.faults = undefined;
  tenants.requests.length = 0;
  await storage.reaches(({ state, reason }) => state === 'auth-required' && /1 write/.test(reason));
  expect(tenants.requests.some(({ body }) => body.includes('"void"'))).toBe(false);
  expect(await tenants.data('a')).toEqual({ k: 'in doubt' });
  tenants.current = TOKENS.a;
  await storage.sent();
  expect(tenants.requests.filter(({ body }) => body.includes('"void"')).length).toBe(1);
  expect([await tenants.data('a'), await tenants.data('b')]).toEqual([{ k: 'in doubt' }, {}]);
  expect(storage.status().conflicts).toBe(0);
});

it('a write whose attempts have the tokens of two accounts is one of the first', async () => {
  const storage = open();
  await storage.set('k', 'before');
  await storage.filled();
  tenants.faults = ({ body }) => {
    if (!body.includes('sent twice')) return undefined;
    tenants.faults = undefined;
    tenants.current = TOKENS.b;
    return answerLost('rst');
  };
  await storage.set('k', 'sent twice');
  await storage.reaches(({ state, pending }) => state === 'auth-required' && pending === 1);
  tenants.current = TOKENS.a;
  await storage.sent();
  expect([await tenants.data('a'), await tenants.data('b')]).toEqual([{ k: 'sent twice' }, {}]);
});

it("a write for the outbox is not added to another account's, also while the server need not be asked", async () => {
  const storage = open({ ack: 'local' });
  await storage.set('k', 'of a');
  await storage.sent();
  tenants.current = TOKENS.b;
  expect(await rejection(storage.set('k', 'after the change'))).toMatchObject({ code: 'forbidden' });
  await storage.set('k', 'of b');
  await storage.sent();
  expect([await tenants.data('a'), await tenants.data('b')]).toEqual([{ k: 'of a' }, { k: 'of b' }]);
});

it('after the token of one account has expired, a call with the token of another sees and adds nothing', async () => {
  const storage = open();
  await storage.set('secret', 'of a');
  await storage.filled();
  tenants.current = EXPIRED;
  // As while the server is away: the device is still that of `a`.
  await storage.set('k', 'of a');
  expect(storage.status().state).toBe('auth-required');
  expect(await storage.get('secret')).toBe('of a');
  tenants.current = TOKENS.b;
  const [read, write] = await Promise.all([
    rejection(storage.get('secret')),
    rejection(storage.set('l', 'of b')),
  ]);
  expect([read, write]).toMatchObject([{ code: 'forbidden' }, { code: 'forbidden' }]);
  expect((await storage.outbox()).map(({ keys }) => keys)).toEqual([['k']]);
  tenants.current = TOKENS.a;
  await storage.sent();
  expect([await tenants.data('a'), await tenants.data('b')]).toEqual([{ secret: 'of a', k: 'of a' }, {}]);
});

it('two tabs with the tokens of two accounts both work online, and neither is shown the data of the other', async () => {
  const database = 'two-tabs';
  const a = open({ database, token: TOKENS.a });
  await a.set('secret', 'of a');
  await a.filled();
  const b = open({ database, token: TOKENS.b });
  await b.set('secret', 'of b');
  await b.filled();
  tenants.requests.length = 0;
  for (let i = 0; i < 10; i += 1) {
    await a.set(`k${i}`, 'of a');
    await b.set(`k${i}`, 'of b');
    expect([await a.get('secret'), await b.get('secret')]).toEqual(['of a', 'of b']);
  }
  // They do not delete each other's mirror in turn.
  expect(tenants.requests.length).toBeLessThan(60);
  tenants.cut();
  await rejection(a.get('secret'));
  expect(await rejection(a.get('secret'))).toMatchObject({ code: 'forbidden' });
  expect(await rejection(a.set('secret', 'lost?'))).toMatchObject({ code: 'forbidden' });
  expect(await b.get('secret')).toBe('of b');
  await b.set('later', 'of b');
  tenants.restore();
  await b.sent();
  await a.reaches('online');
  expect(await a.get('secret')).toBe('of a');
  expect(await tenants.data('a')).not.toHaveProperty('later');
  expect(await tenants.data('b')).toMatchObject({ later: 'of b', secret: 'of b' });
});

it('watch() tells each of two tabs with the tokens of two accounts its own changes, and nothing of the other account', async () => {
  const database = 'two-watching-tabs';
  const a = open({ database, token: TOKENS.a });
  await a.set('secret', 'of a');
  await a.filled();
  const heard = { a: [] as unknown[], b: [] as unknown[] };
  a.watch(undefined, ({ value }) => heard.a.push(value));
  await a.get('secret');
  const b = open({ database, token: TOKENS.b });
  b.watch(undefined, ({ value }) => heard.b.push(value));
  for (let i = 0; i < 5; i += 1) {
    await b.set('secret', `of b ${i}`);
    await a.set('k', `of a ${i}`);
  }
  // What was committed, and what is read after changes may have been missed.
  await vi.waitFor(() => expect([heard.a.at(-1), heard.b.at(-1)]).toEqual(['of a 4', 'of b 4']), {
    timeout: 10_000,
  });
  await new Promise((done) => setTimeout(done, 1500));
  expect(heard.a.filter((value) => String(value).startsWith('of b'))).toEqual([]);
  expect(heard.b.filter((value) => String(value).startsWith('of a'))).toEqual([]);
});

it('a token that alternates between accounts mixes nothing', async () => {
  let calls = 0;
  const storage = open({
    token: () => {
      calls += 1;
      return calls % 3 === 0 ? TOKENS.b : TOKENS.a;
    },
  });
  await tenants.put('a', 'owner', 'a');
  await tenants.put('b', 'owner', 'b');
  let done = 0;
  for (let i = 0; i < 30; i += 1) {
    try {
      const owner = await storage.get('owner');
      await storage.atomic([{ set: `k${i}`, value: owner }]);
      done += 1;
    } catch (error) {
      expect(error).toMatchObject({ code: 'forbidden' });
    }
  }
  await storage.close();
  expect(done).toBeGreaterThan(0);
  for (const [tenant, data] of [
    ['a', await tenants.data('a')],
    ['b', await tenants.data('b')],
  ] as const)
    for (const [key, value] of Object.entries(data))
      expect([tenant, key, value]).toEqual([tenant, key, tenant]);
});

it('an import that is under way when the account changes rejects', async () => {
  const storage = open();
  expect(await importWhileAccountChanges(tenants, storage)).toMatchObject({
    message: expect.stringMatching(/another account/),
  });
});

/** An old database with `k0` to `k1999`, which is deleted after the test. */
async function leaveOldDatabase(): Promise<Record<string, unknown>> {
  const entries = Array.from({ length: 2000 }, (_, i) => [`k${i}`, `old ${i}`] as const);
  await makeCodeForgeStorage(entries);
  onTestFinished(() => deleteDatabase('codeforge-storage'));
  return Object.fromEntries(entries);
}

it('an adoption that is under way when the account changes rejects, and gives the other account nothing', async () => {
  const old = await leaveOldDatabase();
  const before = await contentsOf('codeforge-storage');
  const storage = open();
  expect(await adoptWhileAccountChanges(tenants, storage)).toMatchObject({
    code: 'migration',
    message: expect.stringMatching(/another account/),
    cause: { code: 'forbidden' },
  });
  const copied = Object.keys(await tenants.data('a')).length;
  expect(copied).toBeGreaterThan(0);
  expect(copied).toBeLessThan(2000);
  expect(await tenants.data('b')).toEqual({});
  expect(await contentsOf('codeforge-storage')).toEqual(before);
  // With the token of the first account it can be called again.
  tenants.current = TOKENS.a;
  await rejection(storage.get('k0'));
  expect(await storage.adopt('codeforge-storage')).toBe(2000);
  expect([await tenants.data('a'), await tenants.data('b')]).toEqual([old, {}]);
}, 60_000);

it('an adoption that itself meets the change rejects, and leaves out no entry', async () => {
  const old = await leaveOldDatabase();
  const storage = open();
  await storage.ready();
  const leftOut: string[] = [];
  let isChanged = false;
  tenants.faults = ({ body }) => {
    // From its second page on.
    if (body.includes('"put"') && isChanged) tenants.current = TOKENS.b;
    isChanged ||= body.includes('"put"');
    return undefined;
  };
  const error = await rejection(
    storage.adopt('codeforge-storage', { onRefused: ({ key }) => void leftOut.push(key) }),
  );
  expect(error).toMatchObject({ code: 'migration', cause: { code: 'forbidden' }, failed: [] });
  expect(leftOut).toEqual([]);
  tenants.faults = undefined;
  expect(await tenants.data('b')).toEqual({});
  // What it has copied belongs to the first account.
  const copied = await tenants.data('a');
  expect(Object.keys(copied).length).toBeLessThan(2000);
  expect(old).toMatchObject(copied);
}, 60_000);

it('what an adoption has added to the outbox is sent for the account whose outbox it is', async () => {
  const storage = await away();
  const old = await leaveOldDatabase();
  expect(await storage.adopt('codeforge-storage')).toBe(2000);
  expect(storage.status().pending).toBe(2000);
  tenants.current = TOKENS.b;
  tenants.restore();
  await storage.reaches('auth-required');
  // Nor is an adoption added to it with the token of the other account.
  expect(await rejection(storage.adopt('codeforge-storage'))).toMatchObject({
    cause: { code: 'forbidden', message: expect.stringMatching(/2000 writes of another account/) },
  });
  expect(storage.status().pending).toBe(2000);
  tenants.current = TOKENS.a;
  await storage.sent();
  expect([await tenants.data('a'), await tenants.data('b')]).toEqual([{ seen: 'by a', ...old }, {}]);
  expect(await storage.conflicts()).toEqual([]);
}, 60_000);

it('an adoption during which the account changes and changes back mixes nothing', async () => {
  const old = await leaveOldDatabase();
  const storage = open();
  await storage.ready();
  let pages = 0;
  const adopting = storage.adopt('codeforge-storage', {
    onProgress({ phase }) {
      if (phase === 'copy') pages += 1;
      tenants.current = pages % 2 === 1 ? TOKENS.b : TOKENS.a;
    },
  });
  await adopting.catch((error) => expect(error).toMatchObject({ cause: { code: 'forbidden' } }));
  expect(await tenants.data('b')).toEqual({});
  expect(old).toMatchObject(await tenants.data('a'));
}, 60_000);
