/** Quotas of a tenant (QUOTA_KEYS, QUOTA_BYTES) over HTTP, and what a storage makes of them. The rule: store-contract.ts. */
import { createHash } from 'node:crypto';
import { expect, it } from 'vitest';
import { createStorage } from '../../src/index.ts';
import { ownDatabase } from '../support/own-database.ts';
import { rejection } from '../support/rejection.ts';
import type { RunningServer } from '../support/running-server.ts';
import { syncedStorages } from '../support/synced-storages.ts';

const { start, stop } = ownDatabase();
const open = syncedStorages();

const entry = (tenant: string): string =>
  `${tenant}:admin:${createHash('sha256').update(tenant).digest('hex')}`;

const ask = async (
  { url }: RunningServer,
  method: string,
  path: string,
  body?: string,
  headers: Record<string, string> = { 'content-type': 'application/json' },
) => {
  const answer = await fetch(url + path, { method, headers, ...(body !== undefined && { body }) });
  return { status: answer.status, body: await answer.json() };
};
const put = (server: RunningServer, key: string, value: unknown) =>
  ask(server, 'PUT', `/api/storage/${key}`, JSON.stringify({ value }));
const keysOf = async (server: RunningServer): Promise<string[]> =>
  (await ask(server, 'GET', '/api/storage/keys')).body.keys;

const QUOTA_EXCEEDED = 'urn:codeforge-storage:quota-exceeded';

it('answers 507 with what is used and allowed to a write over a quota, and makes room for deletes and clears', async () => {
  const server = await start({ QUOTA_KEYS: '2', QUOTA_BYTES: '10' });
  const quota = { keys: 2, bytes: 10 };
  await put(server, 'a', 1);
  expect(await put(server, 'b', 'x'.repeat(20))).toEqual({
    status: 507,
    body: {
      error: 'The quota has no room for this: 1 of 2 keys and 1 of 10 bytes are used',
      detail: 'The quota has no room for this: 1 of 2 keys and 1 of 10 bytes are used',
      type: QUOTA_EXCEEDED,
      title: 'Insufficient Storage',
      status: 507,
      used: { keys: 1, bytes: 1 },
      quota,
    },
  });
  await put(server, 'b', 1);
  const ops = [
    { op: 'put', key: 'c', value: 1 },
    { op: 'put', key: 'a', value: 22 },
    { op: 'delete', key: 'b' },
    { op: 'put', key: 'c', value: 1 },
  ];
  expect((await ask(server, 'POST', '/api/v1/batch', JSON.stringify({ ops }))).body.results).toEqual([
    {
      status: 507,
      error: expect.stringContaining('2 of 2 keys'),
      type: QUOTA_EXCEEDED,
      used: { keys: 2, bytes: 2 },
      quota,
    },
    { status: 200, rev: '3' },
    { status: 200, rev: '4' },
    { status: 200, rev: '5' },
  ]);
  expect((await put(server, 'd', 1)).status).toBe(507);
  expect((await ask(server, 'POST', '/api/storage/clear')).status).toBe(200);
  expect((await put(server, 'd', 1)).status).toBe(200);
});

it('an import of level 0 stores all of its keys or none; one of level 1 says how many it has stored', async () => {
  const server = await start({ QUOTA_KEYS: '2' });
  const over = await ask(server, 'POST', '/api/storage/import', '{"a":1,"b":2,"c":3}');
  expect(over).toMatchObject({ status: 507, body: { used: { keys: 0 }, quota: { keys: 2 } } });
  expect(await keysOf(server)).toEqual([]);
  const lines = ['a', 'b', 'c'].map((key) => JSON.stringify({ key, value: 1 }));
  const text = ['{"format":"codeforge-storage","version":1}', ...lines, '{"end":true,"count":3}', ''].join(
    '\n',
  );
  const ndjson = { 'content-type': 'application/x-ndjson' };
  for (const [mode, keys] of [
    ['fail', []],
    ['overwrite', ['a', 'b']],
  ] as const) {
    const answer = await ask(server, 'POST', `/api/v1/import?mode=${mode}`, text, ndjson);
    expect(answer).toMatchObject({
      status: 507,
      body: { imported: keys.length, type: QUOTA_EXCEEDED, quota: { keys: 2 } },
    });
    expect(await keysOf(server)).toEqual(keys);
  }
});

it('a tenant may have a quota of its own', async () => {
  const server = await start({ QUOTA_KEYS: '1,big=3', TOKENS: `${entry('small')} ${entry('big')}` });
  const stored = async (tenant: string): Promise<number> => {
    const headers = { 'content-type': 'application/json', authorization: `Bearer ${tenant}` };
    let count = 0;
    for (const key of ['a', 'b', 'c', 'd'])
      count += Number(
        (await ask(server, 'PUT', `/api/storage/${key}`, '{"value":1}', headers)).status === 200,
      );
    return count;
  };
  expect([await stored('small'), await stored('big')]).toEqual([1, 3]);
});

it('counts what was stored before there was a quota', async () => {
  const before = await start();
  for (const key of ['a', 'b', 'c']) await put(before, key, 1);
  await stop(before);
  const server = await start({ QUOTA_KEYS: '2' });
  expect(await put(server, 'd', 1)).toMatchObject({ status: 507, body: { used: { keys: 3, bytes: 3 } } });
  expect((await put(server, 'a', 2)).status).toBe(200);
});

it('a wrong quota ends the start', async () => {
  for (const QUOTA_BYTES of ['1 GB', '1,1', 'a b=1', '-1'])
    await expect(start({ QUOTA_BYTES })).rejects.toThrow(/QUOTA_BYTES must be a whole number, or a list/);
});

it('a storage without IndexedDB rejects only the write that is over the quota, and says what is used', async () => {
  const server = await start({ QUOTA_KEYS: '2' });
  await using storage = createStorage({ useFlask: true, flaskUrl: server.url });
  const [a, b, c] = await Promise.allSettled([storage.set('a', 1), storage.set('b', 2), storage.set('c', 3)]);
  expect([a?.status, b?.status, c?.status]).toEqual(['fulfilled', 'fulfilled', 'rejected']);
  const error = await rejection(storage.set('c', 3));
  expect(error).toMatchObject({ code: 'quota', message: expect.stringContaining('2 of 2 keys are used') });
  expect(
    await rejection(storage.atomic([{ delete: 'a' }, { set: 'c', value: 1 }, { set: 'd', value: 1 }])),
  ).toMatchObject({
    code: 'quota',
  });
  await storage.atomic([{ delete: 'a' }, { set: 'c', value: 1 }]);
  expect(await storage.keys()).toEqual(['b', 'c']);
});

it('a queued write that is over the quota waits for room; the others are sent', async () => {
  let server = await start({ QUOTA_KEYS: '2' });
  const port = Number(new URL(server.url).port);
  const storage = open(server.url);
  await storage.setMany([
    ['a', 1],
    ['b', 1],
  ]);
  await storage.filled();
  await stop(server);
  await storage.set('c', 'waits');
  await storage.atomic([
    { set: 'd', value: 'waits too' },
    { set: 'a', value: 'not without d' },
  ]);
  await storage.set('b', 2);
  server = await start({ QUOTA_KEYS: '2' }, port);
  await storage.reaches(
    ({ state, pending, reason }) => state === 'online' && pending === 3 && /2 of 2 keys/.test(reason),
  );
  expect((await rejection(storage.flush())).message).toMatch(/2 of 2 keys/);
  const value = async (key: string) => (await ask(server, 'GET', `/api/storage/${key}`)).body.value;
  expect([await value('a'), await value('b')]).toEqual([1, 2]);
  expect(await storage.conflicts()).toEqual([]);

  await storage.delete('b');
  await storage.flush().catch(() => {});
  expect([await value('c'), await keysOf(server)]).toEqual(['waits', ['a', 'c']]);
  await stop(server);
  await start({ QUOTA_KEYS: '3' }, port);
  await storage.sent();
  expect(await storage.getMany(['a', 'c', 'd'])).toEqual(['not without d', 'waits', 'waits too']);
});

it('counts what a quota refuses, also in a batch, whose own answer is 200', async () => {
  const server = await start({ QUOTA_KEYS: '1', METRICS_PORT: '0' });
  const ops = ['a', 'b', 'c'].map((key) => ({ op: 'put', key, value: 1 }));
  expect((await ask(server, 'POST', '/api/v1/batch', JSON.stringify({ ops }))).status).toBe(200);
  expect((await put(server, 'd', 1)).status).toBe(507);
  const url = (): string => /"url":"(http[^"]+\/metrics)"/.exec(server.output())?.[1] ?? '';
  await expect.poll(url).not.toBe('');
  expect(await (await fetch(url())).text()).toMatch(/^storage_quota_exceeded_total 3$/m);
});
