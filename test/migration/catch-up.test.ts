/**
 * Whatever is written while a migration is under way, the target ends as the source does, and what the target alone held stays
 * (docs/guarantees.md, 10.1, 10.5).
 */
import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createStorage, type KeyValueStorage, type MigrateOptions } from '../../src/index.ts';
import { startLevel1Server } from '../support/level1-server.ts';
import { startOldServer } from '../support/old-server.ts';

interface Server {
  readonly url: string;
  readonly data: { clear(): void };
  close(): Promise<void>;
}

let databases = 0;
const servers = new Map<string, Server>();
beforeAll(async () => {
  servers.set('level 0', await startOldServer());
  const level1 = await startLevel1Server();
  servers.set('level 1', { url: level1.url, data: level1.data, close: level1.stop });
});
afterAll(async () => {
  for (const server of servers.values()) await server.close();
});

/** Many keys, so that there are several pages, and a few that are written meanwhile, anywhere among them. */
const KEYS = 1200;
const keyOf = (i: number): string => `k${String(i).padStart(5, '0')}`;
const write = fc.record({
  key: fc.integer({ min: -3, max: KEYS + 3 }).map((i) => (i < 0 ? `a${-i}` : keyOf(i))),
  value: fc.option(
    fc.oneof(fc.integer(), fc.string({ maxLength: 20 }), fc.constant({ z: 1, a: [new Date(5)] })),
  ),
  /** Before the first page is copied, or after it: there is time enough until the last was. */
  at: fc.integer({ min: 1, max: 2 }),
});

async function apply(storage: KeyValueStorage, key: string, value: unknown): Promise<void> {
  await (value === null ? storage.delete(key) : storage.set(key, value));
}

/** Everything a storage holds. */
const all = async (storage: KeyValueStorage): Promise<Map<string, unknown>> =>
  new Map(await Array.fromAsync(storage.entries()));

for (const level of ['level 0', 'level 1'])
  for (const direction of ['to the server', 'to IndexedDB'])
    it(`what is written meanwhile is brought over, ${direction} of ${level}`, async () => {
      const { url, data } = servers.get(level) as Server;
      await fc.assert(
        fc.asyncProperty(fc.array(write, { maxLength: 12 }), async (writes) => {
          databases += 1;
          const database = `catch-up-${databases}`;
          data.clear();
          const local = createStorage({ database, logger: false });
          // A device of its own, so that nothing of the other one is in its outbox.
          const remote = createStorage({
            useFlask: true,
            flaskUrl: url,
            database: `${database}-remote`,
            logger: false,
          });
          const migrating = createStorage({ useFlask: true, flaskUrl: url, database, logger: false });
          const [source, target] = direction === 'to the server' ? [local, remote] : [remote, local];
          try {
            await source.setMany(Array.from({ length: KEYS }, (_, i) => [keyOf(i), i]));
            await target.setMany([
              ['alone', 'kept'],
              [keyOf(7), 'another'],
            ]);
            let calls = 0;
            const made: Array<Promise<void>> = [];
            const options: MigrateOptions & { dryRun?: false } = {
              onProgress({ phase }) {
                if (phase !== 'copy') return;
                calls += 1;
                for (const { key, value, at } of writes)
                  if (at === calls) made.push(apply(source, key, value));
              },
            };
            const count =
              direction === 'to the server'
                ? await local.migrateToFlask(url, options)
                : await migrating.migrateToIndexedDB(options);
            await Promise.all(made);
            const wanted = await all(source);
            const found = await all(target);
            expect(found.get('alone')).toBe('kept');
            found.delete('alone');
            // Deleted before it was read, it is the target's alone as well.
            if (found.get(keyOf(7)) === 'another' && !wanted.has(keyOf(7))) found.delete(keyOf(7));
            expect(found).toEqual(wanted);
            expect(count).toBe(wanted.size);
          } finally {
            await Promise.all([local.close(), remote.close(), migrating.close()]);
          }
        }),
        // The key that both sides hold, deleted before it is read.
        { numRuns: 8, examples: [[[{ key: keyOf(7), value: null, at: 1 }]]] },
      );
    });
