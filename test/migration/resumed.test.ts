/**
 * A migration that is called again after it ended early: what was sent before is known as its own, and nothing that was changed,
 * deleted or lost since then is mistaken (docs/guarantees.md, 10.3 to 10.5).
 */
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import {
  createStorage,
  type KeyValueStorage,
  type MigrateOptions,
  type MigrationError,
  type OnConflict,
} from '../../src/index.ts';
import { type Level1Request, type Level1Server, startLevel1Server } from '../support/level1-server.ts';
import { startOldServer } from '../support/old-server.ts';
import { failure } from '../support/rejection.ts';

const KEYS = 3000;
const keyOf = (i: number): string => `k${String(i).padStart(5, '0')}`;
const entries = Array.from({ length: KEYS }, (_, i) => [keyOf(i), { i }] as const);

let server: Level1Server;
let local: KeyValueStorage;
let databases = 0;

beforeEach(async () => {
  server = await startLevel1Server();
  databases += 1;
  local = createStorage({ database: `resumed-${databases}`, logger: false, timeout: 2000 });
  await local.setMany(entries);
});
afterEach(async () => {
  await local.close();
  await server.stop();
});

/** Aborts when the first page is noted down. */
function abortedEarly(onConflict: OnConflict) {
  const controller = new AbortController();
  return {
    onConflict,
    signal: controller.signal,
    onProgress({ phase, done }: { phase: string; done: number }) {
      if (phase === 'copy' && done >= 500) controller.abort();
    },
  };
}
const puts = ({ batch }: Level1Request, key: string): boolean =>
  batch?.ops.some((op) => op.op === 'put' && op.key === key) ?? false;
const valueAt = (key: string): unknown => server.data.get(key)?.value;
const toServer = (options?: MigrateOptions & { readonly dryRun?: false }) =>
  local.migrateToFlask(server.url, options);

for (const onConflict of ['skip', 'fail'] as const)
  it(`with '${onConflict}' a key that comes to exist after it was looked for is not overwritten either`, async () => {
    await failure(toServer(abortedEarly(onConflict)));
    const key = keyOf(1200);
    expect(server.data.has(key)).toBe(false);
    server.before = (request) => {
      if (puts(request, key)) server.data.set(key, { value: 'theirs', rev: ++server.seq });
      return false;
    };
    const [count, error] = await toServer({ onConflict }).then(
      (count) => [count, undefined],
      (error: MigrationError) => [undefined, error],
    );
    expect(valueAt(key)).toBe('theirs');
    if (onConflict === 'skip') expect(count).toBe(KEYS - 1);
    else expect(error).toMatchObject({ migrated: KEYS - 1, failed: [{ key }] });
  });

it('what had arrived, unheard, when a run was cut off is not sent again', async () => {
  const arrived = keyOf(700);
  server.after = (request, response) => {
    if (!puts(request, arrived)) return false;
    response.destroy();
    return true;
  };
  await failure(toServer());
  expect(valueAt(arrived)).toEqual({ i: 700 });
  server.after = undefined;
  const before = server.seen.length;
  expect(await toServer()).toBe(KEYS);
  expect(server.seen.slice(before).filter((request) => puts(request, arrived))).toEqual([]);
});

it("what the target held before with 'skip' stays where the source has deleted it since then, equal or not", async () => {
  const [another, equal] = [keyOf(3), keyOf(4)];
  server.data.set(another, { value: 'theirs', rev: ++server.seq });
  server.data.set(equal, { value: { i: 4 }, rev: ++server.seq });
  await failure(toServer(abortedEarly('skip')));
  await local.deleteMany([another, equal]);
  expect(await toServer({ onConflict: 'skip' })).toBe(KEYS - 2);
  expect([valueAt(another), valueAt(equal)]).toEqual(['theirs', { i: 4 }]);
});

describe('what this migration has written before', () => {
  for (const onConflict of ['overwrite', 'skip', 'fail'] as const)
    it(`is replaced where the source has changed it since then, with '${onConflict}'`, async () => {
      await failure(toServer(abortedEarly(onConflict)));
      await local.set(keyOf(3), 'changed');
      await local.delete(keyOf(4));
      expect(await toServer({ onConflict })).toBe(KEYS - 1);
      expect([valueAt(keyOf(3)), server.data.has(keyOf(4))]).toEqual(['changed', false]);
    });

  it('and does not belong to it is still a conflict', async () => {
    await failure(toServer(abortedEarly('fail')));
    await local.set(keyOf(3), 'changed');
    server.data.set(keyOf(2500), { value: 'theirs', rev: ++server.seq });
    const error = await failure(toServer({ onConflict: 'fail' }));
    expect(error.failed.map(({ key }) => key)).toEqual([keyOf(2500)]);
    expect(error.message).not.toContain('nothing was written');
    expect([valueAt(keyOf(3)), valueAt(keyOf(2500))]).toEqual([{ i: 3 }, 'theirs']);
  });

  for (const onConflict of ['overwrite', 'skip'] as const)
    it(`stays its own where a later value was refused, with '${onConflict}'`, async () => {
      await failure(toServer(abortedEarly(onConflict)));
      server.health.limits = { valueBytes: 1000 };
      await local.setMany([
        [keyOf(3), 'x'.repeat(2000)],
        [keyOf(4), 'x'.repeat(2000)],
      ]);
      const error = await failure(toServer({ onConflict }));
      expect(error.failed.map(({ key }) => key)).toEqual([keyOf(3), keyOf(4)]);
      await local.set(keyOf(3), 'mended');
      await local.delete(keyOf(4));
      expect(await toServer({ onConflict })).toBe(KEYS - 1);
      expect([valueAt(keyOf(3)), server.data.has(keyOf(4))]).toEqual(['mended', false]);
    });

  it('is deleted where the answer was lost and the source has deleted it since then', async () => {
    const [gone, refused] = [keyOf(700), keyOf(710)];
    server.data.set(refused, { value: 'theirs', rev: ++server.seq });
    server.after = (request, response) => {
      if (!puts(request, gone)) return false;
      // The server has all of the page but one key, and the client hears nothing of it.
      server.data.set(refused, { value: 'theirs', rev: ++server.seq });
      response.destroy();
      return true;
    };
    await failure(toServer());
    expect(valueAt(gone)).toEqual({ i: 700 });
    server.after = undefined;
    await local.deleteMany([gone, refused]);
    expect(await toServer()).toBe(KEYS - 2);
    expect(server.data.has(gone)).toBe(false);
    // It is not what this migration has sent.
    expect(valueAt(refused)).toBe('theirs');
  });
});

it('a server that is restored during the last look is an error, and the next call begins anew', async () => {
  const error = await failure(
    toServer({
      onProgress({ phase }) {
        if (phase !== 'catch-up' || server.epoch === 'second') return;
        server.epoch = 'second';
        server.data.clear();
      },
    }),
  );
  expect(error.message).toContain('restored');
  expect(await toServer()).toBe(KEYS);
  expect(server.data.size).toBe(KEYS);
});

it('a call that was aborted before it began asks nobody', async () => {
  const error = await failure(toServer({ signal: AbortSignal.abort() }));
  expect(error).toMatchObject({ code: 'migration', cause: { name: 'AbortError' } });
  expect(server.seen).toEqual([]);
});

it("one that 'fail' keeps from beginning leaves no journal behind", async () => {
  const journals = async (): Promise<string[]> =>
    (await indexedDB.databases())
      .map(({ name = '' }) => name)
      .filter((name) => name.startsWith('codeforge-migration:'))
      .sort();
  // Those of other tests are of migrations that ended early.
  const before = await journals();
  server.data.set(keyOf(1), { value: 'theirs', rev: ++server.seq });
  await failure(toServer({ onConflict: 'fail' }));
  await expect.poll(journals).toEqual(before);
});

describe('a server of level 0 that has lost everything', () => {
  async function stage() {
    const old = await startOldServer();
    onTestFinished(old.close);
    for (const [key, value] of entries) old.data.set(key, value);
    const remote = createStorage({
      useFlask: true,
      flaskUrl: old.url,
      database: `lost-${databases}`,
      logger: false,
    });
    const rescued = createStorage({ database: `lost-${databases}`, logger: false });
    onTestFinished(() => remote.close());
    onTestFinished(() => rescued.close());
    return { old, remote, rescued };
  }

  it('between two calls takes nothing along of what was brought over', async () => {
    const { old, remote, rescued } = await stage();
    const error = await failure(remote.migrateToIndexedDB(abortedEarly('overwrite')));
    old.data.clear();
    expect(await remote.migrateToIndexedDB()).toBe(0);
    expect((await rescued.stats()).keys).toBeGreaterThanOrEqual(error.migrated);
  });

  it('during a call takes nothing along, and is an error', async () => {
    const { old, remote, rescued } = await stage();
    const error = await failure(
      remote.migrateToIndexedDB({
        onProgress({ phase, done }) {
          if (phase === 'copy' && done === KEYS) old.data.clear();
        },
      }),
    );
    expect(error.message).toContain('has lost its data');
    expect((await rescued.stats()).keys).toBe(KEYS);
  });
});
