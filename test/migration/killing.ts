/**
 * Migrations in a real Chromium that are killed at random points, and called again each time: the tab is closed, the server is
 * killed, or the network is cut, before a request has arrived or after it was carried out.
 */
import type { BrowserContext, Page } from 'playwright';
import { expect } from 'vitest';
import { randomOf, seedFrom } from '../faults/random.ts';
import { answerLost, type Fault, type ProxiedRequest, requestLost } from '../support/faults.ts';
import type { MortalServer } from '../support/mortal-server.ts';
import type { OfflineStage } from '../support/offline-page.ts';
import type { TcpProxy } from '../support/proxy.ts';

export const KILLS = 20;
export const KEYS = 20_000;
/** Entries of a page of a migration. */
export const PAGE = 500;
/** A batch with values is the one that is killed, so many after the first at most. */
const LATEST = 5;
/**
 * Milliseconds after which a run gives up a server that is gone; most of the time of these tests. Where a machine is so slow that a
 * run ends by itself, it is called again until the kill has struck.
 */
const TIMEOUT = 600;
/** The same of the last run, which nothing kills. */
const PATIENT = 20_000;

const WAYS = ['tab closed', 'server SIGKILL', 'network cut'] as const;
type Way = (typeof WAYS)[number];

export const keyOf = (i: number): string => `key-${String(i).padStart(6, '0')}`;
export const heldOf = (i: number): unknown => ({ i, text: `value ${i}`.repeat(4) });

/** Keys that each run moves, and how many of them a run before it had moved already. */
export function createLedger() {
  const before = new Set<string>();
  const now = new Set<string>();
  const again: number[] = [];
  return {
    note(keys: readonly string[]) {
      for (const key of keys) now.add(key);
    },
    runEnded() {
      again.push([...now].filter((key) => before.has(key)).length);
      for (const key of now) before.add(key);
      now.clear();
    },
    total: () => again.reduce((sum, keys) => sum + keys, 0),
    most: () => Math.max(...again),
  };
}

/** Kills what it is armed for when the batch with that number comes by. */
function createKiller() {
  let left = Number.POSITIVE_INFINITY;
  let strike = async (): Promise<void> => {};
  let late = false;
  let striking: Promise<void> | undefined;
  return {
    arm(after: number, afterwards: boolean, kill: () => Promise<void>) {
      left = after;
      late = afterwards;
      strike = kill;
      striking = undefined;
    },
    /** The kill; nothing where it has not struck. */
    struck: () => striking,
    fault({ target, body }: ProxiedRequest): Fault | undefined {
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

/** What is different in the two directions. */
export interface Direction {
  readonly stage: OfflineStage;
  /** Options of the storage that migrates. */
  options(url: string): object;
  /** Put the entries where they are migrated from. */
  prepare(context: BrowserContext, server: MortalServer): Promise<void>;
  /** Told of each request of the tabs. */
  asked?(request: ProxiedRequest): void;
  /** Called before a run ends, while its tab is there. */
  looked?(tab: Page): Promise<void>;
  /** Call the migration. */
  migrate(tab: Page, url: string): Promise<number>;
  /** Called when a run has ended. */
  runEnded(): void;
}

/** What came of it. */
export interface Outcome {
  readonly context: BrowserContext;
  readonly server: MortalServer;
  readonly count: number;
  /** The seed and the kills, in words. */
  readonly summary: string;
}

/** Kill, and call again, until all kills are spent; then to the end. */
export async function throughKills(direction: Direction): Promise<Outcome> {
  const { stage, looked = async () => {} } = direction;
  const seed = seedFrom('MIGRATION_SEED');
  const random = randomOf(seed);
  const killer = createKiller();
  const killed = new Map<Way, number>(WAYS.map((way) => [way, 0]));
  const server = await stage.server();
  const proxy = await stage.network(server, (request) => {
    direction.asked?.(request);
    return killer.fault(request);
  });
  await server.start();
  const context = await stage.profile();
  await direction.prepare(context, server);
  const open = async (timeout = TIMEOUT): Promise<Page> => {
    const tab = await stage.tab(context);
    await tab.evaluate(
      (options) => {
        globalThis.storage = library.createStorage(options);
      },
      { logger: false as const, timeout, ...direction.options(proxy.url) },
    );
    return tab;
  };
  let tab = await open();
  for (let kill = 0; kill < KILLS; kill += 1) {
    const how = random.pick(WAYS);
    killer.arm(1 + random.below(LATEST), random.chance(0.5), async () => {
      killed.set(how, (killed.get(how) ?? 0) + 1);
      await looked(tab);
      await killing(how, tab, server, proxy);
    });
    while (killer.struck() === undefined) {
      const ended = await direction.migrate(tab, proxy.url).catch(() => 'killed');
      expect(ended).toBe('killed');
      await killer.struck();
      if (!tab.isClosed()) await looked(tab);
      direction.runEnded();
    }
    if (how === 'tab closed') tab = await open();
    else if (how === 'server SIGKILL') await server.start();
    else proxy.restore();
  }
  await tab.close();
  tab = await open(PATIENT);
  const count = await direction.migrate(tab, proxy.url);
  await looked(tab);
  direction.runEnded();
  const ways = Array.from(killed, ([way, times]) => `${times} ${way}`).join(', ');
  return { context, server, count, summary: `seed ${seed}, ${KILLS} kills (${ways})` };
}

async function killing(how: Way, tab: Page, server: MortalServer, proxy: TcpProxy): Promise<void> {
  if (how === 'tab closed') await tab.close();
  else if (how === 'server SIGKILL') await server.kill();
  else proxy.cut();
}
