/**
 * The reference server as a process on level 1: it ends long polls and streams when it stops, and it notices the changes of
 * other processes over the same file.
 *
 * What every server of level 1 promises is in test/conformance.
 */
import { request } from 'node:http';
import { DatabaseSync } from 'node:sqlite';
import { expect, it } from 'vitest';
import { ownDatabase } from '../support/own-database.ts';
import { getUntilReceived } from '../support/received.ts';
import type { RunningServer } from '../support/running-server.ts';

const JSON_TYPE = { 'content-type': 'application/json' };

const { path, start, stop } = ownDatabase();

interface Batch {
  // biome-ignore lint/suspicious/noExplicitAny: a test says what it expects.
  readonly results: any[];
}

async function batch(server: RunningServer, ops: unknown[], members = {}): Promise<Batch> {
  const body = JSON.stringify({ ops, ...members });
  const response = await fetch(`${server.url}/api/v1/batch`, { method: 'POST', headers: JSON_TYPE, body });
  expect(response.status).toBe(200);
  return response.json();
}

// biome-ignore lint/suspicious/noExplicitAny: a test says what it expects.
async function changes(server: RunningServer, query: string): Promise<any> {
  return (await fetch(`${server.url}/api/v1/changes?${query}`)).json();
}

/** Ask for changes. Resolves when the server has received that. */
async function waitForChanges(server: RunningServer, query: string) {
  const { answer } = await getUntilReceived(`${server.url}/api/v1/changes?${query}`);
  return { page: answer.then(({ text }) => JSON.parse(text)) };
}

it('mints a new epoch for a copy that was put back, so that no revision of before is current', async () => {
  const before = await start();
  const { results } = await batch(before, [{ op: 'put', key: 'a', value: 1 }]);
  const { epoch, next } = await changes(before, '');
  await stop(before);
  const after = await start({ RESTORED: 'true' });
  const now = await changes(after, '');
  expect(now.epoch).not.toBe(epoch);
  expect((await fetch(`${after.url}/api/v1/changes?since=${next}`)).status).toBe(409);
  const body = JSON.stringify({ epoch, ops: [{ op: 'put', key: 'a', value: 2, ifRev: results[0].rev }] });
  const late = await fetch(`${after.url}/api/v1/batch`, { method: 'POST', headers: JSON_TYPE, body });
  expect([late.status, (await late.json()).type]).toEqual([409, 'urn:codeforge-storage:epoch-changed']);
  await stop(after);
  expect((await changes(await start(), '')).epoch).toBe(now.epoch);
});

it('ends at once though callers wait for changes, and answers those that poll', async () => {
  const server = await start();
  await batch(server, [{ op: 'put', key: 'a', value: 1 }]);
  const { next } = await changes(server, '');
  const poll = await waitForChanges(server, `since=${next}&wait=60`);
  const stream = await fetch(`${server.url}/api/v1/changes?since=${next}`, {
    headers: { accept: 'text/event-stream' },
  });
  const streamed = stream.text();
  const begun = Date.now();
  expect(await stop(server)).toBe(0);
  expect(Date.now() - begun).toBeLessThan(5000);
  expect(await poll.page).toMatchObject({ changes: [], next });
  expect(await streamed).toBe('retry: 3000\n\n');
});

it('tells those who wait what another process has committed to the same file', async () => {
  const [server, other] = [await start(), await start()];
  const { next } = await changes(server, '');
  const poll = await waitForChanges(server, `since=${next}&wait=30`);
  await batch(other, [{ op: 'put', key: 'from the other', value: 1 }]);
  expect((await poll.page).changes).toMatchObject([{ key: 'from the other' }]);
});

it('skips no change, while two processes and many callers write at once', async () => {
  const servers = [await start(), await start()];
  const seen = new Map<string, number>();
  let writing = true;
  const reading = (async () => {
    let since = '';
    for (let idle = false; !idle; ) {
      const done = !writing;
      const page = await changes(servers[0] as RunningServer, `limit=7&wait=1&${since}`);
      for (const { key, rev } of page.changes) seen.set(key, Number(rev));
      since = `since=${page.next}`;
      idle = done && page.changes.length === 0;
    }
  })();
  const written = new Map<string, number>();
  const writer = async (name: number): Promise<void> => {
    for (let i = 0; i < 60; i += 1) {
      const key = `${name}-${i % 20}`;
      const { results } = await batch(servers[i % 2] as RunningServer, [{ op: 'put', key, value: i }]);
      written.set(key, Number(results[0].rev));
    }
  };
  await Promise.all(Array.from({ length: 8 }, (_, name) => writer(name)));
  writing = false;
  await reading;
  expect(new Set(written.values()).size).toBe(160);
  expect(seen).toEqual(written);
}, 60_000);

it('compresses large answers for who takes it, and never those with an ETag', async () => {
  const server = await start();
  const text = 'compressible '.repeat(4000);
  await batch(server, [{ op: 'put', key: 'a', value: text }]);
  const ask = (path: string, encoding: string) =>
    new Promise<string | undefined>((resolve, reject) => {
      request(server.url + path, { headers: { 'accept-encoding': encoding } }, (response) => {
        response.resume().on('end', () => resolve(response.headers['content-encoding']));
      })
        .on('error', reject)
        .end();
    });
  expect(await ask('/api/v1/changes', 'gzip')).toBe('gzip');
  expect(await ask('/api/v1/changes', 'identity')).toBeUndefined();
  expect(await ask('/api/v1/export', 'gzip, br')).toBe('gzip');
  expect(await ask('/api/v1/stats', 'gzip')).toBeUndefined();
  expect(await ask('/api/v1/keys', 'gzip')).toBeUndefined();
  expect(await ask('/api/storage/a', 'gzip')).toBeUndefined();
  const { results } = await batch(server, [{ op: 'get', key: 'a' }]);
  expect(results[0].value).toBe(text);
});

it('refuses a TOKENS entry that is none, and does not print it: it may be a token', async () => {
  for (const entry of ['my-secret', 'team:owner:my-secret', `team:read:${'0'.repeat(63)}`])
    await expect(start({ TOKENS: entry })).rejects.toThrow(/TOKENS: entry 1 is not/);
  await start({ TOKENS: 'my-secret' }).catch((error) => expect(String(error)).not.toContain('my-secret'));
});

it('answers 503 to callers that wait for changes when the database fails, and to those that come later', async () => {
  const server = await start();
  await batch(server, [{ op: 'put', key: 'a', value: 1 }]);
  const { next } = await changes(server, '');
  const poll = await getUntilReceived(`${server.url}/api/v1/changes?since=${next}&wait=60`);
  const accept = { accept: 'text/event-stream' };
  const stream = await fetch(`${server.url}/api/v1/changes?since=${next}`, { headers: accept });
  const streamed = stream.text().then(
    () => 'ended',
    () => 'broken off',
  );
  using other = new DatabaseSync(path());
  other.exec('ALTER TABLE tenants RENAME TO gone');
  expect((await poll.answer).status).toBe(503);
  expect(await streamed).toBe('broken off');
  for (const headers of [{}, accept])
    expect((await fetch(`${server.url}/api/v1/changes?wait=1`, { headers })).status).toBe(503);
  other.exec('ALTER TABLE gone RENAME TO tenants');
  expect((await fetch(`${server.url}/api/v1/changes`)).status).toBe(200);
});
