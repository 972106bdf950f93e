/** Backups of a storage and those of its servers are one format: each takes the other's, and a storage over a server makes them too. */
import { afterEach, describe, expect, it } from 'vitest';
import { createStorage, type KeyValueStorage, type StorageOptions } from '../../src/index.ts';
import { cycle, ORDINARY_KEYS, PATH_KEYS, VALUES } from '../contract/samples.ts';
import { backupOf, recordsOf, textOf } from '../support/backup-files.ts';
import { flaskSkipReason, startFlaskServer } from '../support/flask-server.ts';
import { startOldServer } from '../support/old-server.ts';
import { ownDatabase } from '../support/own-database.ts';
import { failure } from '../support/rejection.ts';
import { syncedStorages } from '../support/synced-storages.ts';

const database = ownDatabase();
const synced = syncedStorages();
const stops: Array<() => Promise<unknown>> = [];
let databases = 0;

afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

function local(options: StorageOptions = {}): KeyValueStorage {
  databases += 1;
  const storage = createStorage({ database: `exchange-${databases}`, logger: false, ...options });
  stops.push(() => storage.close());
  return storage;
}

const ENTRIES = [
  ...VALUES.map(([name, value]) => [`value: ${name}`, value] as const),
  ...[...ORDINARY_KEYS, ...PATH_KEYS].map((key) => [key, { key }] as const),
  ['blob', new Blob([new Uint8Array([0, 255, 10])], { type: 'x/y' })] as const,
];

/** A server's own export without its revisions, which are no part of an entry. */
const withoutRevisions = (text: string): string[] =>
  recordsOf(text).map((line) => line.replace(/,"rev":"[^"]*"(?=,"value":)|,"rev":"[^"]*"(?=\}$)/, ''));

async function startFlask() {
  const server = await startFlaskServer();
  stops.push(() => server.stop());
  return server;
}

const SERVERS = [
  ['TypeScript', undefined, () => database.start()],
  ['Flask', flaskSkipReason(), startFlask],
] as const;

for (const [name, skipped, start] of SERVERS)
  describe.skipIf(skipped !== undefined)(`the ${name} server`, () => {
    it('exports what a storage imports, on both levels, byte for byte', async () => {
      const { url } = await start();
      const remote = local({ useFlask: true, flaskUrl: url });
      await remote.setMany(ENTRIES);
      expect(remote.getBackendType()).toBe('flask');
      const ofStorage = recordsOf(await textOf(remote));
      for (const path of ['/api/v1/export', '/api/storage/export']) {
        const response = await fetch(url + path);
        const storage = local();
        expect(await storage.import(await response.blob())).toBe(ENTRIES.length);
        expect(recordsOf(await textOf(storage)), path).toEqual(ofStorage);
        for (const [key, value] of ENTRIES)
          if (value !== cycle && !(value instanceof Blob))
            expect(await storage.get(key), key).toStrictEqual(value);
      }
      const { body } = await fetch(`${url}/api/v1/export`);
      expect(await local().import(body as ReadableStream<Uint8Array>)).toBe(ENTRIES.length);
    });

    it('takes what a storage exports, and exports the same, byte for byte', async () => {
      const { url } = await start();
      const storage = local();
      await storage.setMany(ENTRIES);
      const body = await storage.export({ as: 'blob' });
      const answer = await fetch(`${url}/api/v1/import`, { method: 'POST', body });
      expect([answer.status, await answer.json()]).toEqual([
        200,
        expect.objectContaining({ imported: ENTRIES.length }),
      ]);
      const theirs = await (await fetch(`${url}/api/v1/export`)).text();
      expect(withoutRevisions(theirs)).toEqual(recordsOf(await body.text()));
    });

    it('takes the bare object of a storage as old programs send it', async () => {
      const { url } = await start();
      const storage = local();
      await storage.setMany(ENTRIES);
      const body = await storage.export({ as: 'blob', format: 'json' });
      const answer = await fetch(`${url}/api/storage/import`, { method: 'POST', body });
      expect(await answer.json()).toMatchObject({ imported: ENTRIES.length });
      const theirs = await (await fetch(`${url}/api/v1/export`)).text();
      expect(withoutRevisions(theirs)).toEqual(recordsOf(await textOf(storage)));
    });

    it('keeps the text of numbers in its own import, where a storage reads them as JavaScript does', async () => {
      const { url } = await start();
      const records = ['{"key":"m","value":[1.10]}', '{"key":"n","value":12345678901234567890}'];
      const body = await backupOf(records);
      await fetch(`${url}/api/v1/import`, {
        method: 'POST',
        body,
        headers: { 'content-type': 'application/x-ndjson' },
      });
      const theirs = async () => withoutRevisions(await (await fetch(`${url}/api/v1/export`)).text());
      expect(await theirs()).toEqual(records);
      const remote = local({ useFlask: true, flaskUrl: url });
      expect(await remote.getMany(['m', 'n'])).toEqual([[1.1], Number('12345678901234567890')]);
      await remote.clear();
      expect(await remote.import(body)).toBe(2);
      expect(await remote.getMany(['m', 'n'])).toEqual([[1.1], Number('12345678901234567890')]);
    });
  });

describe('a storage over a server', () => {
  it('of level 1 exports, is wiped, imports, and the server has it all again', async () => {
    const { url } = await database.start();
    const storage = synced(url);
    await storage.setMany(ENTRIES);
    const before = recordsOf(await textOf(storage));
    const blob = await storage.export({ as: 'blob' });
    await storage.clear();
    expect(await storage.import(blob, { mode: 'fail' })).toBe(ENTRIES.length);
    expect(recordsOf(await textOf(storage))).toEqual(before);
    expect(withoutRevisions(await (await fetch(`${url}/api/v1/export`)).text())).toEqual(before);
    expect(storage.status()).toMatchObject({ state: 'online', pending: 0, conflicts: 0 });
  });

  it('of level 0 exports, is wiped, imports, and names what its server cannot address', async () => {
    const old = await startOldServer();
    stops.push(() => old.close());
    const storage = synced(old.url);
    const plain = ORDINARY_KEYS.map((key) => [key, { key, at: new Date(5) }] as const);
    await storage.setMany(plain);
    const blob = await storage.export({ as: 'blob' });
    await storage.clear();
    expect(old.data.size).toBe(0);
    expect(await storage.import(blob)).toBe(plain.length);
    expect(recordsOf(await textOf(storage))).toEqual(recordsOf(await blob.text()));
    expect(storage.status()).toMatchObject({ level: 0, state: 'online' });
    const error = await failure(storage.import('{"a/b":1,"fine":2}'));
    expect(error).toMatchObject({ migrated: 1, failed: [{ key: 'a/b' }] });
    expect(await storage.get('fine')).toBe(2);
  });

  it('that is away exports what waits with what is there, and what it imports waits too', async () => {
    const server = await database.start();
    const port = Number(new URL(server.url).port);
    const storage = synced(server.url);
    await storage.setMany([
      ['deleted', 0],
      ['kept', 1],
      ['written', 2],
    ]);
    await storage.filled();
    await database.stop(server);
    await storage.set('written', 'away');
    await storage.delete('deleted');
    await storage.set('new', new Date(5));
    expect(storage.status()).toMatchObject({ backend: 'indexeddb', pending: 3 });
    const blob = await storage.export({ as: 'blob' });
    expect((await blob.text()).split('\n')[0]).toContain('"keys":3');
    const state = recordsOf(await blob.text());
    expect(state).toHaveLength(3);
    expect(state).toContain('{"key":"kept","value":1}');
    expect(state).toContain('{"key":"written","value":"away"}');
    expect(await storage.import('{"imported":{"while":"away"}}')).toBe(1);
    expect(await storage.import(blob)).toBe(3);
    await database.start({}, port);
    await storage.reaches(({ state, pending }) => state === 'online' && pending === 0);
    expect(await storage.conflicts()).toEqual([]);
    const theirs = withoutRevisions(await (await fetch(`${server.url}/api/v1/export`)).text());
    expect(theirs).toEqual([...state, '{"key":"imported","value":{"while":"away"}}'].sort());
  });
});
