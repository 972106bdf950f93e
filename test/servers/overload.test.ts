/**
 * What one client can take from the others: nothing that they need. Clients that send half a body, stall while they read, or
 * come in great numbers, beside a health check and a write.
 */
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { request as httpRequest, type IncomingMessage, type RequestOptions } from 'node:http';
import { expect, it } from 'vitest';
import { newTokens } from '../conformance/run.ts';
import { ownDatabase } from '../support/own-database.ts';
import { getUntilReceived, type ReceivedRequest, sendUntilReceived } from '../support/received.ts';
import type { RunningServer } from '../support/running-server.ts';

const JSON_TYPE = { 'content-type': 'application/json' };
const MEBIBYTE = 1024 * 1024;

const { start } = ownDatabase();

const put = async (server: RunningServer, key: string, value: unknown): Promise<number> => {
  const body = JSON.stringify({ value });
  return (await fetch(`${server.url}/api/storage/${key}`, { method: 'PUT', headers: JSON_TYPE, body }))
    .status;
};

const health = async (server: RunningServer): Promise<number> => (await fetch(`${server.url}/health`)).status;

/** The head and the first byte of a PUT of `length` bytes. */
async function halfPut(server: RunningServer, length: number, options: RequestOptions = {}) {
  const sent = await sendUntilReceived(`${server.url}/api/storage/half`, {
    ...options,
    method: 'PUT',
    headers: { ...JSON_TYPE, 'content-length': length, ...(options.headers as Record<string, string>) },
  });
  sent.write('{');
  // Most of them never get an answer.
  sent.answer.catch(() => {});
  return sent;
}

/** The answer of a request, or `undefined` while there is none. */
const statusOf = ({ answer }: ReceivedRequest): Promise<number | 'none'> =>
  Promise.race([
    answer.then(
      ({ status }) => status,
      () => 'none' as const,
    ),
    new Promise<'none'>((resolve) => setImmediate(() => setImmediate(resolve, 'none'))),
  ]);

it('300 bodies that are half sent keep neither a health check nor a write from its answer', async () => {
  const server = await start({ STALL_SECONDS: '600' });
  const abort = new AbortController();
  await Promise.all(Array.from({ length: 300 }, () => halfPut(server, 1000, { signal: abort.signal })));
  expect([await health(server), await put(server, 'a', 1)]).toEqual([200, 200]);
  abort.abort();
});

it('a body that stalls or drips is answered with 408', async () => {
  const server = await start({ STALL_SECONDS: '1' });
  const stalled = await halfPut(server, 1000);
  const dripping = await halfPut(server, 1000);
  const drip = setInterval(() => dripping.write(' '), 50);
  const importing = await sendUntilReceived(`${server.url}/api/v1/import`, {
    method: 'POST',
    headers: { 'content-type': 'application/x-ndjson' },
  });
  importing.write('{"format":"codeforge-storage","version":1}\n');
  for (const { answer } of [stalled, dripping, importing])
    expect(await answer).toMatchObject({ status: 408, text: expect.stringContaining('too slowly') });
  clearInterval(drip);
});

it('a body that keeps the minimum rate is received, however long it takes', async () => {
  const server = await start({ STALL_SECONDS: '1' });
  const value = 'x'.repeat(128 * 1024);
  const body = Buffer.from(JSON.stringify({ value }));
  const sent = await sendUntilReceived(`${server.url}/api/storage/steady`, {
    method: 'PUT',
    headers: { ...JSON_TYPE, 'content-length': body.length },
  });
  // 64 KiB a second, twice the minimum.
  for (let at = 0; at < body.length; at += 16 * 1024) {
    sent.write(body.subarray(at, at + 16 * 1024).toString());
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
  sent.end();
  expect((await sent.answer).status).toBe(200);
}, 60_000);

it('one address uses half of the memory for large bodies, small ones still fit, and the memory is free afterwards', async () => {
  const server = await start({ STALL_SECONDS: '600' });
  const abort = new AbortController();
  const options = { signal: abort.signal };
  const sent = await Promise.all(Array.from({ length: 20 }, () => halfPut(server, 7 * MEBIBYTE, options)));
  await expect
    .poll(async () => (await Promise.all(sent.map(statusOf))).filter((status) => status === 503).length)
    .toBe(11);
  expect([await health(server), await put(server, 'a', 1)]).toEqual([200, 200]);
  const other = await halfPut(server, 7 * MEBIBYTE, { localAddress: '127.0.0.2', ...options });
  expect(await statusOf(other)).toBe('none');
  abort.abort();
  await expect.poll(() => put(server, 'large', 'x'.repeat(7 * MEBIBYTE)), { timeout: 20_000 }).toBe(200);
});

it('one tenant and one address use at most half of a limit', async () => {
  const { env, tokens } = newTokens();
  const server = await start({ ...env, MAX_WAITING: '4' });
  const open = async (token: string | undefined, localAddress: string): Promise<IncomingMessage> => {
    const headers = { accept: 'text/event-stream', authorization: `Bearer ${token}` };
    const request = httpRequest(`${server.url}/api/v1/changes`, {
      headers,
      localAddress,
      agent: false,
    }).end();
    return (await once(request, 'response'))[0];
  };
  const { admin, read, other } = tokens;
  const asked = [
    [admin, '127.0.0.1', 200],
    [read, '127.0.0.2', 200],
    // The tenant has its half.
    [admin, '127.0.0.3', 503],
    [other, '127.0.0.2', 200],
    // The address has its half.
    [other, '127.0.0.2', 503],
    [other, '127.0.0.3', 200],
    // All have everything.
    [other, '127.0.0.4', 503],
  ] as const;
  const streams: IncomingMessage[] = [];
  for (const [token, address, status] of asked) {
    const stream = await open(token, address);
    expect(stream.statusCode, `from ${address}`).toBe(status);
    streams.push(stream);
  }
  streams[0]?.destroy();
  await expect.poll(async () => (await open(read, '127.0.0.5')).statusCode).toBe(200);
  for (const stream of streams) stream.destroy();
});

it('refuses what is over MAX_REQUESTS at once, but never a health check, and serves again afterwards', async () => {
  const server = await start({ MAX_REQUESTS: '1' });
  const { epoch, seq } = await fetch(`${server.url}/health`).then((response) => response.json());
  const poll = await getUntilReceived(`${server.url}/api/v1/changes?since=${epoch}.${seq}&wait=30`);
  // An import is worked on while it arrives.
  const importing = await sendUntilReceived(`${server.url}/api/v1/import`, {
    method: 'POST',
    headers: { 'content-type': 'application/x-ndjson' },
  });
  const refused = await fetch(`${server.url}/api/storage/a`);
  expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, '1']);
  expect(await refused.json()).toMatchObject({ error: 'Too many requests at once', status: 503 });
  expect(await health(server)).toBe(200);
  importing.end(
    '{"format":"codeforge-storage","version":1}\n{"key":"a","rev":"1","value":1}\n{"end":true,"count":1}\n',
  );
  expect((await importing.answer).status).toBe(200);
  expect(JSON.parse((await poll.answer).text).changes).toMatchObject([{ key: 'a' }]);
  expect((await fetch(`${server.url}/api/storage/a`)).status).toBe(200);
});

it('the scope of a token is checked before the body is read', async () => {
  const { env, tokens } = newTokens();
  const server = await start(env);
  for (const [method, where] of [
    ['PUT', 'storage/a'],
    ['POST', 'storage/import'],
    ['POST', 'v1/import'],
  ] as const) {
    const headers = { ...JSON_TYPE, authorization: `Bearer ${tokens.read}`, 'content-length': 1000 };
    const sent = await sendUntilReceived(`${server.url}/api/${where}`, { method, headers });
    expect((await sent.answer).status).toBe(403);
  }
});

it('a reader that stalls or drips on an export is disconnected', async () => {
  const server = await start({ STALL_SECONDS: '1' });
  for (let index = 0; index < 16; index += 1) await put(server, `key-${index}`, 'x'.repeat(MEBIBYTE));
  const open = async (): Promise<IncomingMessage> => {
    const request = httpRequest(`${server.url}/api/v1/export`, { agent: false }).end();
    return (await once(request, 'response'))[0];
  };
  const [stalled, dripping] = [await open(), await open()];
  const drip = setInterval(() => dripping.read(1), 50);
  const ended = () => server.output().match(/a client took an answer too slowly/g)?.length;
  await expect.poll(ended, { timeout: 20_000 }).toBe(2);
  clearInterval(drip);
  for (const response of [stalled, dripping]) await once(response.resume(), 'error');
  expect([stalled.complete, dripping.complete]).toEqual([false, false]);
}, 60_000);

it('an export to a client that is slow, but keeps the minimum rate, is complete', async () => {
  const server = await start({ STALL_SECONDS: '1' });
  for (let index = 0; index < 8; index += 1) await put(server, `key-${index}`, 'x'.repeat(MEBIBYTE));
  const response = await fetch(`${server.url}/api/v1/export`);
  let size = 0;
  for await (const chunk of response.body ?? []) {
    size += chunk.length;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  expect(size).toBeGreaterThan(8 * MEBIBYTE);
}, 60_000);

it.runIf(existsSync('/proc/self/status'))(
  'memory for bodies comes back',
  async () => {
    const server = await start();
    await put(server, 'a', 'x'.repeat(7 * MEBIBYTE));
    const resident = async (): Promise<number> =>
      Number(/^VmRSS:\s+(\d+)/m.exec(await readFile(`/proc/${server.pid}/status`, 'utf8'))?.[1]) / 1024;
    const before = await resident();
    const abort = new AbortController();
    const part = 'x'.repeat(6 * MEBIBYTE);
    const sent = await Promise.all(
      Array.from({ length: 100 }, () => halfPut(server, 7 * MEBIBYTE, { signal: abort.signal })),
    );
    for (const { write } of sent) write(part);
    await expect
      .poll(async () => (await Promise.all(sent.map(statusOf))).filter((status) => status === 503).length, {
        timeout: 30_000,
      })
      .toBeGreaterThan(90);
    expect(await resident()).toBeLessThan(before + 200);
    abort.abort();
    await expect.poll(resident, { timeout: 20_000 }).toBeLessThan(before + 100);
  },
  90_000,
);
