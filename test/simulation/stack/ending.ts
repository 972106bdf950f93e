/**
 * The end of every run: all works again, everything is sent, each tab tells what it has, and then the server goes away once more.
 */
import type { ConflictOf } from '../../../src/core/conflict.ts';
import type { StorageStatus } from '../../../src/core/session.ts';
import type { Client, World } from './world.ts';

/** What a tab has at the end. */
export interface Report {
  readonly client: Client;
  readonly status: StorageStatus;
  readonly conflicts: readonly ConflictOf[];
  readonly content: ReadonlyMap<string, unknown>;
  /** How much its listeners were told by then. */
  readonly heard: readonly number[];
  /** What it answers for each key of the server while the server is away. Keys that it rejects are left out. */
  readonly offline: ReadonlyMap<string, unknown>;
}

/** The end of a run. */
export interface Ending {
  readonly reports: readonly Report[];
  /** What the server has. */
  readonly content: ReadonlyMap<string, unknown>;
  /** What did not work although nothing was in the way, in words. */
  readonly failures: readonly string[];
}

/** Keys of this file. Programs use others. */
const PROBE = 'probe:';
/** Milliseconds within which a tab connects again. */
const PATIENCE_MS = 30_000;

/** Ends a run. */
export async function end(world: World): Promise<Ending> {
  const failures: string[] = [];
  const attempt = async <T>(what: string, work: () => Promise<T>): Promise<T | undefined> => {
    try {
      return await world.result(work());
    } catch (error) {
      failures.push(`${what} fails: ${(error as Error).message}`);
      return undefined;
    }
  };
  await world.heal();
  // What a device has is sent by a tab that is opened later.
  for (const [name, device] of world.devices)
    if (!world.living().some((client) => client.device === device)) await world.open(`${name}9`);
  const clients = world.living();
  for (const { storage, tab } of clients) await attempt(`${tab.name}: flush()`, () => storage.flush());
  for (const { storage, tab } of clients) {
    await attempt(`${tab.name}: set()`, () => storage.set(`${PROBE}${tab.name}`, tab.name));
    await attempt(`${tab.name}: flush()`, () => storage.flush());
  }
  // On level 1 others are asked for their changes every 30 s.
  await world.wait(61_000);

  const content = new Map([...world.server.content()].filter(([key]) => !key.startsWith(PROBE)));
  for (const { tab } of clients)
    if (!world.server.content().has(`${PROBE}${tab.name}`))
      failures.push(`${tab.name}: set() after everything worked again did not arrive`);
  const found = [];
  for (const client of clients) {
    const { storage, tab } = client;
    const keys = await attempt(`${tab.name}: keys()`, () => storage.keys());
    const own = (keys ?? []).filter((key) => !key.startsWith(PROBE));
    const values = await attempt(`${tab.name}: getMany()`, () => storage.getMany(own));
    const conflicts = await attempt(`${tab.name}: conflicts()`, () => storage.conflicts());
    found.push({
      client,
      conflicts: conflicts ?? [],
      content: new Map(own.map((key, i) => [key, values?.[i]])),
      heard: client.listeners.map(({ heard }) => heard.length),
    });
  }
  // By what a tab has read it may have noticed a restore, and connect once more.
  const areOnline = (): boolean => clients.every(({ storage }) => storage.status().state === 'online');
  await world.clock.run(world.clock.nowMs + PATIENCE_MS, areOnline);
  const statuses = new Map(clients.map((client) => [client, client.storage.status()]));

  world.clock.note('the server is away once more');
  for (const device of world.devices.values()) device.network = 'lose-request';
  const reports: Report[] = [];
  for (const report of found) {
    const offline = new Map<string, unknown>();
    for (const key of content.keys())
      await world.result(report.client.storage.get(key)).then(
        (value) => offline.set(key, value),
        () => undefined,
      );
    const status = statuses.get(report.client) as StorageStatus;
    reports.push({ ...report, status, offline });
  }
  return { reports, content, failures };
}
