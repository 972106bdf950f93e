/**
 * A migration that is killed at random points, and called again each time, brings over everything: what was read back is not sent
 * again, nothing is changed on the way, and the number is exact (docs/guarantees.md, 10.1 and 10.4).
 */
import type { BrowserContext, Page } from 'playwright';
import { expect, it } from 'vitest';
import { randomOf, seedFrom } from '../faults/random.ts';
import { answerLost, type Fault, requestLost } from '../support/faults.ts';
import { chromiumSkipReason } from '../support/library-page.ts';
import type { MortalServer } from '../support/mortal-server.ts';
import { offlineStage } from '../support/offline-page.ts';
import type { TcpProxy } from '../support/proxy.ts';

declare global {
  /** Puts into the database of the app, of this page. */
  var puts: number;
}

const KILLS = 20;
const KEYS = 20_000;
/** Entries of a page of a migration. */
const PAGE = 500;
/** A batch with values is the one that is killed, so many after the first at most. */
const LATEST = 5;

const WAYS = ['tab closed', 'server SIGKILL', 'network cut'] as const;
type Way = (typeof WAYS)[number];

const stage = offlineStage();

/** Kills what it is armed for when the batch with that number comes by. */
function createKiller() {
  let left = Number.POSITIVE_INFINITY;
  let strike = async (): Promise<void> => {};
  let late = false;
  let striking: Promise<void> = Promise.resolve();
  return {
    arm(after: number, afterwards: boolean, kill: () => Promise<void>) {
      left = after;
      late = afterwards;
      strike = kill;
    },
    struck: () => striking,
    fault(target: string, body: string): Fault | undefined {
      if (!target.endsWith('/batch') || !/"op":"(get|put)"/.test(body)) return undefined;
      left -= 1;
      if (left !== 0) return undefined;
      if (!late) {
        striking = strike();
        return requestLost('rst');
      }
      // The server has done it, and nobody hears of that.
      return {
        ...answerLost('rst'),
        observe: () => {
          striking = strike();
        },
      };
    },
  };
}

/** What a call came to: the number, or why not, or that its tab is gone. */
const migrated = (page: Page, way: 'to' | 'from', url: string): Promise<number | string> =>
  page
    .evaluate(
      ([way, url]) =>
        (way === 'to' ? storage.migrateToFlask(url) : storage.migrateToIndexedDB()).catch(
          (error: Error) => `${error.name}: ${error.message}`,
        ),
      [way, url] as const,
    )
    .catch(() => 'the tab is gone');

/** Kill, and call again, until all kills are spent; then to the end. */
async function throughKills(
  context: BrowserContext,
  server: MortalServer,
  proxy: TcpProxy,
  killer: ReturnType<typeof createKiller>,
  way: 'to' | 'from',
  seed: number,
): Promise<{ count: number | string; killed: Map<Way, number>; puts: number }> {
  const random = randomOf(seed);
  const killed = new Map<Way, number>(WAYS.map((way) => [way, 0]));
  const open = async (): Promise<Page> => {
    const tab = await stage.tab(context);
    await tab.evaluate(
      ([way, url]) => {
        globalThis.storage = library.createStorage({
          logger: false,
          timeout: 1500,
          ...(way === 'from' && { useFlask: true, flaskUrl: url }),
        });
      },
      [way, proxy.url] as const,
    );
    return tab;
  };
  let tab = await open();
  let puts = 0;
  const countPuts = async (): Promise<void> => {
    puts += await tab.evaluate(() => {
      const made = globalThis.puts ?? 0;
      globalThis.puts = 0;
      return made;
    });
  };
  for (let kill = 0; kill < KILLS; kill += 1) {
    const how = random.pick(WAYS);
    killer.arm(1 + random.below(LATEST), random.chance(0.5), async () => {
      killed.set(how, (killed.get(how) ?? 0) + 1);
      await countPuts();
      if (how === 'tab closed') await tab.close();
      else if (how === 'server SIGKILL') await server.kill();
      else proxy.cut();
    });
    const outcome = await migrated(tab, way, proxy.url);
    await killer.struck();
    expect(outcome).toEqual(expect.any(String));
    if (how === 'tab closed') tab = await open();
    else if (how === 'server SIGKILL') await server.start();
    else proxy.restore();
  }
  const count = await migrated(tab, way, proxy.url);
  await countPuts();
  return { count, killed, puts };
}

const keyOf = (i: number): string => `key-${String(i).padStart(6, '0')}`;
const heldOf = (i: number): unknown => ({ i, text: `value ${i}`.repeat(4) });

it.skipIf(chromiumSkipReason)(
  'a migration to a server that is killed at 20 random points sends at most a page again for each, and changes nothing',
  async ({ annotate }) => {
    const seed = seedFrom('MIGRATION_SEED');
    const killer = createKiller();
    const server = await stage.server();
    const proxy = await stage.network(server, ({ target, body }) => killer.fault(target, body));
    await server.start();
    const context = await stage.profile();
    await fill(context);
    const { count, killed } = await throughKills(context, server, proxy, killer, 'to', seed);
    const again = (await server.applied()) - KEYS;
    const held = await server.entries();
    const wrong = Array.from({ length: KEYS }, (_, i) => i).filter(
      (i) => JSON.stringify(held[keyOf(i)]) !== JSON.stringify(heldOf(i)),
    );
    await annotate(
      `seed ${seed}, ${summaryOf(killed)}: ${count} of ${KEYS} keys, ${again} sent again, ${wrong.length} mismatches`,
    );
    expect({ count, wrong, keys: Object.keys(held).length }).toEqual({ count: KEYS, wrong: [], keys: KEYS });
    expect(again).toBeLessThanOrEqual(KILLS * PAGE);
  },
  300_000,
);

it.skipIf(chromiumSkipReason)(
  'a migration to IndexedDB that is killed at 20 random points writes at most a page again for each, and changes nothing',
  async ({ annotate }) => {
    const seed = seedFrom('MIGRATION_SEED');
    const killer = createKiller();
    const server = await stage.server();
    const proxy = await stage.network(server, ({ target, body }) => killer.fault(target, body));
    await server.start();
    await post(server.url);
    const context = await stage.profile();
    await context.addInitScript(() => {
      globalThis.puts = 0;
      const { put } = IDBObjectStore.prototype;
      IDBObjectStore.prototype.put = function (this: IDBObjectStore, ...given: [unknown, IDBValidKey?]) {
        if (this.transaction.db.name === 'codeforge-db') globalThis.puts += 1;
        return put.apply(this, given);
      };
    });
    const { count, killed, puts } = await throughKills(context, server, proxy, killer, 'from', seed);
    const tab = await stage.tab(context);
    const [keys, wrong] = await tab.evaluate(async (total) => {
      const local = library.createStorage({ logger: false });
      const wrong: string[] = [];
      let keys = 0;
      for await (const [key, value] of local.entries()) {
        const i = Number(key.slice(4));
        const wanted = { i, text: `value ${i}`.repeat(4) };
        if (JSON.stringify(value) !== JSON.stringify(wanted) || i !== keys) wrong.push(key);
        keys += 1;
      }
      await local.close();
      return [keys, keys === total ? wrong : [...wrong, `${keys} keys`]] as const;
    }, KEYS);
    const again = puts - KEYS;
    await annotate(
      `seed ${seed}, ${summaryOf(killed)}: ${count} of ${KEYS} keys, ${again} written again, ${wrong.length} mismatches`,
    );
    expect({ count, wrong, keys }).toEqual({ count: KEYS, wrong: [], keys: KEYS });
    expect(again).toBeLessThanOrEqual(KILLS * PAGE);
  },
  300_000,
);

const summaryOf = (killed: ReadonlyMap<Way, number>): string =>
  `${KILLS} kills (${Array.from(killed, ([way, times]) => `${times} ${way}`).join(', ')})`;

/** The keys in the IndexedDB of a profile. */
async function fill(context: BrowserContext): Promise<void> {
  const tab = await stage.tab(context);
  await tab.evaluate(async (total) => {
    const local = library.createStorage({ logger: false });
    await local.setMany(
      Array.from({ length: total }, (_, i) => [
        `key-${String(i).padStart(6, '0')}`,
        { i, text: `value ${i}`.repeat(4) },
      ]),
    );
    await local.close();
  }, KEYS);
  await tab.close();
}

/** The same at a server. */
async function post(url: string): Promise<void> {
  const entries = Array.from({ length: KEYS }, (_, i) => [keyOf(i), heldOf(i)] as const);
  const response = await fetch(`${url}/api/storage/import`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(Object.fromEntries(entries)),
  });
  expect(response.status).toBe(200);
}
