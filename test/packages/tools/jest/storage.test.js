/**
 * The package in Jest as an app has it that configures nothing: CommonJS, each test file in a context of its own, no `import()`.
 * `SERVER_URL` is a server of level 1.
 */
require('fake-indexeddb/auto');
const { createStorage, ConflictError, StorageError } = require('@codeforge/storage');

const SERVER = { useFlask: true, flaskUrl: process.env.SERVER_URL };

/** Of each kind that JSON does not know. */
const VALUE = {
  when: new Date(5),
  map: new Map([['key', 1n]]),
  bytes: new Uint8Array([1, 2]),
  hole: undefined,
};

let databases = 0;
const storages = [];
function open(options) {
  databases += 1;
  const storage = createStorage({ database: `jest-${databases}`, logger: false, ...options });
  storages.push(storage);
  return storage;
}
afterEach(async () => {
  for (const storage of storages.splice(0)) await storage.close();
});

describe.each([
  ['IndexedDB', {}],
  ['a server', SERVER],
])('%s', (_, options) => {
  beforeEach(async () => {
    const storage = open(options);
    await storage.ready();
    expect(storage.getBackendType()).toBe(options.useFlask ? 'flask' : 'indexeddb');
    await storage.clear();
  });

  test('every kind of value', async () => {
    const storage = open(options);
    await storage.set('value', VALUE);
    const value = await storage.get('value');
    expect(value.when.getTime()).toBe(5);
    expect([...value.map]).toEqual([['key', 1n]]);
    expect([...value.bytes]).toEqual([1, 2]);
    expect('hole' in value).toBe(true);
  });

  test('keys, entries, getMany, stats', async () => {
    const storage = open(options);
    await storage.setMany([
      ['b', 2],
      ['a', 1],
    ]);
    expect(await storage.keys()).toEqual(['a', 'b']);
    expect(await storage.getMany(['a', 'none'])).toEqual([1, undefined]);
    const entries = [];
    for await (const entry of storage.entries()) entries.push(entry);
    expect(entries).toEqual([
      ['a', 1],
      ['b', 2],
    ]);
    expect((await storage.stats()).keys).toBe(2);
  });

  test('update, getEntry and conditions', async () => {
    const storage = open(options);
    expect(await Promise.all([1, 2].map(() => storage.update('n', (n = 0) => n + 1)))).toEqual([1, 2]);
    const { value, revision } = await storage.getEntry('n');
    expect(value).toBe(2);
    await storage.set('n', 3, { ifRevision: revision });
    await expect(storage.set('n', 4, { ifRevision: revision })).rejects.toThrow(ConflictError);
  });

  test('export and import', async () => {
    const storage = open(options);
    await storage.setMany([
      ['plain', 'text'],
      ['value', VALUE],
    ]);
    const file = await (await storage.export({ as: 'blob' })).text();
    await storage.clear();
    expect(await storage.import(file)).toBe(2);
    expect((await storage.get('value')).when.getTime()).toBe(5);
  });

  test('refusals', async () => {
    const storage = open(options);
    await expect(storage.set('', 1)).rejects.toThrow(StorageError);
    await expect(storage.set('f', () => 1)).rejects.toMatchObject({ code: 'unsupported-value' });
    expect(await storage.conflicts()).toEqual([]);
    await storage.flush();
  });
});

test('migration to a server and back', async () => {
  const storage = open({});
  await storage.set('moved', VALUE);
  await storage.migrateToFlask(SERVER.flaskUrl, { onConflict: 'overwrite', activate: true });
  expect(storage.getBackendType()).toBe('flask');
  expect((await storage.get('moved')).when.getTime()).toBe(5);
  await storage.migrateToIndexedDB({ onConflict: 'overwrite', activate: true });
  expect(storage.getBackendType()).toBe('indexeddb');
});
