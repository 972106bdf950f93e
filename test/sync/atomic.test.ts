/**
 * An atomic unit that was made while the server was away, or whose answer was lost: it is sent, applied, and in conflict as a whole
 * (docs/guarantees.md, 1.7).
 */
import { afterEach, beforeEach, expect, it } from 'vitest';
import { type Level1Request, type Level1Server, startLevel1Server } from '../support/level1-server.ts';
import { startOldServer } from '../support/old-server.ts';
import { rejection } from '../support/rejection.ts';
import { reopen, shut, syncedStorages } from '../support/synced-storages.ts';

const open = syncedStorages();
let server: Level1Server;

beforeEach(async () => {
  server = await startLevel1Server();
});
afterEach(() => server.stop().catch(() => undefined));

const held = (): Record<string, unknown> =>
  Object.fromEntries([...server.data].map(([key, { value }]) => [key, value]));
const theirs = (key: string, value: unknown): void => {
  server.apply({ ops: [{ op: 'put', key, value }] });
};
/** The batches with writes that arrived: whether each was atomic, and its operations. */
const sent = () =>
  server.seen.flatMap(({ batch }) =>
    batch?.m === undefined
      ? []
      : [[batch.atomic ?? false, batch.ops.map(({ op, key }) => `${op} ${key}`).join(', ')]],
  );

/** A storage that knows `a`, `b` and `c`, and whose server lets nobody in. */
async function signedOut(options = {}) {
  const storage = open(server.url, options);
  await storage.setMany([
    ['a', 1],
    ['b', 2],
    ['c', 3],
  ]);
  await storage.filled();
  shut(server);
  server.seen.length = 0;
  return storage;
}

it('a unit that waits is read at once, and sent as one request', async () => {
  const storage = await signedOut();
  const c = await storage.getEntry('c');
  await storage.atomic([
    { set: 'a', value: 'mine' },
    { delete: 'b' },
    { set: 'new', value: 'mine', ifRevision: null },
    { check: 'c', ifRevision: c?.revision ?? null },
  ]);
  expect(await storage.getMany(['a', 'b', 'new'])).toEqual(['mine', undefined, 'mine']);
  expect(storage.status().pending).toBe(3);
  await storage.set('other', 1);
  reopen(server);
  server.seen.length = 0;
  await storage.flush();
  expect(held()).toEqual({ a: 'mine', c: 3, new: 'mine', other: 1 });
  expect(sent()).toEqual([
    [true, 'put a, delete b, put new, check c'],
    [false, 'put other'],
  ]);
  expect(storage.status()).toMatchObject({ pending: 0, conflicts: 0 });
});

it('conditions of a unit are checked here while the server is away, and nothing is stored if one is not met', async () => {
  const storage = await signedOut();
  const error = await rejection(
    storage.atomic([
      { set: 'a', value: 'mine' },
      { check: 'b', ifRevision: null },
    ]),
  );
  expect(error).toMatchObject({ code: 'conflict', key: 'b', current: { value: 2 } });
  expect(await storage.get('a')).toBe(1);
  expect(storage.status().pending).toBe(0);
});

for (const [name, change] of [
  ['a key that it writes', () => theirs('b', 'theirs')],
  ['a key that it checks', () => theirs('c', 'theirs')],
] as const)
  it(`a unit is in conflict as a whole where another client has changed ${name}`, async () => {
    const storage = await signedOut();
    const c = await storage.getEntry('c');
    await storage.atomic([
      { set: 'a', value: 'mine a' },
      { set: 'b', value: 'mine b' },
      { check: 'c', ifRevision: c?.revision ?? null },
    ]);
    change();
    const before = held();
    reopen(server);
    await storage.flush();
    expect(held()).toEqual(before);
    const conflicts = await storage.conflicts();
    expect(conflicts).toMatchObject([
      { key: 'a', reason: 'changed', local: { value: 'mine a' }, unit: ['a', 'b'] },
      { key: 'b', reason: 'changed', local: { value: 'mine b' }, unit: ['a', 'b'] },
    ]);
    server.seen.length = 0;
    await storage.resolve('b', 'local');
    await storage.flush();
    expect(held()).toEqual({ ...before, a: 'mine a', b: 'mine b' });
    expect(sent()).toEqual([[true, 'put a, put b']]);
    expect(await storage.conflicts()).toEqual([]);
  });

it('resolve() with the server’s side drops a whole unit', async () => {
  const storage = await signedOut();
  await storage.atomic([
    { set: 'a', value: 'mine' },
    { set: 'b', value: 'mine' },
  ]);
  theirs('a', 'theirs');
  reopen(server);
  await storage.flush();
  await storage.resolve('b', 'server');
  expect(storage.status()).toMatchObject({ pending: 0, conflicts: 0 });
  expect(await storage.getMany(['a', 'b'])).toEqual(['theirs', 2]);
});

it('writes before and after a unit keep their order, and are not made part of it', async () => {
  const storage = await signedOut();
  await storage.set('a', 'first');
  await storage.atomic([
    { set: 'a', value: 'second' },
    { set: 'b', value: 'second' },
  ]);
  await storage.set('b', 'third');
  await storage.set('b', 'fourth');
  const b = await storage.getEntry('b');
  await storage.atomic([
    { set: 'c', value: 'last' },
    { check: 'b', ifRevision: b?.revision ?? null },
  ]);
  reopen(server);
  server.applied.length = 0;
  await storage.flush();
  expect(held()).toEqual({ a: 'second', b: 'fourth', c: 'last' });
  expect(server.applied).toEqual([
    'put a "first"',
    'put a "second"',
    'put b "second"',
    'put b "fourth"',
    'put c "last"',
    'put b "fourth"',
  ]);
  expect(await storage.conflicts()).toEqual([]);
});

it('a unit without conditions whose answer was lost applies once', async () => {
  for (const isApplied of [true, false]) {
    const storage = open(server.url);
    await storage.ready();
    const lose = ({ batch }: Level1Request, response: { destroy(): unknown }): boolean =>
      batch?.atomic === true && Boolean(response.destroy());
    server.applied.length = 0;
    if (isApplied) server.after = lose;
    else server.before = lose;
    await storage.atomic([
      { set: 'a', value: isApplied },
      { set: 'b', value: isApplied },
    ]);
    expect(await storage.getMany(['a', 'b'])).toEqual([isApplied, isApplied]);
    server.before = server.after = undefined;
    await storage.flush();
    expect(server.applied).toEqual([`put a ${isApplied}`, `put b ${isApplied}`]);
    expect(storage.status()).toMatchObject({ pending: 0, conflicts: 0 });
  }
});

it('a unit with a condition whose answer was lost rejects, and is not sent again', async () => {
  const storage = open(server.url);
  await storage.set('a', 1);
  server.before = ({ batch }, response) => batch?.atomic === true && Boolean(response.destroy());
  const error = await rejection(
    storage.atomic([
      { set: 'a', value: 2 },
      { check: 'b', ifRevision: null },
    ]),
  );
  expect(error).toMatchObject({ code: 'unavailable', message: expect.stringMatching(/not known/) });
  server.before = undefined;
  await storage.flush();
  expect(held()).toEqual({ a: 1 });
});

it('a unit that the server never takes is kept as a whole, and all others arrive', async () => {
  const storage = await signedOut();
  await storage.atomic([
    { set: 'a', value: 'never' },
    { set: 'b', value: 'mine' },
  ]);
  await storage.set('c', 'mine');
  server.before = ({ text }, response) => {
    if (!text.includes('never')) return false;
    response.writeHead(422, { 'content-type': 'application/json' }).end('{"error":"no"}');
    return true;
  };
  await storage.flush();
  expect(held()).toEqual({ a: 1, b: 2, c: 'mine' });
  expect(await storage.conflicts()).toMatchObject([
    { key: 'a', reason: 'rejected', unit: ['a', 'b'] },
    { key: 'b', reason: 'rejected', unit: ['a', 'b'] },
  ]);
});

for (const [name, change, unit] of [
  [
    'a delete with a condition, of a key that another client has deleted',
    () => server.apply({ ops: [{ op: 'delete', key: 'b' }] }),
    (ifRevision: string) =>
      [
        { set: 'a', value: 'mine' },
        { delete: 'b', ifRevision },
      ] as const,
  ],
  [
    'a set with a condition, of a key to which another client has given the same value',
    () => theirs('b', 'taken'),
    (ifRevision: string) =>
      [
        { set: 'a', value: 'mine' },
        { set: 'b', value: 'taken', ifRevision },
      ] as const,
  ],
] as const)
  it(`a unit is in conflict because of ${name}`, async () => {
    const storage = await signedOut();
    const b = await storage.getEntry('b');
    await storage.atomic(unit(String(b?.revision)));
    change();
    const before = held();
    reopen(server);
    await storage.flush();
    expect(held()).toEqual(before);
    expect(await storage.conflicts()).toMatchObject([
      { key: 'a', unit: ['a', 'b'] },
      { key: 'b', server: before.b === undefined ? undefined : { value: 'taken' }, unit: ['a', 'b'] },
    ]);
  });

it('what was written after a unit that is in conflict is stored, unless it was made on a value of that unit', async () => {
  const storage = await signedOut();
  await storage.set('a', 'before');
  await storage.atomic([
    { set: 'a', value: 'unit' },
    { set: 'b', value: 'unit' },
    { set: 'c', value: 'unit' },
  ]);
  const c = await storage.getEntry('c');
  await storage.atomic([
    { set: 'd', value: 'on it' },
    { check: 'c', ifRevision: c?.revision ?? null },
  ]);
  await storage.set('a', 'after');
  theirs('b', 'theirs');
  reopen(server);
  await storage.flush();
  expect(held()).toEqual({ a: 'after', b: 'theirs', c: 3 });
  const conflicts = await storage.conflicts();
  expect(conflicts.map(({ key, unit }) => [key, unit])).toEqual([
    ['a', ['a', 'b', 'c']],
    ['b', ['a', 'b', 'c']],
    ['c', ['a', 'b', 'c']],
    ['d', ['d', 'c']],
    ['c', ['d', 'c']],
  ]);
});

it('a write before a unit, whose answer was lost, is not made part of it', async () => {
  const storage = open(server.url);
  await storage.set('a', 1);
  server.before = ({ batch }, response) => batch?.m !== undefined && Boolean(response.destroy());
  await storage.set('a', 'before');
  await storage.atomic([
    { set: 'a', value: 'unit' },
    { set: 'b', value: 'unit' },
  ]);
  theirs('b', 'theirs');
  server.before = undefined;
  await storage.flush();
  expect(held()).toEqual({ a: 'before', b: 'theirs' });
  expect(await storage.conflicts()).toMatchObject([
    { key: 'a', local: { value: 'unit' }, unit: ['a', 'b'] },
    { key: 'b', local: { value: 'unit' }, unit: ['a', 'b'] },
  ]);
});

it('a write of a key that a waiting unit checks is sent after the unit', async () => {
  const storage = await signedOut();
  const c = await storage.getEntry('c');
  await storage.atomic([
    { set: 'a', value: 'unit' },
    { check: 'c', ifRevision: c?.revision ?? null },
  ]);
  // The server is there, and does not answer to this unit.
  server.before = ({ batch }, response) => batch?.atomic === true && Boolean(response.destroy());
  await storage.reaches('online');
  await storage.set('c', 'after');
  await storage.update('c', (value) => `${value}!`);
  await storage.atomic([
    { set: 'c', value: 'last' },
    { set: 'b', value: 'last' },
  ]);
  expect(held()).toEqual({ a: 1, b: 2, c: 3 });
  server.before = undefined;
  await storage.flush();
  expect(held()).toEqual({ a: 'unit', b: 'last', c: 'last' });
  expect(await storage.conflicts()).toEqual([]);
});

it('a unit is rejected as a whole where the server has become one of level 0', async () => {
  const database = 'was-level-1';
  const storage = await signedOut({ database });
  const writes = Array.from({ length: 60 }, (_, i) => ({ set: `k${i}`, value: 'unit' }));
  await storage.set('a', 'before');
  await storage.atomic([{ set: 'a', value: 'unit' }, ...writes]);
  await storage.set('a', 'after');
  await storage.close();
  const old = await startOldServer();
  server.before = ({ method, url, headers, text }, response) => {
    const body = method === 'GET' ? null : text;
    const type = headers['content-type'] ?? 'application/json';
    fetch(`${old.url}${url}`, { method, body, headers: { 'content-type': type } })
      .then(async (answer) =>
        response.writeHead(answer.status, { 'content-type': 'application/json' }).end(await answer.text()),
      )
      .catch(() => response.destroy());
    return true;
  };
  try {
    for (const [key, value] of Object.entries(held())) old.data.set(key, value);
    const reopened = open(server.url, { database });
    await reopened.flush();
    expect(Object.fromEntries(old.data)).toEqual({ a: 'after', b: 2, c: 3 });
    const conflicts = await reopened.conflicts();
    expect(conflicts).toHaveLength(61);
    expect(new Set(conflicts.map(({ reason, unit }) => `${reason} ${unit?.length}`))).toEqual(
      new Set(['rejected 61']),
    );
  } finally {
    await old.close();
  }
});

it('a unit that is too large for the outbox, its answer lost, is not said to be refused', async () => {
  const storage = open(server.url);
  await storage.ready();
  server.after = ({ batch }, response) => batch?.atomic === true && Boolean(response.destroy());
  const unit = Array.from({ length: 300 }, (_, i) => ({ set: `k${i}`, value: i }));
  expect(await rejection(storage.atomic(unit))).toMatchObject({ code: 'unavailable' });
  expect(server.data.size).toBe(300);
});
