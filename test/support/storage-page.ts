/**
 * The Storage Management page for tests: a build of it in Chromium, files on the disk, and a reference server of its own.
 * One page at a time: what is exported is that of the test that runs.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Page } from 'playwright';
import { afterAll, afterEach, beforeAll, beforeEach, expect } from 'vitest';
import { createStorage } from '../../src/index.ts';
import { type BuiltPage, startBuiltPage } from './built-page.ts';
import type { RunningServer } from './running-server.ts';
import { startTypescriptServer } from './typescript-server.ts';

/** Entries as a backup, made by the library. */
export async function backupOf(entries: Iterable<readonly [string, unknown]>): Promise<string> {
  await using storage = createStorage({ database: crypto.randomUUID(), logger: false });
  await storage.setMany(entries);
  // Read to its end before the storage is closed.
  return await new Response(await storage.export()).text();
}

/** The lines of a backup that are entries. */
export const records = (text: string): string[] => text.trimEnd().split('\n').slice(1, -1);

let built: BuiltPage;
export let server: RunningServer;
export let page: Page;
let errors: string[] = [];
export let questions: string[] = [];
/** What is answered to a question. */
let accepts = true;

/** What is answered to questions from now on, until the test ends. */
export const answer = (accept: boolean): void => {
  accepts = accept;
};

/** Have the page opened before each test of a suite, over a server of its own, and closed after it. */
export function useStoragePage(): void {
  beforeAll(async () => {
    built = await startBuiltPage();
  });
  afterAll(() => built.close());

  beforeEach(async () => {
    errors = [];
    questions = [];
    accepts = true;
    // A value of more than about 90 KB is refused.
    server = await startTypescriptServer({ env: { MAX_BODY_BYTES: '100000' } });
    page = await built.browser.newPage();
    page.on('pageerror', (error) => errors.push(String(error)));
    page.on('dialog', (dialog) => {
      questions.push(dialog.message());
      void (accepts ? dialog.accept() : dialog.dismiss());
    });
    await page.goto(built.url);
    await message('Ready');
  });
  afterEach(async () => {
    await page.close();
    await server.stop();
    expect(errors).toEqual([]);
  });
}

export const shows = (selector: string, text: string | RegExp) =>
  page.locator(selector, { hasText: text }).waitFor({ timeout: 30_000 });
export const message = (text: string | RegExp) => shows('#message', text);
export const button = (name: string) => page.getByRole('button', { name, exact: true });
export const save = async (key: string, json: string): Promise<void> => {
  await page.getByLabel('Key', { exact: true }).fill(key);
  await page.getByLabel('Value (JSON)').fill(json);
  await button('Save').click();
  await message(`Saved ${key}`);
};
export const choose = async (name: string, text: string | Uint8Array): Promise<void> => {
  const path = join(built.folder, name);
  await writeFile(path, text);
  await page.getByLabel('Restore from a file').setInputFiles(path);
};
/** Fill the page's storage. */
export const fill = async (entries: Iterable<readonly [string, unknown]>): Promise<void> => {
  await choose('fill.ndjson', await backupOf(entries));
  await message('Read fill.ndjson');
  await button('Restore').click();
  await message(/^Restored/);
};
export const download = async (): Promise<{ readonly name: string; readonly text: string }> => {
  const [file] = await Promise.all([page.waitForEvent('download'), button('Download backup').click()]);
  await message(/^Backed up/);
  return { name: file.suggestedFilename(), text: await readFile(await file.path(), 'utf8') };
};
export const plan = async (place: string): Promise<Array<string | null>> =>
  page.locator(`#${place}-outcome .plan dd`).allTextContents();
export const atServer = async (): Promise<Record<string, unknown>> =>
  (await fetch(`${server.url}/api/storage/export`)).json();
export const address = (url: string) => page.getByLabel('To the server at').fill(url);
