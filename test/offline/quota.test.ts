/** A full quota: what the outbox cannot hold is refused, and nothing that it holds is lost (docs/guarantees.md, 1.5 and 7.1). */
import type { Page } from 'playwright';
import { expect, it } from 'vitest';
import { chromiumSkipReason } from '../support/library-page.ts';
import { drained, offlineStage, online, openStorage } from '../support/offline-page.ts';

const QUOTA_BYTES = 3_000_000;
const TOO_BIG = 8_000_000;

const stage = offlineStage();

it.skipIf(chromiumSkipReason)(
  'with the server away, what the quota cannot hold rejects with quota, smaller writes go on, and what was acknowledged arrives',
  async ({ annotate }) => {
    const server = await stage.server();
    const tab = await stage.tab(await stage.profile());
    await lowerQuota(tab);
    await openStorage(tab, server.url);
    await tab.evaluate(() => storage.set('before', 'kept'));

    expect(await tab.evaluate(setLarge, ['before', TOO_BIG] as const)).toBe('quota');
    expect(await tab.evaluate(() => storage.get('before'))).toBe('kept');
    expect(await tab.evaluate(setLarge, ['small', 10] as const)).toBe('stored');

    const outcomes: Record<string, string> = {};
    for (let i = 0; i < 60; i += 1)
      outcomes[`filling ${i}`] = await tab.evaluate(setLarge, [`filling ${i}`, 100_000] as const);
    const stored = Object.keys(outcomes).filter((key) => outcomes[key] === 'stored');
    await annotate(`${stored.length} of 60 writes found room`);
    expect(new Set(Object.values(outcomes))).toEqual(new Set(['stored', 'quota']));

    await server.start();
    await drained(tab);
    const entries = await server.entries();
    expect(Object.keys(entries).sort()).toEqual(['before', 'small', ...stored].sort());
    expect(entries.before).toBe('kept');
    for (const key of stored) expect(entries[key]).toHaveLength(100_000);
  },
);

it.skipIf(chromiumSkipReason)(
  'a value that the server took and the quota does not is never read as the one before it',
  async () => {
    const server = await stage.server();
    await server.start();
    const tab = await stage.tab(await stage.profile());
    await lowerQuota(tab);
    await openStorage(tab, server.url);
    await tab.evaluate(() => storage.set('key', 'old'));
    await online(tab);
    const outcome = await tab.evaluate(setLarge, ['key', TOO_BIG] as const);
    expect(outcome).toBe('stored');
    expect(((await server.entries()).key as string).length).toBe(TOO_BIG);

    await server.kill();
    const read = tab.evaluate(() =>
      storage.get('key').then(
        (value) => String(value).length,
        ({ code }: { code: string }) => code,
      ),
    );
    expect([TOO_BIG, 'unavailable']).toContain(await read);
  },
);

/** Before the page stores anything: Chromium remembers for a while how much room it has found. */
async function lowerQuota(tab: Page): Promise<void> {
  const session = await tab.context().newCDPSession(tab);
  await session.send('Storage.overrideQuotaForOrigin', {
    origin: new URL(tab.url()).origin,
    quotaSize: QUOTA_BYTES,
  });
}

/** Store a text that a database does not compress. It runs in the page. */
function setLarge([key, length]: readonly [string, number]): Promise<string> {
  const bytes = new Uint8Array(Math.min(length, 2 ** 20));
  for (let at = 0; at < bytes.length; at += 65_536) crypto.getRandomValues(bytes.subarray(at, at + 65_536));
  const block = Array.from(bytes, (byte) => String.fromCharCode(97 + (byte % 26))).join('');
  const text = block.repeat(Math.ceil(length / block.length)).slice(0, length);
  return storage.set(key, text).then(
    () => 'stored',
    ({ code }: { code: string }) => code,
  );
}
