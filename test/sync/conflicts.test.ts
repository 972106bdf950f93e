/**
 * A write that was made while the server was away, where the server has something by then that its writer had not seen: what
 * each policy makes of it, what is kept, and how an app settles that (docs/guarantees.md, 2.1 to 2.4).
 */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { StorageOptions } from '../../src/index.ts';
import { type Level1Server, startLevel1Server } from '../support/level1-server.ts';
import { reopen, type SyncedStorage, shut, syncedStorages } from '../support/synced-storages.ts';

const open = syncedStorages();
let server: Level1Server;

beforeEach(async () => {
  server = await startLevel1Server();
});
afterEach(() => server.stop().catch(() => undefined));

const valueAt = (key: string): unknown => server.data.get(key)?.value;
const theirs = (key: string, value: unknown): void => {
  server.apply({ ops: [{ op: 'put', key, value }] });
};

/** `base` was seen, then the server was away, `mine` was written here and `theirs` there; and now it is back. */
async function disagree(options: StorageOptions = {}, write?: (storage: SyncedStorage) => Promise<unknown>) {
  const storage = open(server.url, options);
  await storage.set('k', 'base');
  shut(server);
  await (write?.(storage) ?? storage.set('k', 'mine'));
  theirs('k', 'theirs');
  reopen(server);
  await storage.flush();
  expect(storage.status()).toMatchObject({ state: 'online', pending: 0 });
  return storage;
}

const changed = (sides: object) => ({
  key: 'k',
  reason: 'changed',
  base: { value: 'base' },
  local: { value: 'mine' },
  server: { value: 'theirs' },
  detail: expect.stringMatching(/./),
  atMs: expect.any(Number),
  ...sides,
});

describe('keep-server', () => {
  it('leaves the server’s value, keeps the local one with all sides, and says so', async () => {
    const before = Date.now();
    const storage = await disagree();
    expect(valueAt('k')).toBe('theirs');
    expect(await storage.get('k')).toBe('theirs');
    const [conflict, ...others] = await storage.conflicts();
    expect(conflict).toEqual(changed({}));
    expect(others).toEqual([]);
    expect(conflict?.atMs).toBeGreaterThanOrEqual(before);
    expect(storage.status().conflicts).toBe(1);
    expect(
      storage.lines.filter((line) => /^warn: @codeforge\/storage has kept 1 value.*conflicts\(\)/.test(line)),
    ).toHaveLength(1);
  });

  it('keeps what was never seen by its writer from being overwritten by a default', async () => {
    theirs('settings', { theme: 'dark' });
    shut(server);
    const storage = open(server.url);
    // The server is there, and lets nobody read it: that is not an empty storage.
    await expect(storage.get('settings')).rejects.toMatchObject({ code: 'unavailable' });
    await storage.set('settings', { theme: 'default' });
    reopen(server);
    await storage.flush();
    expect(valueAt('settings')).toEqual({ theme: 'dark' });
    expect(await storage.conflicts()).toMatchObject([
      {
        reason: 'changed',
        base: undefined,
        local: { value: { theme: 'default' } },
        server: { value: { theme: 'dark' } },
      },
    ]);
  });

  it('keeps a delete of what has changed, and a write over what was deleted', async () => {
    const deleting = await disagree({}, (storage) => storage.delete('k'));
    expect(valueAt('k')).toBe('theirs');
    expect(await deleting.conflicts()).toEqual([changed({ local: undefined })]);
    const storage = open(server.url);
    await storage.set('gone', 'base');
    shut(server);
    await storage.set('gone', 'mine');
    server.apply({ ops: [{ op: 'delete', key: 'gone' }] });
    reopen(server);
    await storage.flush();
    expect(server.data.has('gone')).toBe(false);
    expect(await storage.conflicts()).toEqual([changed({ key: 'gone', server: undefined })]);
  });

  it('keeps what a clear() could not know of, and deletes the rest', async () => {
    const storage = open(server.url);
    await storage.setMany([
      ['a', 1],
      ['b', 2],
    ]);
    await storage.filled();
    shut(server);
    await storage.clear();
    expect(await storage.keys()).toEqual([]);
    theirs('b', 'changed');
    theirs('c', 'new');
    reopen(server);
    await storage.flush();
    expect([...server.data.keys()].sort()).toEqual(['b', 'c']);
    expect(await storage.getMany(['a', 'b', 'c'])).toEqual([undefined, 'changed', 'new']);
  });

  it('is no conflict where both sides wrote the same', async () => {
    const storage = await disagree({}, async (it) => {
      await it.set('k', 'theirs');
    });
    expect(await storage.conflicts()).toEqual([]);
    expect(valueAt('k')).toBe('theirs');
  });

  it('is not made of a write with ifRevision whose answer was lost: that rejects', async () => {
    const storage = open(server.url, { timeout: 3000 });
    await storage.set('k', 'base');
    const entry = await storage.getEntry('k');
    theirs('k', 'theirs');
    server.after = ({ batch }, response) => {
      if (batch?.m !== undefined) response.destroy();
      return batch?.m !== undefined;
    };
    const [plain, conditional] = await Promise.allSettled([
      storage.set('other', 'kept'),
      storage.set('k', 'mine', { ifRevision: String(entry?.revision) }),
    ]);
    expect(plain.status).toBe('fulfilled');
    expect(conditional).toMatchObject({
      reason: {
        code: 'unavailable',
        message: expect.stringMatching(/^It is not known whether this write was applied/),
      },
    });
    expect(await storage.get('other')).toBe('kept');
    server.after = undefined;
    reopen(server);
    await storage.flush();
    expect(await storage.getMany(['k', 'other'])).toEqual(['theirs', 'kept']);
    expect(await storage.conflicts()).toEqual([]);
  });

  it('is kept for the next storage of this origin', async () => {
    const first = await disagree({ database: 'conflict-kept' });
    await first.close();
    const second = open(server.url, { database: 'conflict-kept' });
    expect(await second.conflicts()).toEqual([changed({})]);
    expect(second.status().conflicts).toBe(1);
  });

  it('keeps rich values on every side', async () => {
    const storage = open(server.url);
    await storage.set('k', new Date(1));
    shut(server);
    await storage.set('k', new Map([['mine', 2n]]));
    theirs('k', [1, 2]);
    reopen(server);
    await storage.flush();
    expect(await storage.conflicts()).toStrictEqual([
      changed({
        base: { value: new Date(1) },
        local: { value: new Map([['mine', 2n]]) },
        server: { value: [1, 2] },
      }),
    ]);
  });
});

describe('keep-local', () => {
  it('replaces the server’s value, and nothing is left to settle', async () => {
    const storage = await disagree({ conflict: 'keep-local' });
    expect(valueAt('k')).toBe('mine');
    expect(await storage.get('k')).toBe('mine');
    expect(await storage.conflicts()).toEqual([]);
  });

  it('deletes what was deleted here', async () => {
    await disagree({ conflict: 'keep-local' }, (storage) => storage.delete('k'));
    expect(server.data.has('k')).toBe(false);
  });
});

describe('a function', () => {
  it('gets all sides and the key, and what it returns is stored', async () => {
    const calls: unknown[][] = [];
    const storage = await disagree({
      conflict: (...sides) => {
        calls.push(sides);
        return [sides[1], sides[2]];
      },
    });
    expect(calls).toEqual([['base', 'mine', 'theirs', 'k']]);
    expect(valueAt('k')).toEqual(['mine', 'theirs']);
    expect(await storage.get('k')).toEqual(['mine', 'theirs']);
    expect(await storage.conflicts()).toEqual([]);
  });

  it('may be asynchronous', async () => {
    await disagree({
      conflict: async (_base, local, theirs) => {
        await new Promise((done) => setTimeout(done));
        return `${local} and ${theirs}`;
      },
    });
    expect(valueAt('k')).toBe('mine and theirs');
  });

  it('deletes the key by returning undefined', async () => {
    const storage = await disagree({ conflict: () => undefined });
    expect(server.data.has('k')).toBe(false);
    expect(await storage.has('k')).toBe(false);
    expect(await storage.conflicts()).toEqual([]);
  });

  for (const [name, conflict] of [
    [
      'throws',
      () => {
        throw new Error('no idea');
      },
    ],
    ['rejects', async () => Promise.reject(new Error('no idea'))],
    ['returns what cannot be stored', () => () => 1],
  ] as const) {
    it(`that ${name} leaves the server’s value and loses nothing`, async () => {
      const storage = await disagree({ conflict });
      expect(valueAt('k')).toBe('theirs');
      expect(await storage.conflicts()).toEqual([changed({})]);
      expect(storage.lines.join('\n')).toMatch(/warn: .*option conflict failed/);
    });
  }

  it('that never answers is waited for as long as a request is, and not when the storage is closed', async () => {
    const storage = await disagree({ timeout: 2000, conflict: () => new Promise(() => {}) });
    expect(await storage.conflicts()).toEqual([changed({})]);
    expect(storage.lines.join('\n')).toMatch(/option conflict failed: Error: it took more than 2000 ms/);
    const other = open(server.url, { database: 'never', conflict: () => new Promise(() => {}) });
    await other.set('k', 'base');
    shut(server);
    await other.set('k', 'mine');
    theirs('k', 'theirs again');
    reopen(server);
    const flushing = other.flush().catch((error) => error.code);
    await expect.poll(() => server.seen.at(-1)?.batch?.ops.length, { timeout: 10_000 }).toBeGreaterThan(0);
    await other.close();
    await flushing;
    const again = open(server.url, { database: 'never' });
    await again.flush();
    expect(await again.conflicts()).toMatchObject([{ key: 'k', local: { value: 'mine' } }]);
  });

  it('is not asked where nobody else has written', async () => {
    let asked = 0;
    const storage = open(server.url, { conflict: () => ++asked });
    await storage.set('k', 'base');
    shut(server);
    await storage.set('k', 'mine');
    reopen(server);
    await storage.flush();
    expect(valueAt('k')).toBe('mine');
    expect(asked).toBe(0);
  });
});

describe('resolve()', () => {
  it('stores what was written here', async () => {
    const storage = await disagree();
    await storage.resolve('k', 'local');
    expect(valueAt('k')).toBe('mine');
    expect(await storage.get('k')).toBe('mine');
    expect(await storage.conflicts()).toEqual([]);
    expect(storage.status().conflicts).toBe(0);
  });

  it('deletes what was deleted here', async () => {
    const storage = await disagree({}, (it) => it.delete('k'));
    await storage.resolve('k', 'local');
    expect(server.data.has('k')).toBe(false);
  });

  it('leaves the server’s', async () => {
    const storage = await disagree();
    await storage.resolve('k', 'server');
    expect(valueAt('k')).toBe('theirs');
    expect(await storage.conflicts()).toEqual([]);
  });

  it('stores another value, also one that is undefined', async () => {
    const storage = await disagree();
    await storage.resolve('k', { value: { merged: new Date(5) } });
    expect(await storage.get('k')).toEqual({ merged: new Date(5) });
    const other = await disagree();
    await other.resolve('k', { value: undefined });
    expect(await other.has('k')).toBe(true);
    expect(await other.get('k')).toBeUndefined();
  });

  it('waits in the outbox while the server is away', async () => {
    const storage = await disagree();
    shut(server);
    await storage.resolve('k', 'local');
    expect(await storage.get('k')).toBe('mine');
    expect(await storage.conflicts()).toEqual([]);
    reopen(server);
    await storage.flush();
    expect(valueAt('k')).toBe('mine');
  });

  it('refuses what has no conflict, and what is no choice, and changes nothing', async () => {
    const storage = await disagree();
    for (const choice of ['base', undefined, null, {}, { value: 1, more: 2 }, ['local']])
      await expect(storage.resolve('k', choice as never)).rejects.toMatchObject({ code: 'invalid-option' });
    await expect(storage.resolve('other', 'local')).rejects.toMatchObject({ code: 'invalid-option' });
    await expect(storage.resolve('k', { value: () => 1 })).rejects.toMatchObject({
      code: 'unsupported-value',
    });
    expect(await storage.conflicts()).toEqual([changed({})]);
    expect(valueAt('k')).toBe('theirs');
  });
});

it('a namespace lists the conflicts of its keys, without the prefix, and resolves them', async () => {
  const storage = open(server.url);
  await storage.setMany([
    ['n:1', 'base'],
    ['n2', 'base'],
  ]);
  shut(server);
  const space = storage.namespace('n:');
  await space.set('1', 'mine');
  await storage.set('n2', 'mine');
  theirs('n:1', 'theirs');
  theirs('n2', 'theirs');
  reopen(server);
  await space.flush();
  expect((await storage.conflicts()).map(({ key }) => key).sort()).toEqual(['n2', 'n:1']);
  expect(await space.conflicts()).toEqual([changed({ key: '1' })]);
  await expect(space.resolve('2', 'local')).rejects.toMatchObject({ code: 'invalid-option' });
  await space.resolve('1', 'local');
  await storage.flush();
  expect(await space.conflicts()).toEqual([]);
  expect(await storage.conflicts()).toHaveLength(1);
  expect([valueAt('n:1'), valueAt('n2')]).toEqual(['mine', 'theirs']);
});
