/** REQUIRE_CONDITION: who writes a key over HTTP has to say over what (docs/contract.md, 3.4; RFC 6585 §3). */
import { expect, it } from 'vitest';
import { ownDatabase } from '../support/own-database.ts';
import { syncedStorages } from '../support/synced-storages.ts';

const { start } = ownDatabase();
const open = syncedStorages();

it('answers 428 to a write of a key without a condition, which changes nothing, and serves those with one', async () => {
  const { url } = await start({ REQUIRE_CONDITION: 'true' });
  const ask = (method: string, headers: Record<string, string> = {}) =>
    fetch(`${url}/api/storage/k`, {
      method,
      headers: { 'content-type': 'application/json', ...headers },
      ...(/P/.test(method) && { body: '{"value":1}' }),
    });
  for (const method of ['PUT', 'POST', 'DELETE']) {
    const refused = await ask(method);
    expect([method, refused.status]).toEqual([method, 428]);
    expect(await refused.json()).toMatchObject({
      status: 428,
      title: 'Precondition Required',
      error: expect.stringContaining('If-Match'),
    });
  }
  expect((await ask('GET')).status).toBe(404);
  const created = await ask('PUT', { 'if-none-match': '*' });
  expect(created.status).toBe(200);
  expect((await ask('DELETE')).status).toBe(428);
  expect((await ask('DELETE', { 'if-match': created.headers.get('etag') ?? '' })).status).toBe(200);
});

it('leaves a storage as it is', async () => {
  const { url } = await start({ REQUIRE_CONDITION: 'true' });
  const storage = open(url);
  await storage.setMany([
    ['a', 1],
    ['b', 2],
  ]);
  await storage.set('a', 3);
  await storage.delete('b');
  expect(storage.getBackendType()).toBe('flask');
  expect(await storage.get('a')).toBe(3);
  await storage.clear();
  expect(await storage.count()).toBe(0);
});
