/** The limit on requests in a second (RATE_LIMIT): what it refuses, whom it spares, and that clients lose nothing by it. */
import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { createRateLimit } from '../../examples/server/src/http/transport/rate.ts';
import { ownDatabase } from '../support/own-database.ts';
import { syncedStorages } from '../support/synced-storages.ts';

const { start } = ownDatabase();
const open = syncedStorages();

const entry = (tenant: string): string =>
  `${tenant}:write:${createHash('sha256').update(tenant).digest('hex')}`;

it('answers 429 with Retry-After to a tenant over its limit, and serves the others and the probes', async () => {
  const server = await start({ RATE_LIMIT: '1', TOKENS: `${entry('loud')} ${entry('quiet')}` });
  const ask = (tenant: string, path = '/api/storage/k') =>
    fetch(server.url + path, { headers: { authorization: `Bearer ${tenant}` } });
  const answers = await Promise.all(Array.from({ length: 40 }, () => ask('loud')));
  const refused = answers.filter(({ status }) => status === 429);
  expect(refused.length).toBeGreaterThan(0);
  expect(answers.length - refused.length).toBeGreaterThanOrEqual(10);
  expect(Number(refused[0]?.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
  expect(await refused[0]?.json()).toMatchObject({
    status: 429,
    error: expect.stringContaining('requests a second'),
  });
  expect((await ask('quiet')).status).toBe(404);
  for (const path of ['/health', '/live', '/ready']) expect((await ask('loud', path)).status).toBe(200);
});

it('a storage that writes faster loses nothing: it waits, and sends the rest', async () => {
  const server = await start({ RATE_LIMIT: '2', LOG_LEVEL: 'debug' });
  const storage = open(server.url, { timeout: 60_000 });
  for (let i = 0; i < 40; i += 1) await storage.set(`k${i}`, i);
  await storage.flush();
  expect((await storage.keys()).length).toBe(40);
  expect(storage.status()).toMatchObject({ pending: 0, conflicts: 0 });
  expect(server.output()).toContain('"status":429');
  expect(server.output()).not.toContain('"level":"error"');
});

it('RATE_LIMIT must be a number', async () => {
  await expect(start({ RATE_LIMIT: 'fast' })).rejects.toThrow(/RATE_LIMIT must be a whole number from 1/);
});

describe('the rule', () => {
  it('allows the requests of ten seconds at once, then so many in each second as it says', () => {
    let now = 0;
    const allow = createRateLimit(5, () => now);
    const allowed = (): number => {
      for (let count = 0; ; count += 1)
        try {
          allow('a');
        } catch {
          return count;
        }
    };
    expect(allowed()).toBe(50);
    now += 1000;
    expect(allowed()).toBe(5);
    now += 3000;
    expect(allowed()).toBe(15);
    now += 3_600_000;
    expect(allowed()).toBe(50);
  });

  it('a refused request costs nothing, and Retry-After is when the next one is allowed', () => {
    let now = 0;
    const allow = createRateLimit(1, () => now);
    for (let i = 0; i < 10; i += 1) allow('a');
    for (let i = 0; i < 100; i += 1)
      expect(() => allow('a')).toThrow(expect.objectContaining({ status: 429 }));
    let retryAfter = 0;
    try {
      allow('a');
    } catch (error) {
      retryAfter = Number(
        (error as { details: { headers: Record<string, string> } }).details.headers['Retry-After'],
      );
    }
    now += retryAfter * 1000;
    allow('a');
  });

  it('callers do not count for each other', () => {
    const allow = createRateLimit(1, () => 0);
    for (let i = 0; i < 10; i += 1) allow('a');
    expect(() => allow('a')).toThrow();
    allow('b');
  });
});
