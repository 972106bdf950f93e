/**
 * Entries that cannot be copied: a migration, an import, an adoption and an export each name them one by one, copy all others, and
 * resolve if the app leaves them out with `onRefused`.
 */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  createStorage,
  type KeyValueStorage,
  type MigrationFailure,
  type OnConflict,
} from '../../src/index.ts';
import { settled } from '../support/browser-database.ts';
import { type Level1Server, startLevel1Server } from '../support/level1-server.ts';
import { deleteDatabase, makeCodeForgeStorage } from '../support/old-databases.ts';
import { startOldServer } from '../support/old-server.ts';
import { failure } from '../support/rejection.ts';

/** Entries as another program stores them: keys that are not portable, and a class that JSON text cannot express. */
const ENTRIES: ReadonlyArray<readonly [string, unknown]> = [
  ['', 1],
  ['a\0b', 2],
  ['boxed', Object(1)],
  ['lone \ud800', 4],
  ['ordinary', { a: 3 }],
  ['undefined', undefined],
];
const REFUSED = ['', 'a\0b', 'boxed', 'lone \ud800'];

let databases = 0;
let storage: KeyValueStorage;
const endings: Array<() => Promise<unknown>> = [];

async function openFilled(): Promise<KeyValueStorage> {
  databases += 1;
  const database = `left-out-${databases}`;
  const request = indexedDB.open(database, 1);
  request.onupgradeneeded = () => {
    const store = request.result.createObjectStore('storage');
    for (const [key, value] of ENTRIES) store.put(value, key);
  };
  (await settled(request)).close();
  return open({ database });
}

function open(options: Parameters<typeof createStorage>[0]): KeyValueStorage {
  const opened = createStorage({ logger: false, ...options });
  endings.push(() => opened.close());
  return opened;
}

/** Notes what is left out. */
function noting() {
  const refused: MigrationFailure[] = [];
  return { refused, onRefused: (one: MigrationFailure) => void refused.push(one) };
}
const keysOf = (failures: readonly MigrationFailure[]) => failures.map(({ key }) => key).sort();

beforeEach(async () => {
  storage = await openFilled();
});
afterEach(async () => {
  for (const end of endings.splice(0).reverse()) await end();
});

describe('a migration to a server', () => {
  let server: Level1Server;
  beforeEach(async () => {
    server = await startLevel1Server();
    endings.push(() => server.stop());
  });

  it('names each entry that cannot be copied, after it has copied the others', async () => {
    const error = await failure(storage.migrateToFlask(server.url, { activate: true }));
    expect(keysOf(error.failed)).toEqual(REFUSED);
    expect(error).toMatchObject({ code: 'migration', migrated: 2 });
    expect(error.message).toContain('onRefused');
    expect([...server.data.keys()].sort()).toEqual(['ordinary', 'undefined']);
    expect(storage.getBackendType()).toBe('indexeddb');
  });

  for (const onConflict of ['overwrite', 'skip', 'fail'] as const)
    it(`resolves with '${onConflict}' if onRefused leaves them out, and reports each once`, async () => {
      const { refused, onRefused } = noting();
      expect(await storage.migrateToFlask(server.url, { onConflict, onRefused })).toBe(2);
      expect(keysOf(refused)).toEqual(REFUSED);
      expect(refused.every(({ reason }) => reason.length > 20)).toBe(true);
    });

  it('can be activated without them, and can be called again after it has failed', async () => {
    await failure(storage.migrateToFlask(server.url));
    const { refused, onRefused } = noting();
    expect(await storage.migrateToFlask(server.url, { activate: true, onRefused })).toBe(2);
    expect(keysOf(refused)).toEqual(REFUSED);
    expect(storage.getBackendType()).toBe('flask');
    expect(await storage.get('ordinary')).toEqual({ a: 3 });
  });

  it('still rejects for an entry that the target holds with another value', async () => {
    server.data.set('ordinary', { value: 'theirs', rev: ++server.seq });
    const { refused, onRefused } = noting();
    const error = await failure(storage.migrateToFlask(server.url, { onConflict: 'fail', onRefused }));
    expect(keysOf(error.failed)).toEqual(['ordinary']);
    expect(error.message).not.toContain('onRefused');
    expect(refused).toEqual([]);
    expect(server.data.has('undefined')).toBe(false);
  });

  it('rejects with what onRefused throws, and is not activated', async () => {
    const mine = new Error('mine');
    const onRefused = () => {
      throw mine;
    };
    const error = await failure(storage.migrateToFlask(server.url, { onRefused, activate: true }));
    expect(error).toMatchObject({ code: 'migration', cause: mine });
    expect(storage.getBackendType()).toBe('indexeddb');
  });

  it('tells them in a dry run, which does not call onRefused', async () => {
    const { refused, onRefused } = noting();
    const plan = await storage.migrateToFlask(server.url, { dryRun: true, onRefused });
    expect(keysOf(plan.refused)).toEqual(REFUSED);
    expect(plan.entries).toBe(6);
    expect(refused).toEqual([]);
  });
});

it('a migration from an old server leaves out the keys that cannot be stored', async () => {
  const server = await startOldServer();
  endings.push(server.close);
  server.data.set('', 'a').set('a', 1);
  const remote = open({ useFlask: true, flaskUrl: server.url, database: 'left-out-old-server' });
  const { refused, onRefused } = noting();
  expect(await remote.migrateToIndexedDB({ onRefused })).toBe(1);
  expect(keysOf(refused)).toEqual(['']);
});

it('an export leaves them out too', async () => {
  const { refused, onRefused } = noting();
  const backup = await storage.export({ as: 'blob', onRefused });
  expect(keysOf(refused)).toEqual(REFUSED);
  expect((await backup.text()).trimEnd().split('\n')).toHaveLength(2 + 2);
  expect(await failure(storage.export({ as: 'blob' }))).toMatchObject({ code: 'invalid-key' });
});

for (const mode of ['overwrite', 'skip', 'fail'] satisfies OnConflict[])
  it(`an import with '${mode}' leaves out keys and values of a backup that cannot be stored`, async () => {
    const backup = JSON.stringify({ '': 1, 'a\0b': 2, ordinary: 3, broken: { $cf: 'x' } });
    const target = open({ database: `left-out-import-${mode}` });
    expect(await failure(target.import(backup, { mode }))).toMatchObject({ code: 'invalid-backup' });
    const { refused, onRefused } = noting();
    expect(await target.import(backup, { mode, onRefused })).toBe(1);
    expect(keysOf(refused)).toEqual(['', 'a\0b', 'broken']);
    expect(await target.keys()).toEqual(['ordinary']);
  });

it('an adoption leaves them out', async () => {
  await makeCodeForgeStorage(ENTRIES);
  endings.push(() => deleteDatabase('codeforge-storage'));
  const target = open({ database: 'left-out-adoption' });
  expect(keysOf((await failure(target.adopt('codeforge-storage'))).failed)).toEqual(REFUSED);
  const { refused, onRefused } = noting();
  expect(await target.adopt('codeforge-storage', { onRefused })).toBe(2);
  expect(keysOf(refused)).toEqual(REFUSED);
});

it('onRefused must be a function', async () => {
  const onRefused = 'yes' as never;
  await expect(storage.migrateToFlask('http://localhost:1', { onRefused })).rejects.toMatchObject({
    code: 'invalid-option',
  });
});
