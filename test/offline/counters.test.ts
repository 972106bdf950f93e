/** Two devices count the same counter while the server is away (docs/guarantees.md, 5.3). */
import { expect, it } from 'vitest';
import { chromiumSkipReason } from '../support/library-page.ts';
import { drained, offlineStage, online, openStorage } from '../support/offline-page.ts';

const stage = offlineStage();

it.skipIf(chromiumSkipReason)(
  'increments of two devices, made while the server was away, are all at the server or in the conflicts',
  async () => {
    const server = await stage.server();
    await server.start();
    const devices = [await stage.tab(await stage.profile()), await stage.tab(await stage.profile())];
    for (const device of devices) {
      await openStorage(device, server.url);
      await device.evaluate(() => storage.update('count', (current) => Number(current ?? 0) + 1));
      await online(device);
    }
    for (const device of devices) await device.evaluate(() => storage.get('count'));
    await server.kill();
    for (const device of devices)
      await device.evaluate(() => storage.update('count', (current) => Number(current) + 1));
    await server.start();
    for (const device of devices) await drained(device);
    const conflicts = await Promise.all(devices.map((device) => device.evaluate(() => storage.conflicts())));
    expect(await server.entries()).toEqual({ count: 3 });
    expect(conflicts.flat()).toMatchObject([
      { key: 'count', reason: 'changed', base: { value: 2 }, local: { value: 3 }, server: { value: 3 } },
    ]);
  },
);
