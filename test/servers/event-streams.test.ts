/**
 * Event streams of many clients over one store: what a commit costs, that each client is sent every change once and in order,
 * and that a slow one costs nobody else anything.
 */
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { type ClientRequest, type IncomingMessage, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { readConfig } from '../../examples/server/src/config.ts';
import { createCallers } from '../../examples/server/src/http/access/callers.ts';
import { createAccessCheck } from '../../examples/server/src/http/access/checks.ts';
import { createApp } from '../../examples/server/src/http/routes.ts';
import { createLoadLimits } from '../../examples/server/src/http/transport/load.ts';
import { createHttpServer, type HttpServer } from '../../examples/server/src/http/transport/server.ts';
import { createLog, type Logger } from '../../examples/server/src/log.ts';
import { openDatabase } from '../../examples/server/src/store/sqlite/database.ts';
import { createSqliteStore } from '../../examples/server/src/store/sqlite/store.ts';
import type { Store } from '../../examples/server/src/store/store.ts';
import { newTokens } from '../conformance/run.ts';

const { env, tokens } = newTokens();
const MEBIBYTE = 1024 * 1024;

let folder = '';
let log: Logger;
let store: Store;
let server: HttpServer;
let url = '';
const stopping = { now: new AbortController() };
const clients = new Set<ClientRequest>();

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'codeforge-streams-'));
  const settings = {
    DATABASE_PATH: join(folder, 'test.db'),
    PORT: '0',
    LOG_LEVEL: 'silent',
    STALL_SECONDS: '3',
  };
  const config = readConfig({ ...settings, ...env });
  log = createLog(config.logLevel);
  vi.spyOn(log, 'info');
  store = createSqliteStore(openDatabase(join(folder, 'test.db')), config.maxBodyBytes);
  stopping.now = new AbortController();
  const callers = createCallers(config, log);
  server = createHttpServer(
    createApp({ store, config, callers, log, draining: stopping.now.signal, stopping: stopping.now.signal }),
    {
      checkAccess: createAccessCheck(config, callers),
      callers,
      limits: createLoadLimits(config.maxRequests, config.maxWaiting, config.maxBodyBytes),
      stallTime: config.stallTime,
      log,
    },
  );
  url = await server.listen(config.port, config.host);
});
afterEach(async () => {
  vi.restoreAllMocks();
  for (const client of clients) client.destroy();
  clients.clear();
  stopping.now.abort();
  await server.drain();
  await store.close();
  await rm(folder, { recursive: true, force: true });
});

const put = (key: string, value: string, tenant = 'one') =>
  store.run(tenant, { operations: [{ type: 'put', key, value }] });

/** A stream, the events that it was sent (their beginnings), and their ids. */
interface Client {
  readonly response: IncomingMessage;
  readonly ids: number[];
  readonly events: string[];
}

async function open(token: string, headers: Record<string, string> = {}): Promise<Client> {
  const fields = { accept: 'text/event-stream', authorization: `Bearer ${token}`, ...headers };
  const asked = request(`${url}/api/v1/changes`, { headers: fields, agent: false }).end();
  clients.add(asked.on('error', () => {}));
  const response: IncomingMessage = (await once(asked, 'response'))[0];
  return { response: response.on('error', () => {}), ids: [], events: [] };
}

/** Reads the stream from now on. */
function read(client: Client): Client {
  let rest = '';
  client.response.setEncoding('utf8').on('data', (text: string) => {
    // Only whole events count: a chunk may end anywhere.
    const events = (rest + text).split('\n\n');
    rest = events.pop() ?? '';
    for (const event of events) {
      client.events.push(event.slice(0, 200));
      const id = /^id: \w+\.(\d+)$/m.exec(event)?.[1];
      if (id !== undefined) client.ids.push(Number(id));
    }
  });
  client.response.resume();
  return client;
}

const from = (seq: number): Record<string, string> => ({ 'last-event-id': `${store.epoch}.${seq}` });
const upTo = (last: number, first = 1): number[] =>
  Array.from({ length: last - first + 1 }, (_, index) => first + index);

it('a commit costs one query for all streams of its tenant, and none for other tenants', async () => {
  const admin = tokens.admin ?? '';
  const other = tokens.other ?? '';
  const streams = await Promise.all(Array.from({ length: 50 }, async () => read(await open(admin))));
  const others = await Promise.all(Array.from({ length: 50 }, async () => read(await open(other))));
  await put('a', '1');
  await expect.poll(() => streams.every(({ ids }) => ids.length === 1)).toBe(true);
  // The streams of the other tenant have looked once, at their start.
  await expect.poll(() => others.every(({ events }) => events[0] === 'retry: 3000')).toBe(true);
  const changes = vi.spyOn(store, 'changes');
  await put('b', '1');
  await expect.poll(() => streams.every(({ ids }) => ids.length === 2)).toBe(true);
  expect(changes.mock.calls.map(([tenant]) => tenant)).toEqual(['one']);
  expect(new Set(streams.map(({ events }) => events.join())).size).toBe(1);
  expect(others.flatMap(({ ids }) => ids)).toEqual([]);
});

it('commits that follow each other quickly are sent together, and every change is sent once and in order', async () => {
  const streams = await Promise.all(
    Array.from({ length: 20 }, async () => read(await open(tokens.read ?? ''))),
  );
  const changes = vi.spyOn(store, 'changes');
  const begun = performance.now();
  for (let index = 1; index <= 300; index += 1) await put(`key-${index}`, '1');
  await expect.poll(() => streams.every(({ ids }) => ids.at(-1) === 300)).toBe(true);
  const gathers = (performance.now() - begun) / 50;
  for (const { ids } of streams) expect(ids).toEqual(upTo(300));
  expect(changes.mock.calls.length).toBeLessThan(gathers + 2);
});

it('streams that begin at different cursors catch up, each with what it misses', async () => {
  for (let index = 1; index <= 1200; index += 1) void put(`key-${index}`, '1');
  await put('last', '1');
  const starts = [0, 0, 1, 700, 1201];
  const streams = await Promise.all(
    starts.map(async (seq) => read(await open(tokens.admin ?? '', from(seq)))),
  );
  await put('new', '1');
  await expect.poll(() => streams.every(({ ids }) => ids.at(-1) === 1202), { timeout: 10_000 }).toBe(true);
  for (const [index, { ids }] of streams.entries())
    expect(ids).toEqual(upTo(1202, (starts[index] as number) + 1));
});

it('a client that stalls is disconnected, resumes with its last event id, and misses nothing', async () => {
  const quick = read(await open(tokens.admin ?? ''));
  const slow = await open(tokens.admin ?? '');
  const closed = new Promise((resolve) => slow.response.once('close', resolve));
  slow.response.pause();
  const total = 30;
  for (let index = 1; index <= total; index += 1) await put(`key-${index}`, `"${'x'.repeat(MEBIBYTE / 2)}"`);
  await expect.poll(() => quick.ids.at(-1), { timeout: 20_000 }).toBe(total);
  const message = 'a client took an answer too slowly, and was disconnected';
  await expect.poll(() => log.info, { timeout: 20_000 }).toHaveBeenCalledWith(message);
  // What it was sent before still arrives.
  read(slow);
  await closed;
  const last = slow.ids.at(-1) ?? 0;
  expect(last).toBeLessThan(total);
  expect(slow.ids).toEqual(upTo(last));
  const resumed = read(await open(tokens.admin ?? '', from(last)));
  await expect.poll(() => resumed.ids.at(-1), { timeout: 20_000 }).toBe(total);
  expect(resumed.ids).toEqual(upTo(total, last + 1));
}, 60_000);
