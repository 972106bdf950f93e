/** A server of level 0 that was away: it has no revisions, so what waits is compared with what is there by value (docs/guarantees.md, 8). */
import { afterEach, beforeEach, expect, it } from 'vitest';
import { type OldServer, startOldServer } from '../support/old-server.ts';
import { syncedStorages } from '../support/synced-storages.ts';

const open = syncedStorages();
let server: OldServer;

beforeEach(async () => {
  server = await startOldServer();
});
afterEach(() => server.close());

const leave = (): void => {
  server.intercept = (request) => {
    request.socket.destroy();
    return true;
  };
};
const comeBack = (): void => {
  server.intercept = undefined;
};
const held = (): Record<string, unknown> => Object.fromEntries(server.data);

it('what is still as its writer had seen it is replaced, deleted, or created', async () => {
  const storage = open(server.url);
  await storage.setMany([
    ['kept', { b: 1, a: [2] }],
    ['gone', 1],
  ]);
  leave();
  await storage.set('kept', 'mine');
  await storage.delete('gone');
  await storage.set('new', 'mine');
  expect(storage.status()).toMatchObject({ level: 0, pending: 3, backend: 'indexeddb' });
  comeBack();
  await storage.flush();
  expect(held()).toEqual({ kept: 'mine', new: 'mine' });
  expect(await storage.conflicts()).toEqual([]);
  expect(storage.status()).toMatchObject({ state: 'online', level: 0, pending: 0 });
});

for (const ack of ['server', 'local'] as const)
  it(`what is written while an earlier value of its key is on its way arrives after it, acknowledged by the ${ack}`, async () => {
    const storage = open(server.url, { ack });
    await storage.set('k', 'base');
    await storage.flush();
    leave();
    await storage.set('k', 'first');
    await storage.set('gone', 'first');
    let held: Array<() => void> = [];
    server.intercept = ({ method, url }, response, body) => {
      if (method === 'GET') return false;
      held.push(() => {
        server.intercept = undefined;
        for (const [key, value] of url?.endsWith('/import')
          ? Object.entries(JSON.parse(body))
          : [[String(url).split('/').at(-1), JSON.parse(body).value] as const])
          server.data.set(String(key), value);
        const json = url?.endsWith('/import') ? { success: true, imported: 2 } : { success: true };
        response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(json));
      });
      return true;
    };
    const flushed = storage.flush();
    await expect.poll(() => held.length, { timeout: 10_000 }).toBeGreaterThan(0);
    await storage.set('k', 'second');
    await storage.delete('gone');
    expect(await storage.get('k')).toBe('second');
    for (const answer of held) answer();
    held = [];
    await flushed;
    await storage.flush();
    expect(Object.fromEntries(server.data)).toEqual({ k: 'second' });
    expect(await storage.getMany(['k', 'gone'])).toEqual(['second', undefined]);
    expect(await storage.conflicts()).toEqual([]);
  });

it('what is there already, in whatever order of members, is done and not written again', async () => {
  const storage = open(server.url);
  await storage.set('k', 'base');
  leave();
  await storage.set('k', { b: 1, a: 2 });
  await storage.delete('none');
  server.data.set('k', { a: 2, b: 1 });
  comeBack();
  server.seen.length = 0;
  await storage.flush();
  expect(server.seen.filter(({ method }) => method !== 'GET')).toEqual([]);
  expect(await storage.conflicts()).toEqual([]);
});

it('anything else is a conflict: the server’s value stands, the local one is kept', async () => {
  const storage = open(server.url);
  await storage.setMany([
    ['changed', 'base'],
    ['deleted', 'base'],
    ['removed', 'base'],
  ]);
  leave();
  await storage.set('changed', 'mine');
  await storage.set('deleted', 'mine');
  await storage.delete('removed');
  await storage.set('created', 'mine');
  server.data.set('changed', 'theirs');
  server.data.delete('deleted');
  server.data.set('removed', 'theirs');
  server.data.set('created', 'theirs');
  comeBack();
  await storage.flush();
  expect(held()).toEqual({ changed: 'theirs', removed: 'theirs', created: 'theirs' });
  const conflicts = await storage.conflicts();
  const sides = conflicts.map(({ key, reason, base, local, server }) => [key, reason, base, local, server]);
  const [base, mine, theirs] = ['base', 'mine', 'theirs'].map((value) => ({ value }));
  expect(sides).toEqual([
    ['changed', 'changed', base, mine, theirs],
    ['deleted', 'changed', base, mine, undefined],
    ['removed', 'changed', base, undefined, theirs],
    ['created', 'changed', undefined, mine, theirs],
  ]);
  await storage.resolve('changed', 'local');
  await storage.resolve('deleted', 'server');
  await storage.resolve('removed', 'local');
  await storage.resolve('created', { value: 'both' });
  expect(held()).toEqual({ changed: 'mine', created: 'both' });
});

it('the policy of the app decides here too', async () => {
  const storage = open(server.url, { conflict: (...sides) => sides });
  await storage.set('k', 'base');
  leave();
  await storage.set('k', 'mine');
  server.data.set('k', 'theirs');
  comeBack();
  await storage.flush();
  expect(held()).toEqual({ k: ['base', 'mine', 'theirs', 'k'] });
  expect(await storage.conflicts()).toEqual([]);
});

it('update() and what needs revisions is refused as unsupported, there or away, instead of pretending', async () => {
  const storage = open(server.url);
  await storage.set('n', 1);
  for (const where of ['there', 'away']) {
    if (where === 'away') leave();
    await storage.get('n');
    const outcomes = await Promise.allSettled([
      storage.update('n', () => 2),
      storage.getEntry('n'),
      storage.set('n', 2, { ifRevision: null }),
      storage.delete('n', { ifRevision: 'k.1' }),
    ]);
    for (const outcome of outcomes) expect(outcome).toMatchObject({ reason: { code: 'unsupported' } });
  }
  expect(storage.status().pending).toBe(0);
  expect(await storage.get('n')).toBe(1);
});

it('clear() while it is away deletes what was known, and nothing that came since', async () => {
  server.data.set('a', 1);
  server.data.set('b', 2);
  const storage = open(server.url);
  await storage.ready();
  leave();
  expect(await storage.keys()).toEqual(['a', 'b']);
  await storage.clear();
  expect(await storage.keys()).toEqual([]);
  server.data.set('b', 'changed');
  server.data.set('c', 'new');
  comeBack();
  await storage.flush();
  expect(held()).toEqual({ b: 'changed', c: 'new' });
  expect(await storage.conflicts()).toMatchObject([{ key: 'b', base: { value: 2 }, local: undefined }]);
});

it('an upgrade to level 1 keeps what waits, and a conflict is still none of what was seen', async () => {
  const storage = open(server.url, { conflict: 'keep-server' });
  await storage.set('k', 'base');
  leave();
  await storage.set('k', 'mine');
  expect(await storage.get('k')).toBe('mine');
  expect(storage.status()).toMatchObject({ level: 0, pending: 1 });
  comeBack();
  await storage.flush();
  expect(held()).toEqual({ k: 'mine' });
});

/** What another program may have stored: an envelope that nobody can open, and a value that is nested too deep. */
const BROKEN: ReadonlyArray<readonly [string, unknown]> = [
  ['an envelope that nobody can open', { $cf: [['Unknown', 1]] }],
  ['a value that is nested too deep', JSON.parse(`${'['.repeat(300)}${']'.repeat(300)}`)],
];
for (const [name, value] of BROKEN) {
  it(`${name} fails its own key at most: the server is used, and what waits arrives`, async () => {
    const storage = open(server.url);
    server.data.set('broken', value);
    await storage.set('fine', 1);
    expect(storage.status()).toMatchObject({ state: 'online', level: 0 });
    await storage.get('broken').catch(() => undefined);
    leave();
    await storage.set('fine', 2);
    await storage.set('broken', 'mine');
    comeBack();
    await storage.flush();
    expect(storage.status()).toMatchObject({ state: 'online', pending: 0 });
    expect(held()).toEqual({ fine: 2, broken: value });
    expect(await storage.conflicts()).toMatchObject([{ key: 'broken', local: { value: 'mine' } }]);
  });
}

it('an edit of a value whose members such a server has only sorted is no conflict', async () => {
  const storage = open(server.url);
  const edition = (n: number) => ({ z: n, when: new Date(n), a: { y: [undefined], b: new Map([['k', n]]) } });
  await storage.set('k', edition(1));
  for (const n of [2, 3]) {
    leave();
    await storage.set('k', edition(n));
    comeBack();
    await storage.flush();
    expect(await storage.conflicts()).toEqual([]);
    expect(await storage.get('k')).toEqual(edition(n));
  }
});
