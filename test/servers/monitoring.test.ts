/** What an operator's tools ask: `/ready`, and the metrics. */
import { expect, it } from 'vitest';
import { openapi } from '../support/openapi-document.ts';
import { ownDatabase } from '../support/own-database.ts';
import type { RunningServer } from '../support/running-server.ts';

const { start, stop } = ownDatabase();

/** Longer than a busy machine needs. */
const SOON = { timeout: 20_000, interval: 50 };

async function metricsUrl(server: RunningServer): Promise<string> {
  const logged = (): string | undefined => /"url":"(http[^"]+\/metrics)"/.exec(server.output())?.[1];
  await expect.poll(logged, SOON).toBeDefined();
  return logged() as string;
}

/** The samples, by their name with labels. */
async function samples(url: string): Promise<Map<string, number>> {
  const lines = (await (await fetch(url)).text())
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(
    lines.map((line) => [
      line.slice(0, line.lastIndexOf(' ')),
      Number(line.slice(line.lastIndexOf(' ') + 1)),
    ]),
  );
}

const json = { 'content-type': 'application/json' };

it('is ready while the database answers', async () => {
  const server = await start();
  const answer = await fetch(`${server.url}/ready`);
  expect([answer.status, await answer.json()]).toEqual([200, { status: 'ready' }]);
});

it('/live and /ready need no token', async () => {
  const server = await start({ TOKENS: `team:read:${'0'.repeat(64)}` });
  for (const path of ['/live', '/ready']) expect((await fetch(server.url + path)).status).toBe(200);
});

it('counts requests by route and status, batches, and calls of the database', async () => {
  const server = await start({ METRICS_PORT: '0' });
  const url = await metricsUrl(server);
  for (const key of ['a', 'b/c', '?'])
    await fetch(`${server.url}/api/storage/${encodeURIComponent(key)}`, {
      method: 'PUT',
      headers: json,
      body: '{"value":1}',
    });
  await fetch(`${server.url}/api/storage/missing`);
  await fetch(`${server.url}/api/v1/batch`, {
    method: 'POST',
    headers: json,
    body: JSON.stringify({
      ops: [
        { op: 'get', key: 'a' },
        { op: 'get', key: 'b/c' },
      ],
    }),
  });
  await fetch(`${server.url}/nowhere`);
  await expect
    .poll(
      async () =>
        (await samples(url)).get('storage_http_requests_total{method="GET",route="other",status="404"}'),
      SOON,
    )
    .toBe(1);
  const found = await samples(url);
  const count = (name: string): unknown => [name, found.get(name)];
  for (const [name, value] of Object.entries({
    'storage_http_requests_total{method="PUT",route="/api/storage/{key}",status="200"}': 3,
    'storage_http_requests_total{method="GET",route="/api/storage/{key}",status="404"}': 1,
    'storage_http_requests_total{method="POST",route="/api/v1/batch",status="200"}': 1,
    'storage_http_request_duration_seconds_count{method="POST",route="/api/v1/batch"}': 1,
    'storage_http_requests_in_progress{route="/api/v1/batch"}': 0,
    storage_batch_operations_sum: 5,
    'storage_database_duration_seconds_count{call="run",outcome="ok"}': 4,
  }))
    expect(count(name)).toEqual([name, value]);
  expect(found.get('storage_sqlite_wal_bytes')).toBeGreaterThan(0);
  expect(found.get('process_resident_memory_bytes')).toBeGreaterThan(0);
});

it('shows how many event streams there are, and no more when they end', async () => {
  const server = await start({ METRICS_PORT: '0' });
  const url = await metricsUrl(server);
  const inProgress = async (): Promise<number | undefined> =>
    (await samples(url)).get('storage_http_requests_in_progress{route="/api/v1/changes"}');
  const controller = new AbortController();
  const headers = { accept: 'text/event-stream' };
  for (let i = 0; i < 3; i += 1)
    await fetch(`${server.url}/api/v1/changes`, { headers, signal: controller.signal });
  expect(await inProgress()).toBe(3);
  controller.abort();
  await expect.poll(inProgress, SOON).toBe(0);
});

it('each address of the contract has a label, and no label tells a key or a token', async () => {
  const server = await start({ METRICS_PORT: '0' });
  const url = await metricsUrl(server);
  const paths = Object.keys(openapi.paths);
  expect(paths.length).toBeGreaterThan(8);
  for (const path of paths)
    await (
      await fetch(server.url + path.replace('{key}', 'secret-key'), {
        method: 'DELETE',
        headers: { authorization: 'Bearer secret-token' },
      })
    ).text();
  await expect
    .poll(async () => (await (await fetch(url)).text()).includes(`route="${paths.at(-1)}"`), SOON)
    .toBe(true);
  const text = await (await fetch(url)).text();
  for (const path of paths) expect(text).toContain(`route="${path}"`);
  expect(text).not.toContain('route="other"');
  expect(text).not.toContain('secret');
});

it('serves the metrics on their own port only, and nothing else there', async () => {
  const server = await start({ METRICS_PORT: '0' });
  const url = await metricsUrl(server);
  expect((await fetch(`${server.url}/metrics`)).status).toBe(404);
  expect((await fetch(url.replace('/metrics', '/api/storage/a'))).status).toBe(404);
  expect(await stop(server)).toBe(0);
  await expect(fetch(url)).rejects.toThrow();
});

it('a wrong or taken port ends the start, and the message names the variable', async () => {
  await expect(start({ METRICS_PORT: 'x' })).rejects.toThrow(/METRICS_PORT must be a whole number/);
  await expect(start({ METRICS_PORT: '0', METRICS_HOST: 'a b' })).rejects.toThrow(/METRICS_HOST must be/);
  const server = await start({ METRICS_PORT: '0' });
  const { port } = new URL(await metricsUrl(server));
  await expect(start({ METRICS_PORT: port })).rejects.toThrow(/METRICS_PORT/);
});

it('answers 503 on /ready from SIGTERM on, and serves requests until DRAIN_SECONDS are over', async () => {
  const server = await start({ DRAIN_SECONDS: '6' });
  const ready = async () => (await fetch(`${server.url}/ready`)).status;
  const wait = fetch(`${server.url}/api/v1/changes?wait=60&since=${await epochOf(server)}.0`);
  expect(await ready()).toBe(200);
  const ended = stop(server);
  await expect.poll(ready, SOON).toBe(503);
  const init = { method: 'PUT', headers: json, body: '{"value":1}' };
  expect((await fetch(`${server.url}/api/storage/k`, init)).status).toBe(200);
  // The write was told to who waits: that is not over before the time is.
  expect(await (await wait).json()).toMatchObject({ changes: [{ key: 'k' }] });
  expect(await ended).toBe(0);
  await expect(ready()).rejects.toThrow();
});

const epochOf = async ({ url }: RunningServer): Promise<string> =>
  (await (await fetch(`${url}/health`)).json()).epoch;
