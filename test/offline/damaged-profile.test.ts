/**
 * Files of values are missing in the browser's profile. Chromium stores a large value, and each Blob, in a file of its own: a
 * cleaning tool, a full disk or a damaged file system can remove one. Every other entry stays usable, and the key is named.
 */
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { chromiumSkipReason } from '../support/library-page.ts';
import { offlineStage } from '../support/offline-page.ts';

const stage = offlineStage();

/** Keys and values, besides 60 small ones. */
const DAMAGED = ['key 20: a Blob', 'key 30: large'];

/** A tab over a profile in which the files of two values are missing. */
async function damagedTab() {
  const folder = join(stage.folder(), 'profile');
  const first = await stage.profileAt(folder);
  await (await stage.tab(first.context)).evaluate(async (damaged) => {
    const storage = library.createStorage({ logger: false });
    const name = (i: number) => `key ${String(i).padStart(2, '0')}`;
    await storage.setMany(Array.from({ length: 60 }, (_, i) => [name(i), { i }] as const));
    await storage.setMany([
      [damaged[0] as string, { blob: new Blob([new Uint8Array(300_000)]) }],
      [damaged[1] as string, 'x'.repeat(3_000_000)],
    ]);
    await storage.close();
  }, DAMAGED);
  await first.context.close();
  const databases = join(folder, 'Default', 'IndexedDB');
  for (const name of await readdir(databases))
    if (name.endsWith('.blob')) await rm(join(databases, name), { recursive: true });
  const tab = await stage.tab((await stage.profileAt(folder)).context);
  await tab.evaluate(() => {
    globalThis.storage = library.createStorage({ logger: false });
  });
  return tab;
}

afterEach(() =>
  rm(join(stage.folder(), 'profile'), { recursive: true, force: true, maxRetries: 20, retryDelay: 100 }),
);

it.skipIf(chromiumSkipReason)(
  'two values whose files are gone stop nothing but their own reads',
  async () => {
    const tab = await damagedTab();
    const found = await tab.evaluate(async () => {
      const failure = (promise: Promise<unknown>) =>
        promise.then(
          () => 'no error',
          (error) => `${error.code}: ${error.message}`,
        );
      const keys = await storage.keys();
      const listed: string[] = [];
      const listing = (async () => {
        for await (const [key] of storage.entries()) listed.push(key);
      })();
      const [, readable] = await Promise.all([
        failure(listing),
        // Calls of one turn travel together.
        Promise.allSettled([
          ...keys.map((key) => storage.get(key)),
          storage.set('written', 1),
          storage.getEntry('key 30: large'),
          storage.update('key 30: large', () => 1),
        ]),
      ]);
      const refused: unknown[] = [];
      const backup = await storage.export({ as: 'blob', onRefused: (one) => refused.push(one) });
      return {
        keys,
        get: await failure(storage.get('key 30: large')),
        getMany: await failure(storage.getMany(keys)),
        getFew: await failure(storage.getMany(keys.slice(25))),
        entry: await failure(storage.getEntry('key 30: large')),
        update: await failure(storage.update('key 30: large', () => 1)),
        together: readable.map((outcome) =>
          outcome.status === 'fulfilled'
            ? outcome.status
            : `${outcome.reason.code}: ${outcome.reason.message}`,
        ),
        listing: await failure(listing),
        listed,
        stats: await storage.stats(),
        export: await failure(storage.export({ as: 'blob' })),
        refused,
        lines: (await backup.text()).trimEnd().split('\n').length,
      };
    });
    const named = expect.stringMatching(/^unsupported-value: Key key 30: large.*NotReadableError/);
    expect(found.keys).toHaveLength(62);
    for (const way of ['get', 'getMany', 'getFew', 'entry', 'update', 'listing'] as const)
      expect({ [way]: found[way] }).toEqual({ [way]: named });
    expect(found.together.filter((one) => one !== 'fulfilled')).toEqual([named, named, named]);
    expect(found.listed).toEqual(found.keys.slice(0, found.keys.indexOf('key 30: large')));
    // The Blob's own bytes are read when it is measured.
    expect(found.stats).toMatchObject({ keys: 63, sizeBytes: expect.any(Number) });
    expect(found.export).toMatch(/^unsupported-value: Key key 20: a Blob/);
    expect(found.refused).toEqual(
      DAMAGED.map((key) => ({ key, reason: expect.stringContaining(`Key ${key}`) })),
    );
    expect(found.lines).toBe(2 + 61);

    await tab.evaluate(async (damaged) => {
      await storage.set(damaged[0] as string, 'stored again');
      await storage.delete(damaged[1] as string);
    }, DAMAGED);
    expect(await tab.evaluate(() => storage.getMany(['key 20: a Blob', 'key 30: large', 'written']))).toEqual(
      ['stored again', undefined, 1],
    );
  },
);

it.skipIf(chromiumSkipReason)('a migration brings over everything else, and names the two keys', async () => {
  const server = await stage.server();
  await server.start();
  const tab = await damagedTab();
  const { plan, error } = await tab.evaluate(
    async (url) => ({
      plan: await storage.migrateToFlask(url, { dryRun: true }),
      error: await storage.migrateToFlask(url).then(
        () => undefined,
        ({ code, migrated, failed }) => ({ code, migrated, failed }),
      ),
    }),
    server.url,
  );
  const named = DAMAGED.map((key) => ({ key, reason: expect.stringContaining(`Key ${key}`) }));
  expect(plan).toMatchObject({ entries: 62, refused: named });
  expect(error).toEqual({ code: 'migration', migrated: 60, failed: named });
});
