/**
 * Backup and restore as the Storage Management page offers them.
 */
import { describe, expect, it } from 'vitest';
import { chromiumSkipReason } from '../support/library-page.ts';
import {
  address,
  backupOf,
  button,
  choose,
  download,
  fill,
  message,
  page,
  plan,
  records,
  save,
  server,
  shows,
  useStoragePage,
} from '../support/storage-page.ts';

describe.skipIf(chromiumSkipReason)('the Storage Management page with backups', () => {
  useStoragePage();

  it('a backup that is downloaded and restored after everything was deleted gives the same entries, of every kind', async () => {
    const entries: Array<readonly [string, unknown]> = [
      ['text', 'é 🗝'],
      ['date', new Date(1.7e12)],
      ['map', new Map([['a', new Set([1n, -0])]])],
      ['bytes', new Uint8Array([0, 1, 255])],
      ['blob', new Blob(['hello'], { type: 'text/plain' })],
      ['nothing', undefined],
      ['__proto__', { $cf: 1 }],
    ];
    const given = await backupOf(entries);
    await fill(entries);
    const first = await download();
    expect(first.name).toMatch(/^codeforge-backup-\d{4}-\d\d-\d\d\.ndjson$/);
    expect(records(first.text)).toEqual(records(given));

    await button('Delete everything').click();
    await message('Deleted everything');
    await choose(first.name, first.text);
    await message(`Read ${first.name}`);
    expect(await plan('restore')).toEqual([expect.stringMatching(/^7 · \d+ B$/), '0', '0', '0']);
    expect(await page.locator('tbody tr').count()).toBe(0);
    await button('Restore').click();
    await message(`Restored 7 entries from ${first.name}, each verified`);
    expect(await page.locator('tbody tr').count()).toBe(7);
    expect(records((await download()).text)).toEqual(records(given));
  });

  it('the old form is one JSON object, and is restored too', async () => {
    await save('a', '{"n":1}');
    await page.getByLabel('File format').selectOption('json');
    const { name, text } = await download();
    expect(name).toMatch(/^codeforge-backup-\d{4}-\d\d-\d\d\.json$/);
    expect(JSON.parse(text)).toEqual({ a: { n: 1 } });
    await button('Delete a').click();
    await message('Deleted a');
    await choose(name, text);
    await message(`Read ${name}`);
    await button('Restore').click();
    await message('Restored 1 entry');
    await page.getByRole('cell', { name: '{"n":1}' }).waitFor();
  });

  it('a file that is cut, changed or no backup is refused with the reason, and nothing is changed', async () => {
    const text = await backupOf([
      ['a', 'from the backup'],
      ['b', 2],
    ]);
    await save('a', '"mine"');
    for (const [name, broken, reason] of [
      [
        'cut.ndjson',
        text.slice(0, text.indexOf('{"end"')),
        /^Reading cut\.ndjson failed: .*Nothing was changed\.$/,
      ],
      ['changed.ndjson', text.replace('from', 'frog'), /checksum|SHA-256/],
      ['page.html', '<!doctype html>', 'it is an HTML or XML page, not a backup'],
    ] as const) {
      await choose(name, broken);
      await message(`Reading ${name} failed`);
      await message(reason);
      expect(await page.locator('#message').getAttribute('class')).toBe('failed');
      expect(await page.locator('#restore-outcome').textContent()).toBe('');
      expect(await page.locator('tbody tr').allTextContents()).toEqual([expect.stringContaining('"mine"')]);
    }
  });

  it('nothing is overwritten before the page has said what, and the choice of what becomes of it holds', async () => {
    await save('a', '"mine"');
    const text = await backupOf([
      ['a', 'theirs'],
      ['b', 2],
    ]);
    const mode = page.locator('#restore select');
    await choose('backup.ndjson', text);
    await message('Read backup.ndjson');
    expect(await plan('restore')).toEqual([expect.stringMatching(/^2 · /), '0', '1', '0']);
    await button('Restore and overwrite 1 entry').waitFor();
    await mode.selectOption('fail');
    await shows('#restore-outcome', 'Nothing would be written.');
    expect(await page.locator('#restore-outcome button').allTextContents()).toEqual(['Not now']);
    await mode.selectOption('skip');
    await shows('#restore-outcome', '1 entry stays as before.');
    await button('Restore').click();
    await message('Restored 1 entry');
    await page.getByRole('cell', { name: '"mine"' }).waitFor();

    await mode.selectOption('overwrite');
    await choose('backup.ndjson', text);
    await message('Read backup.ndjson');
    await button('Do not restore').click();
    expect(await page.locator('#restore-outcome').textContent()).toBe('');
    await choose('backup.ndjson', text);
    await button('Restore and overwrite 1 entry').click();
    await message('Restored 2 entries');
    await page.getByRole('cell', { name: '"theirs"' }).waitFor();
  });

  it('a file may be dropped anywhere on the page', async () => {
    const text = await backupOf([['dropped', 1]]);
    await page.evaluate((content) => {
      const dataTransfer = new DataTransfer();
      dataTransfer.items.add(new File([content], 'dropped.ndjson'));
      for (const type of ['dragover', 'drop'])
        document.body.dispatchEvent(new DragEvent(type, { bubbles: true, cancelable: true, dataTransfer }));
    }, text);
    await message('Read dropped.ndjson');
    await button('Restore').click();
    await message('Restored 1 entry');
  });

  it('on a narrow screen nothing is wider than the page, whatever is shown', async () => {
    await page.setViewportSize({ width: 390, height: 844 });
    const overflow = () => page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    await save(`key:${'k'.repeat(300)}`, '1');
    await save('large', JSON.stringify('x'.repeat(200_000)));
    expect(await overflow()).toBe(0);
    await choose('backup.ndjson', await backupOf([['large', 1]]));
    await message('Read backup.ndjson');
    expect(await overflow()).toBe(0);
    await address(server.url);
    await button('Migrate to the server').click();
    await message('did not arrive');
    expect(await overflow()).toBe(0);
  });
});
