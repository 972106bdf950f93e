/**
 * Old client and new client, old server and new servers: all six pairs work, and what one client writes is what the
 * other reads.
 */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ConflictError, createStorage, type KeyValueStorage } from '../../src/index.ts';
import { flaskSkipReason, startFlaskServer } from '../support/flask-server.ts';
import { startOldServer } from '../support/old-server.ts';
import { startTypescriptServer } from '../support/typescript-server.ts';
import { lendIndexedDb, withoutIndexedDb } from '../support/without-indexeddb.ts';
import { createOldClient, type OldClient, OldClientError } from './old-client.ts';

withoutIndexedDb();

/** A server that runs: its address, and how it ends. */
interface Started {
  readonly url: string;
  readonly end: () => Promise<unknown>;
}

async function startOld(): Promise<Started> {
  const server = await startOldServer();
  return { url: server.url, end: () => server.close() };
}

async function startTypescript(): Promise<Started> {
  const server = await startTypescriptServer();
  return { url: server.url, end: () => server.stop() };
}

async function startFlask(): Promise<Started> {
  const server = await startFlaskServer();
  return { url: server.url, end: () => server.stop() };
}

/** What JSON can say, so that every client reads it as it is. */
const PLAIN: Readonly<Record<string, unknown>> = {
  null: null,
  true: true,
  number: -1.5e-7,
  text: 'é 🗝 "\n',
  list: [1, [], {}, null],
  object: { b: { c: ['d'] }, a: 1 },
  'a key with spaces & ? # % + ключ 🗝': 1,
};
const ENTRIES = Object.entries(PLAIN);

/** What only the SDK can read. */
const RICH: Readonly<Record<string, unknown>> = {
  undefined: undefined,
  date: { at: new Date(0), by: [1n] },
  map: new Map<unknown, unknown>([[{ a: 1 }, new Set([Number.NaN])]]),
  bytes: new Uint8Array([1, 2, 255]),
  error: new TypeError('wrong', { cause: new RangeError('why') }),
};

const servers = [
  ['a server of level 0', 0, startOld, undefined],
  ['the TypeScript server', 1, startTypescript, undefined],
  ['the Flask server', 1, startFlask, flaskSkipReason()],
] as const;

for (const [name, level, start, skipped] of servers) {
  if (skipped === undefined) describe(name, () => pairs(level, start));
  else it.skip(`${name}: ${skipped}`);
}

let databases = 0;

function pairs(level: 0 | 1, start: () => Promise<Started>): void {
  let server: Started;
  let old: OldClient;
  let sdk: KeyValueStorage;

  const newDatabase = (): string => {
    databases += 1;
    return `matrix-${databases}`;
  };
  const openLocal = (database: string) => createStorage({ database, logger: false });
  const openRemote = (database: string) =>
    createStorage({ useFlask: true, flaskUrl: server.url, database, logger: false });

  beforeAll(async () => {
    server = await start();
    old = createOldClient(server.url);
    sdk = openRemote(newDatabase());
  });
  afterAll(async () => {
    await sdk?.close();
    await server?.end();
  });
  beforeEach(() => old.clear());

  describe('with an old client', () => {
    it('stores, reads, lists, counts and deletes', async () => {
      expect(await old.isAlive()).toBe(true);
      for (const [key, value] of ENTRIES) await old.set(key, value);
      for (const [key, value] of ENTRIES) expect(await old.get(key)).toEqual(value);
      expect(new Set(await old.keys())).toEqual(new Set(ENTRIES.map(([key]) => key)));
      expect(await old.stats()).toMatchObject({
        total_keys: ENTRIES.length,
        total_size_bytes: expect.any(Number),
      });
      await old.add('text', 'replaced');
      expect(await old.get('text')).toBe('replaced');
      expect(await old.delete('text')).toBe(true);
      expect(await old.delete('text')).toBe(false);
      expect(await old.get('text')).toBeUndefined();
    });

    it('exports, clears and imports', async () => {
      for (const [key, value] of ENTRIES) await old.set(key, value);
      const exported = await old.export();
      expect(exported).toEqual(Object.fromEntries(ENTRIES));
      await old.clear();
      expect(await old.export()).toEqual({});
      expect(await old.import(exported)).toBe(ENTRIES.length);
      expect(await old.export()).toEqual(exported);
    });

    it('is not wiped by the fallback of its clear', async () => {
      await old.set('precious', 1);
      await expect(old.clearFallback()).rejects.toThrow(OldClientError);
      expect(await old.export()).toEqual({ precious: 1 });
    });
  });

  describe('with the SDK', () => {
    it(`finds out that the level is ${level}`, async () => {
      await sdk.ready();
      expect(sdk.status()).toEqual({
        backend: 'flask',
        state: 'online',
        level,
        pending: 0,
        conflicts: 0,
        lastSyncAtMs: undefined,
        reason: expect.stringMatching(/\w/),
      });
    });

    it('stores, reads, lists, counts and deletes', async () => {
      await sdk.setMany([...ENTRIES, ...Object.entries(RICH)]);
      for (const [key, value] of [...ENTRIES, ...Object.entries(RICH)])
        expect(await sdk.get(key)).toEqual(value);
      const keys = [...ENTRIES.map(([key]) => key), ...Object.keys(RICH)];
      const inBytes = keys.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
      expect(await sdk.keys()).toEqual(inBytes);
      expect((await Array.fromAsync(sdk.entries())).map(([key]) => key)).toEqual(inBytes);
      expect((await sdk.stats()).keys).toBe(keys.length);
      await sdk.deleteMany(['text', 'date']);
      expect([await sdk.has('text'), await sdk.has('date'), await sdk.has('undefined')]).toEqual([
        false,
        false,
        true,
      ]);
      await sdk.clear();
      expect(await sdk.keys()).toEqual([]);
    });

    it('migrates to the server and back', () =>
      lendIndexedDb(async () => {
        const entries = [...ENTRIES, ...Object.entries(RICH)];
        const local = openLocal(newDatabase());
        const database = newDatabase();
        const [remote, back] = [openRemote(database), openLocal(database)];
        try {
          await local.setMany(entries);
          expect(await local.migrateToFlask(server.url)).toBe(entries.length);
          expect((await remote.stats()).keys).toBe(entries.length);
          expect(await remote.migrateToIndexedDB()).toBe(entries.length);
          for (const [key, value] of entries) expect(await back.get(key)).toEqual(value);
          expect(await back.keys()).toEqual(await local.keys());
        } finally {
          await Promise.all([local.close(), remote.close(), back.close()]);
        }
      }));

    if (level === 0) {
      it('says that there are no revisions', async () => {
        await expect(sdk.update('n', () => 1)).rejects.toMatchObject({ code: 'unsupported' });
      });
    } else {
      it('notices that an old client has written in between', async () => {
        await sdk.set('n', 1);
        const entry = await sdk.getEntry('n');
        await old.set('n', 2);
        await expect(sdk.set('n', 3, { ifRevision: entry?.revision ?? null })).rejects.toThrow(ConflictError);
        expect(await sdk.update('n', (n) => Number(n) + 1)).toBe(3);
        expect(await old.get('n')).toBe(3);
      });

      it('stores under keys that level 0 names in escapes, for old clients to read', async () => {
        await sdk.setMany([
          ['a/b', 1],
          ['export', 2],
          ['%2F', 3],
        ]);
        expect([await old.get('a/b'), await old.get('%2F')]).toEqual([1, 3]);
        expect(await old.export()).toEqual({ 'a/b': 1, export: 2, '%2F': 3 });
        expect(await old.delete('a/b')).toBe(true);
        expect(await sdk.has('a/b')).toBe(false);
      });
    }
  });

  describe('with both clients', () => {
    it('the SDK reads what an old client wrote', async () => {
      for (const [key, value] of ENTRIES) await old.set(key, value);
      for (const [key, value] of ENTRIES) expect(await sdk.get(key)).toEqual(value);
      expect(await sdk.keys()).toEqual(await old.keys());
      await old.import({ text: 'imported', more: [1] });
      expect(await sdk.getMany(['text', 'more'])).toEqual(['imported', [1]]);
      expect(await old.delete('more')).toBe(true);
      expect(await sdk.get('more')).toBeUndefined();
      await old.clear();
      expect(await sdk.keys()).toEqual([]);
    });

    it('an old client reads what the SDK wrote', async () => {
      await sdk.setMany(ENTRIES);
      for (const [key, value] of ENTRIES) expect(await old.get(key)).toEqual(value);
      expect(await old.export()).toEqual(Object.fromEntries(ENTRIES));
      await sdk.delete('text');
      expect(await old.get('text')).toBeUndefined();
      await sdk.clear();
      expect(await old.keys()).toEqual([]);
    });

    it('an old client sees the envelope of a rich value, and hands it back unchanged', async () => {
      await sdk.setMany(Object.entries(RICH));
      for (const key of Object.keys(RICH)) {
        const envelope = await old.get(key);
        expect(envelope).toEqual({ $cf: expect.anything() });
        await old.delete(key);
        await old.set(key, envelope);
      }
      for (const [key, value] of Object.entries(RICH)) expect(await sdk.get(key)).toEqual(value);
      const exported = await old.export();
      await old.clear();
      await old.import(exported);
      for (const [key, value] of Object.entries(RICH)) expect(await sdk.get(key)).toEqual(value);
    });

    it('a value of an app that looks like an envelope is none', async () => {
      await sdk.setMany([
        ['one', { $cf: 1 }],
        ['two', { $cf$: { $cf: [] } }],
      ]);
      expect(await old.get('one')).toEqual({ $cf$: 1 });
      await old.import(await old.export());
      expect(await sdk.getMany(['one', 'two'])).toEqual([{ $cf: 1 }, { $cf$: { $cf: [] } }]);
    });

    it('both write at once, and neither loses the other', async () => {
      const writes = Array.from({ length: 20 }, (_, index) => [
        old.set(`old-${index}`, index),
        sdk.set(`sdk-${index}`, index),
      ]);
      await Promise.all(writes.flat());
      expect((await old.keys()).length).toBe(40);
      expect(await sdk.keys()).toEqual(await old.keys());
    });
  });
}
