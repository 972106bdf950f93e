/** The Storage Management page shows what other browsers and other tabs store, without a reload: a build of it in Chromium. */
import type { Page } from 'playwright';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type BuiltPage, startBuiltPage } from '../support/built-page.ts';
import { chromiumSkipReason } from '../support/library-page.ts';
import type { RunningServer } from '../support/running-server.ts';
import { startTypescriptServer } from '../support/typescript-server.ts';

describe.skipIf(chromiumSkipReason)('the Storage Management page in several browsers', () => {
  let built: BuiltPage;
  let server: RunningServer;
  const errors: string[] = [];

  beforeAll(async () => {
    built = await startBuiltPage();
    server = await startTypescriptServer();
  });
  afterAll(async () => {
    await built.close();
    await server.stop();
  });

  async function open(context: { newPage(): Promise<Page> }): Promise<Page> {
    const page = await context.newPage();
    page.on('pageerror', (error) => errors.push(String(error)));
    await page.goto(built.url);
    await shows(page, 'message', 'Ready');
    return page;
  }
  const shows = (page: Page, id: string, text: string | RegExp) =>
    page.locator(`#${id}`, { hasText: text }).waitFor({ timeout: 30_000 });
  const button = (page: Page, name: string) => page.getByRole('button', { name, exact: true });

  async function connect(page: Page): Promise<void> {
    await page.getByLabel('Use').selectOption('flask');
    await page.getByRole('textbox', { name: 'Server', exact: true }).fill(server.url);
    await button(page, 'Connect').click();
    await shows(page, 'message', 'Connected');
  }
  async function save(page: Page, key: string, json: string): Promise<void> {
    await page.getByLabel('Key', { exact: true }).fill(key);
    await page.getByLabel('Value (JSON)').fill(json);
    await button(page, 'Save').click();
    await shows(page, 'message', `Saved ${key}`);
  }

  it('an entry that another browser adds, edits and deletes is shown, edited and removed', async () => {
    const contexts = [await built.browser.newContext(), await built.browser.newContext()];
    const [here, there] = (await Promise.all(contexts.map(open))) as [Page, Page];
    await Promise.all([here, there].map(connect));
    await save(there, 'note', '"from another browser"');
    await shows(here, 'entries', 'from another browser');
    await shows(here, 'counts', '1 entry');
    // What is being typed stays.
    await here.getByLabel('Key', { exact: true }).fill('half typed');
    await save(there, 'note', '"edited there"');
    await shows(here, 'entries', 'edited there');
    expect(await here.getByLabel('Key', { exact: true }).inputValue()).toBe('half typed');
    await save(here, 'reply', '"from here"');
    await shows(there, 'entries', 'from here');
    await there.getByRole('button', { name: 'Delete note' }).click();
    await shows(here, 'counts', '1 entry');
    await shows(there, 'counts', '1 entry');
    for (const page of [here, there])
      expect(await page.locator('#entries').textContent()).toContain('from here');
    expect(errors).toEqual([]);
    for (const context of contexts) await context.close();
  });

  it('without a server the other tabs of a browser are shown', async () => {
    const context = await built.browser.newContext();
    const [here, there] = [await open(context), await open(context)];
    await save(there, 'draft', '"of another tab"');
    await shows(here, 'entries', 'of another tab');
    expect(errors).toEqual([]);
    await context.close();
  });
});
