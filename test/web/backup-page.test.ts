/**
 * Backup, restore, migration and adoption as the Storage Management page offers them: a build of the page in Chromium,
 * files on the disk, and the reference server.
 */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { Browser, Page } from 'playwright';
import { build, type PreviewServer, preview } from 'vite';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createStorage } from '../../src/index.ts';
import { chromiumSkipReason, launchChromium } from '../support/library-page.ts';
import { startProxy } from '../support/proxy.ts';
import { freePort, type RunningServer } from '../support/running-server.ts';
import { startTypescriptServer } from '../support/typescript-server.ts';

const root = resolve(import.meta.dirname, '../..');
const web = join(root, 'examples/web');

/** So many entries make four pages of a migration. */
const MANY = 1_700;
const many = Array.from({ length: MANY }, (_, i) => [`doc:${String(i).padStart(5, '0')}`, { i }] as const);

/** Entries as a backup, made by the library. */
async function backupOf(entries: Iterable<readonly [string, unknown]>): Promise<string> {
  await using storage = createStorage({ database: crypto.randomUUID(), logger: false });
  await storage.setMany(entries);
  // Read to its end before the storage is closed.
  return await new Response(await storage.export()).text();
}

/** The lines of a backup that are entries. */
const records = (text: string): string[] => text.trimEnd().split('\n').slice(1, -1);

describe.skipIf(chromiumSkipReason)('the Storage Management page with backups and migrations', () => {
  let folder = '';
  let app: PreviewServer;
  let appUrl = '';
  let browser: Browser;
  let server: RunningServer;
  let page: Page;
  let errors: string[] = [];
  let questions: string[] = [];
  /** What is answered to a question. */
  let accepts = true;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'storage-page-'));
    const common = { root: web, configFile: false, base: './', logLevel: 'warn' } as const;
    const outDir = join(folder, 'page');
    await build({
      ...common,
      resolve: { alias: { '@codeforge/storage': join(root, 'src/index.ts') } },
      build: { outDir, emptyOutDir: true },
    });
    app = await preview({
      ...common,
      build: { outDir },
      preview: { host: '127.0.0.1', port: await freePort() },
    });
    appUrl = app.resolvedUrls?.local[0] ?? '';
    browser = await launchChromium();
  });
  afterAll(async () => {
    await browser.close();
    await app.close();
    await rm(folder, { recursive: true, force: true });
  });

  beforeEach(async () => {
    errors = [];
    questions = [];
    accepts = true;
    // A value of more than about 90 KB is refused.
    server = await startTypescriptServer({ env: { MAX_BODY_BYTES: '100000' } });
    page = await browser.newPage();
    page.on('pageerror', (error) => errors.push(String(error)));
    page.on('dialog', (dialog) => {
      questions.push(dialog.message());
      void (accepts ? dialog.accept() : dialog.dismiss());
    });
    await page.goto(appUrl);
    await message('Ready');
  });
  afterEach(async () => {
    await page.close();
    await server.stop();
    expect(errors).toEqual([]);
  });

  const shows = (selector: string, text: string | RegExp) =>
    page.locator(selector, { hasText: text }).waitFor({ timeout: 30_000 });
  const message = (text: string | RegExp) => shows('#message', text);
  const button = (name: string) => page.getByRole('button', { name, exact: true });
  const save = async (key: string, json: string): Promise<void> => {
    await page.getByLabel('Key', { exact: true }).fill(key);
    await page.getByLabel('Value (JSON)').fill(json);
    await button('Save').click();
    await message(`Saved ${key}`);
  };
  const choose = async (name: string, text: string | Uint8Array): Promise<void> => {
    const path = join(folder, name);
    await writeFile(path, text);
    await page.getByLabel('Restore from a file').setInputFiles(path);
  };
  /** Fill the page's storage. */
  const fill = async (entries: Iterable<readonly [string, unknown]>): Promise<void> => {
    await choose('fill.ndjson', await backupOf(entries));
    await message('Read fill.ndjson');
    await button('Restore').click();
    await message(/^Restored/);
  };
  const download = async (): Promise<{ readonly name: string; readonly text: string }> => {
    const [file] = await Promise.all([page.waitForEvent('download'), button('Download backup').click()]);
    await message(/^Backed up/);
    return { name: file.suggestedFilename(), text: await readFile(await file.path(), 'utf8') };
  };
  const plan = async (place: string): Promise<Array<string | null>> =>
    page.locator(`#${place}-outcome .plan dd`).allTextContents();
  const atServer = async (): Promise<Record<string, unknown>> =>
    (await fetch(`${server.url}/api/storage/export`)).json();
  const address = (url: string) => page.getByLabel('To the server at').fill(url);

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
    await page.getByLabel('Kind of file').selectOption('json');
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
    accepts = false;
    await button('Migrate to the server').click();
    await message('Migrated nothing');
    accepts = true;
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
