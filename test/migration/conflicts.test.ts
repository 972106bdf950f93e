/**
 * Entries that the target refuses, and keys that it holds with another value: each mode does what it says, and the error names the
 * keys (docs/guarantees.md, 10.1 to 10.3).
 */
import { afterEach, describe, expect, it } from 'vitest';
import { createStorage, type KeyValueStorage, MigrationError, type OnConflict } from '../../src/index.ts';
import { startOldServer } from '../support/old-server.ts';
import { failure } from '../support/rejection.ts';
import { startTypescriptServer } from '../support/typescript-server.ts';

const KEYS = 10_000;
/** A value that the server below has no room for. */
const TOO_LARGE = 'x'.repeat(70_000);
/** Routes of a server of level 0, and ordinary keys. */
const RESERVED = ['keys', 'export', 'stats', 'clear', 'import'];

interface Target {
  readonly url: string;
  stop(): Promise<unknown>;
  /** Entries that it refuses. */
  readonly refused: ReadonlyArray<readonly [key: string, value: unknown]>;
}

const TARGETS: Readonly<Record<string, () => Promise<Target>>> = {
  async 'level 1'() {
    const server = await startTypescriptServer({ env: { MAX_BODY_BYTES: '65536' } });
    return {
      url: server.url,
      stop: () => server.stop(),
      refused: ['large-1', 'large-2', 'large-3'].map((key) => [key, TOO_LARGE]),
    };
  },
  async 'level 0'() {
    const server = await startOldServer();
    return {
      url: server.url,
      stop: server.close,
      refused: [
        ['a/b', 1],
        ['..', 2],
        ['c/', 3],
      ],
    };
  },
};

const endings: Array<() => Promise<unknown>> = [];
afterEach(async () => {
  for (const end of endings.splice(0).reverse()) await end();
});

let databases = 0;
/** A source of 10,000 entries, three of which the target refuses; two of their keys it holds with another value, one with the same. */
async function stage(level: string) {
  const target = await (TARGETS[level] as () => Promise<Target>)();
  endings.push(target.stop);
  databases += 1;
  const database = `conflicts-${databases}`;
  const local = createStorage({ database, logger: false });
  const remote = createStorage({
    useFlask: true,
    flaskUrl: target.url,
    database: `${database}-remote`,
    logger: false,
  });
  endings.push(
    () => local.close(),
    () => remote.close(),
  );
  const plain = Array.from({ length: KEYS - 3 - RESERVED.length }, (_, i) => [`k${i}`, { i }] as const);
  await local.setMany([...plain, ...RESERVED.map((key) => [key, `of ${key}`] as const), ...target.refused]);
  await remote.setMany([
    ['k7', 'theirs'],
    ['k4000', 'theirs'],
    ['k5', { i: 5 }],
    ['alone', 'kept'],
  ]);
  const refused = target.refused.map(([key]) => key).sort();
  return { local, remote, url: target.url, refused, before: [await all(local), await all(remote)] };
}

const all = async (storage: KeyValueStorage): Promise<ReadonlyMap<string, unknown>> =>
  new Map(await Array.fromAsync(storage.entries()));
const keysOf = (error: MigrationError): string[] => error.failed.map(({ key }) => key).sort();

for (const level of Object.keys(TARGETS))
  describe(`3 refused values and 2 conflicts in 10,000, ${level}`, () => {
    it('a dry run tells them, and writes nothing on either side', async () => {
      const { local, remote, url, refused, before } = await stage(level);
      const plan = await local.migrateToFlask(url, { dryRun: true });
      expect(plan).toMatchObject({ entries: KEYS, equal: 1 });
      expect([...plan.conflicts].sort()).toEqual(['k4000', 'k7']);
      expect(plan.refused.map(({ key }) => key).sort()).toEqual(refused);
      expect(plan.bytes).toBeGreaterThan(KEYS * 6);
      expect([await all(local), await all(remote)]).toEqual(before);
    });

    it("'fail' changes nothing at the target and names all five", async () => {
      const { local, remote, url, refused, before } = await stage(level);
      const error = await failure(local.migrateToFlask(url, { onConflict: 'fail' }));
      expect(error).toBeInstanceOf(MigrationError);
      expect(error.migrated).toBe(0);
      expect(keysOf(error)).toEqual([...refused, 'k4000', 'k7'].sort());
      expect(error.message).toContain('nothing was written');
      expect([await all(local), await all(remote)]).toEqual(before);
    });

    for (const onConflict of ['skip', 'overwrite'] as const satisfies OnConflict[])
      it(`'${onConflict}' brings over what it says, and names the three`, async () => {
        const { local, remote, url, refused, before } = await stage(level);
        const error = await failure(local.migrateToFlask(url, { onConflict }));
        const skipped = onConflict === 'skip' ? 2 : 0;
        expect(error).toMatchObject({ code: 'migration', migrated: KEYS - 3 - skipped, skipped });
        expect(keysOf(error)).toEqual(refused);
        for (const key of refused) expect(error.message).toContain(key);
        const [source] = before;
        const wanted = new Map([...(source as ReadonlyMap<string, unknown>), ['alone', 'kept']]);
        for (const key of refused) wanted.delete(key);
        if (onConflict === 'skip') for (const key of ['k7', 'k4000']) wanted.set(key, 'theirs');
        expect(await all(remote)).toEqual(wanted);
        expect(await all(local)).toEqual(source);

        // What could not be brought over is mended at the source, and the rest is not sent again.
        await local.deleteMany(refused);
        expect(await local.migrateToFlask(url, { onConflict })).toBe(KEYS - 3 - skipped);
      });
  });
