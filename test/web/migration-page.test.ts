/**
 * Migration and adoption as the Storage Management page offers them.
 */
import { describe, expect, it } from 'vitest';
import { chromiumSkipReason } from '../support/library-page.ts';
import { freePort } from '../support/ports.ts';
import { startProxy } from '../support/proxy.ts';
import {
  address,
  answer,
  atServer,
  button,
  fill,
  message,
  page,
  plan,
  questions,
  save,
  server,
  shows,
  useStoragePage,
} from '../support/storage-page.ts';

/** So many entries make four pages of a migration. */
const MANY = 1_700;
const many = Array.from({ length: MANY }, (_, i) => [`doc:${String(i).padStart(5, '0')}`, { i }] as const);

describe.skipIf(chromiumSkipReason)('the Storage Management page with migrations', () => {
  useStoragePage();

  it('a migration is planned, done with an entry that is refused shown, and finished when that is gone', async () => {
    await save('a', '1');
    await save('large', JSON.stringify('x'.repeat(200_000)));
    await fetch(`${server.url}/api/storage/a`, {
      method: 'PUT',
      headers: { 'content-type': 'application/json' },
      body: '{"value":"theirs"}',
    });
    await address(server.url);
    await button('Plan').click();
    await message(`Compared 2 entries with ${server.url}`);
    expect(await plan('migration')).toEqual(['2 · 200 kB', '0', '1', '1']);
    await shows('#migration-outcome', '1 entry is overwritten. 1 entry would be missing.');
    expect(await atServer()).toEqual({ a: 'theirs' });

    const choice = page.locator('#migration select');
    await choice.selectOption('fail');
    await button('Migrate to the server').click();
    await message(/failed: nothing arrived, 2 entries did not arrive.*nothing was written/);
    expect(await atServer()).toEqual({ a: 'theirs' });
    expect(questions).toEqual([]);

    await choice.selectOption('overwrite');
    answer(false);
    await button('Migrate to the server').click();
    await message('Cancelled: nothing was migrated');
    answer(true);
    await button('Migrate to the server').click();
    await message(/failed: 1 entry arrived and were verified, 1 entry did not arrive/);
    await shows('#migration-outcome', 'Did not arrive: 1 entry');
    await shows('#migration-outcome li', /^large .*200002 bytes/);
    expect(questions).toEqual(Array(2).fill(expect.stringContaining(`What ${server.url} holds`)));
    expect(await atServer()).toEqual({ a: 1 });

    await button('Delete large').click();
    await message('Deleted large');
    await page.getByLabel('Switch to the target').check();
    await button('Migrate to the server').click();
    await message(`Migrated 1 entry to the server, each verified`);
    await shows('#backend', `Flask backend at ${server.url} (level 1)`);
    await shows('#state', 'online');
    expect(await page.getByRole('button', { name: /^Migrate to/ }).textContent()).toBe(
      'Migrate to IndexedDB',
    );
    await save('b', '2');
    expect(await atServer()).toEqual({ a: 1, b: 2 });
    await button('Migrate to IndexedDB').click();
    await message('Migrated 2 entries to IndexedDB, each verified. IndexedDB is in use now');
    await shows('#backend', /^IndexedDB$/);
  });

  it('a migration that is cancelled, or cut off with its page, says how far it was and goes on from there', async () => {
    await fill(many);
    let go = (): void => {};
    let isHolding = true;
    let writes = 0;
    const hold = new Promise<void>((resolve) => {
      go = resolve;
    });
    // The third page waits on its way to the server.
    const proxy = await startProxy(server.url, {
      faults: ({ body }) => {
        if (!body.includes('"put"')) return undefined;
        writes += 1;
        return isHolding && writes > 2 ? { hold } : undefined;
      },
    });
    try {
      await address(proxy.url);
      await button('Migrate to the server').click();
      await shows('#amount', /^[1-9][\d,]* of 1,700 entries · [\d.]+ kB$/);
      await shows('#phase', 'Copying and verifying');
      expect(await page.getByLabel('Copying and verifying').getAttribute('max')).toBe(String(MANY));
      await button('Cancel').click();
      go();
      await message(/^Migrating to the server: Cancelled: [\d,]+ entries arrived and were verified/);
      expect(await page.locator('#message').getAttribute('class')).toBe('');
      expect(await page.locator('#job').isVisible()).toBe(false);
      await shows('#backend', /^IndexedDB$/);
      expect(Object.keys(await atServer()).length).toBeLessThan(MANY);

      await page.reload();
      await message('Ready');
      isHolding = false;
      await address(proxy.url);
      await button('Migrate to the server').click();
      await message(
        'Migrated 1,700 entries to the server, each verified. It went on where an earlier run had ended',
      );
      expect(await atServer()).toEqual(Object.fromEntries(many));
    } finally {
      await proxy.close();
    }
  });

  it('a server that cannot be reached is told, and the migration can be asked for again', async () => {
    await save('a', '1');
    const nowhere = `http://127.0.0.1:${await freePort()}`;
    await address(nowhere);
    await button('Migrate to the server').click();
    await message(/^Migrating to the server failed: .*nothing arrived\. The source is as it was/);
    await message(nowhere);
    await address(server.url);
    await button('Migrate to the server').click();
    await message('Migrated 1 entry to the server');
  });

  it('old databases are shown where there are any, and their entries copied without touching them', async () => {
    expect(await page.getByRole('heading', { name: 'Old databases' }).isVisible()).toBe(false);
    await page.evaluate(
      () =>
        new Promise<void>((resolve, reject) => {
          const request = indexedDB.open('CodeForgeDB', 1);
          request.onerror = () => reject(request.error);
          request.onupgradeneeded = () => {
            const store = request.result.createObjectStore('keyvalue', { keyPath: 'key' });
            store.put({ key: 'a', value: 'old' });
            store.put({ key: 'b', value: new Date(0) });
          };
          request.onsuccess = () => {
            request.result.close();
            resolve();
          };
        }),
    );
    await save('a', '"mine"');
    await page.reload();
    await message('Ready');
    expect(await page.locator('#adoption select[name="database"]').inputValue()).toBe('CodeForgeDB');
    await button('Plan the copy').click();
    await message('Compared 2 entries of CodeForgeDB');
    expect((await plan('adoption')).slice(1)).toEqual(['0', '1', '0']);
    await page.locator('#adoption select[name="onConflict"]').selectOption('skip');
    await button('Copy').click();
    await message('Copied 1 entry of CodeForgeDB, each verified. The old database stays');
    await page.getByRole('cell', { name: '"mine"' }).waitFor();
    await page.getByRole('cell', { name: 'Date 1970-01-01' }).waitFor();
    expect(await page.evaluate(async () => (await indexedDB.databases()).map(({ name }) => name))).toContain(
      'CodeForgeDB',
    );
  });
});
