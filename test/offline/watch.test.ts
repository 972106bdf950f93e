/**
 * `watch()` with the real server, over a line that is cut again and again: two devices, two tabs each, and a tab that is closed while it
 * follows the server (docs/guarantees.md, 5.4).
 */
import { setTimeout as delay } from 'node:timers/promises';
import { expect, it, onTestFinished, vi } from 'vitest';
import { type Change, createStorage, type KeyValueStorage } from '../../src/index.ts';
import { startProxy } from '../support/proxy.ts';
import { startTypescriptServer } from '../support/typescript-server.ts';

const KEYS = ['a', 'b', 'c', 'd', 'e'];
const WRITES = 150;

/** A listener that knows from the values in which order they were written: `<device>.<number>`. */
function listener(storage: KeyValueStorage) {
  const state = new Map<string, unknown>();
  const faults: string[] = [];
  const told: string[] = [];
  const last = new Map<string, number>();
  storage.watch(undefined, (change: Change) => {
    if (change.type !== 'set') return void faults.push(`it has heard a ${change.type}`);
    const { key, value, source } = change;
    state.set(key, value);
    told.push(`${key}=${value}`);
    const [device = '', n] = String(value).split('.');
    const before = last.get(`${key} of ${device}`) ?? -1;
    if (Number(n) <= before) faults.push(`${key}: ${value} (${source}) after ${before}`);
    last.set(`${key} of ${device}`, Number(n));
  });
  return { state, faults, told };
}

it('tells every change of the origin, and the last one of other devices, none twice and none after a newer one', async ({
  annotate,
}) => {
  const server = await startTypescriptServer();
  onTestFinished(() => void server.stop());
  const proxies = [await startProxy(server.url), await startProxy(server.url)] as const;
  const devices = proxies.map((proxy, i) =>
    [0, 1].map(() =>
      createStorage({
        useFlask: true,
        flaskUrl: proxy.url,
        // A device is a database of its own.
        database: `watch-device-${i}`,
        logger: false,
        timeout: 3000,
        conflict: 'keep-local',
      }),
    ),
  );
  const storages = devices.flat();
  onTestFinished(async () => {
    await Promise.all(storages.map((storage) => storage.close()));
    await Promise.all(proxies.map((proxy) => proxy.close()));
  });
  await storages[0]?.setMany(KEYS.map((key) => [key, '0.0']));
  for (const storage of storages) await storage.getMany(KEYS);
  const heard = storages.map(listener);
  for (const storage of storages) await storage.ready();
  await delay(300);

  let isOver = false;
  const cutting = (async () => {
    for (let cuts = 0; !isOver; cuts += 1) {
      const proxy = proxies[cuts % 2];
      await delay(400);
      await fetch(`${proxy?.control}/cut`, { method: 'POST' });
      await delay(150);
      await fetch(`${proxy?.control}/restore`, { method: 'POST' });
    }
  })();
  // Each device writes keys of its own and a shared one.
  await Promise.all(
    devices.map(async ([one, two], device) => {
      for (let n = 1; n <= WRITES; n += 1) {
        const storage = (n % 2 ? one : two) as KeyValueStorage;
        await storage.set(KEYS[device * 2 + (n % 2)] as string, `${device + 1}.${n}`);
        if (n % 5 === 0) await storage.set('e', `${device + 1}.${n}`);
        if (n === WRITES / 2) await delay(500);
      }
    }),
  );
  isOver = true;
  await cutting;
  // The tab that follows for the first device is closed, whichever of both it is; the other one goes on.
  await devices[0]?.[0]?.close();
  for (const storage of storages.slice(1))
    await vi.waitFor(() => storage.flush(), { timeout: 30_000, interval: 200 });
  const truth = await devices[1]?.[0]?.getMany(KEYS);
  for (const { state, faults } of heard.slice(1)) {
    await vi.waitFor(() => expect(KEYS.map((key) => state.get(key))).toEqual(truth), { timeout: 30_000 });
    expect(faults).toEqual([]);
  }
  // Its own device's changes are all heard by the other tab.
  const [, second, third, fourth] = heard.map(({ told }) => new Set(told));
  for (const [device, told] of [
    [1, second],
    [2, third],
    [2, fourth],
  ] as const)
    for (let n = 1; n <= WRITES; n += 1)
      expect(told).toContain(`${KEYS[(device - 1) * 2 + (n % 2)]}=${device}.${n}`);
  await annotate(heard.map(({ told }) => told.length).join(', '));
}, 240_000);
