import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createStorage, type KeyValueStorage, MigrationError } from '../../src/index.ts';
import { type OldServer, startOldServer } from '../support/old-server.ts';
import { failure } from '../support/rejection.ts';

let server: OldServer;
let local: KeyValueStorage;
let remote: KeyValueStorage;
let databases = 0;

beforeEach(async () => {
  server = await startOldServer();
  databases += 1;
  const database = `migration-${databases}`;
  local = createStorage({ database, logger: false });
  remote = createStorage({ useFlask: true, flaskUrl: server.url, database, logger: false });
});
afterEach(async () => {
  await Promise.all([local.close(), remote.close()]);
  await server.close();
});

const entries = (count: number) =>
  Array.from({ length: count }, (_, i) => [`k${i}`, { i, z: 1, a: new Date(i) }] as const);

describe('migration', () => {
  it('copies every entry to the server, verifies each, and leaves source and backend as they are', async () => {
    await local.setMany([...entries(1234), ['undefined', undefined], ['cf', { $cf: 1 }]]);
    expect(await local.migrateToFlask(server.url)).toBe(1236);
    expect(local.getBackendType()).toBe('indexeddb');
    expect((await local.stats()).keys).toBe(1236);
    expect(await remote.get('k7')).toEqual({ i: 7, z: 1, a: new Date(7) });
    expect(await remote.has('undefined')).toBe(true);
    expect((await remote.stats()).keys).toBe(1236);
  });

  it('copies every entry of the server to IndexedDB, keys that no path names too', async () => {
    await remote.setMany(entries(1234));
    server.data.set('a/b', { of: 'an old app' });
    expect(await remote.migrateToIndexedDB()).toBe(1235);
    expect(remote.getBackendType()).toBe('flask');
    expect(await local.get('a/b')).toEqual({ of: 'an old app' });
    expect(await local.get('k7')).toEqual({ i: 7, z: 1, a: new Date(7) });
    expect(server.data.size).toBe(1235);
  });

  it('brings over everything but the empty key of an old server, and names that', async () => {
    server.data.set('', 'nobody can ask for it').set('a', 1);
    const error = await failure(remote.migrateToIndexedDB());
    expect(error.failed).toMatchObject([{ key: '' }]);
    expect(error.migrated).toBe(1);
    expect(await local.get('a')).toBe(1);
  });

  it('names itself, before any I/O, where the address is none', async () => {
    const error = await failure(local.migrateToFlask('nowhere'));
    expect(error).toMatchObject({
      code: 'invalid-option',
      message: expect.stringMatching(/^migrateToFlask\(\): url /),
    });
  });

  it('overwrites what the target holds under the same key, and leaves its other keys', async () => {
    server.data.set('k1', 'old').set('other', 'kept');
    await local.setMany(entries(3));
    expect(await local.migrateToFlask(`${server.url}/`)).toBe(3);
    expect(server.data.get('other')).toBe('kept');
    expect(await remote.get('k1')).toEqual({ i: 1, z: 1, a: new Date(1) });
  });

  it('takes -0 for another value than 0, on both sides', async () => {
    await local.setMany([
      ['n', -0],
      ['z', 0],
    ]);
    await remote.setMany([
      ['n', 0],
      ['z', -0],
    ]);
    const plan = await local.migrateToFlask(server.url, { dryRun: true });
    expect(plan).toMatchObject({ equal: 0, conflicts: ['n', 'z'] });
    expect(await local.migrateToFlask(server.url, { onConflict: 'skip' })).toBe(0);
    expect(await local.migrateToFlask(server.url)).toBe(2);
    expect(await remote.getMany(['n', 'z'])).toEqual([-0, 0]);
  });

  it('names a value at the source that cannot be read, and brings over the others', async () => {
    await remote.setMany(entries(1200));
    for (const key of ['k1000', 'k5', 'zzz']) server.data.set(key, { $cf: 'of another program' });
    const error = await failure(remote.migrateToIndexedDB());
    expect(error).toMatchObject({ code: 'migration', migrated: 1198 });
    expect(error.failed.map(({ key }) => key)).toEqual(['k1000', 'k5', 'zzz']);
    for (const { reason } of error.failed) expect(reason).toContain('malformed envelope');
    expect((await local.stats()).keys).toBe(1198);
    expect(await remote.migrateToIndexedDB({ dryRun: true })).toMatchObject({
      entries: 1201,
      equal: 1198,
      refused: [{ key: 'k1000' }, { key: 'k5' }, { key: 'zzz' }],
    });
  });

  it('migrates nothing at all as 0', async () => {
    expect(await local.migrateToFlask(server.url)).toBe(0);
  });

  it('sees what was set just before it, without an await', async () => {
    const setting = local.set('late', 1);
    expect(await local.migrateToFlask(server.url)).toBe(1);
    await setting;
  });

  it('names what the target cannot hold, and counts the rest', async () => {
    await local.setMany([...entries(20), ['a/b', 1], ['..', 2]]);
    const error = await failure(local.migrateToFlask(server.url));
    expect(error).toBeInstanceOf(MigrationError);
    expect(error).toMatchObject({ code: 'migration', migrated: 20 });
    expect(error.failed.map(({ key }) => key).sort()).toEqual(['..', 'a/b']);
    expect(error.message).toContain('2 entries');
  });

  it('is an error, not a smaller number, when a value is changed on the way', async () => {
    await local.setMany(entries(20));
    server.intercept = (request, response) => {
      if (request.url !== '/api/storage/k11' || request.method !== 'GET') return false;
      response.writeHead(200, { 'content-type': 'application/json' }).end('{"value":{"i":11}}');
      return true;
    };
    const error = await failure(local.migrateToFlask(server.url));
    expect(error).toMatchObject({ code: 'migration', migrated: 19, failed: [{ key: 'k11' }] });
  });

  it('is an error when a stored undefined does not arrive', async () => {
    await local.setMany([
      ['u', undefined],
      ['v', 1],
    ]);
    server.intercept = ({ method, url }, response, body) => {
      if (!(method === 'PUT' && url === '/api/storage/u') && !body.includes('"u"')) return false;
      server.data.set('v', 1);
      response.writeHead(200, { 'content-type': 'application/json' }).end('{"success":true,"imported":2}');
      return true;
    };
    expect(await failure(local.migrateToFlask(server.url))).toMatchObject({
      migrated: 1,
      failed: [{ key: 'u' }],
    });
  });

  it('brings an Error in a cycle to an old server, which sorts the members of objects', async () => {
    const error = new RangeError('looped');
    error.cause = { z: 1, error };
    await local.set('e', error);
    expect(await local.migrateToFlask(server.url)).toBe(1);
    const got = (await remote.get('e')) as Error & { cause: { error: Error } };
    expect([got.name, got.message, got.cause.error === got]).toEqual(['RangeError', 'looped', true]);
  });

  it('stops with what was verified when the server dies in the middle, and can be run again', async () => {
    await local.setMany(entries(2000));
    server.intercept = (request) => {
      if (server.data.size < 1200) return false;
      request.socket.destroy();
      return true;
    };
    const error = await failure(local.migrateToFlask(server.url));
    expect(error).toMatchObject({ code: 'migration', cause: { code: 'unavailable' } });
    expect(error.migrated).toBeLessThan(2000);
    server.intercept = undefined;
    expect(await local.migrateToFlask(server.url)).toBe(2000);
  });

  it('is an error when nothing answers at the target', async () => {
    await local.set('a', 1);
    const { url } = server;
    await server.close();
    expect(await failure(local.migrateToFlask(url))).toMatchObject({
      code: 'migration',
      migrated: 0,
      cause: { code: 'unavailable' },
    });
    expect(await local.get('a')).toBe(1);
    server = await startOldServer();
  });

  it('refuses an address that is none, before anything', async () => {
    expect(await failure(local.migrateToFlask('nowhere'))).toMatchObject({ code: 'invalid-option' });
  });
});
