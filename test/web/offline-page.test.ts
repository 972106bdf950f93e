/**
 * The Storage Management page while its server is away: a build of the page in Chromium, in front of it a server whose
 * network is cut and restored.
 */
import { createHash } from 'node:crypto';
import type { Page } from 'playwright';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type BuiltPage, startBuiltPage } from '../support/built-page.ts';
import type { Faults } from '../support/faults.ts';
import { chromiumSkipReason } from '../support/library-page.ts';
import { freePort } from '../support/ports.ts';
import { startProxy, type TcpProxy } from '../support/proxy.ts';
import type { RunningServer } from '../support/running-server.ts';
import { startTypescriptServer } from '../support/typescript-server.ts';

/** An address where nothing listens. */
const nowhere = async (): Promise<string> => `http://127.0.0.1:${await freePort()}`;

describe.skipIf(chromiumSkipReason)('the Storage Management page while its server is away', () => {
  let built: BuiltPage;
  let server: RunningServer;
  let proxy: TcpProxy;
  let page: Page;
  let errors: string[] = [];

  beforeAll(async () => {
    built = await startBuiltPage();
  });
  afterAll(() => built.close());

  beforeEach(async () => {
    errors = [];
    server = await startTypescriptServer();
    proxy = await startProxy(server.url);
    page = await built.browser.newPage();
    page.on('pageerror', (error) => errors.push(String(error)));
    page.on('dialog', (dialog) => void dialog.accept());
    await page.goto(built.url);
    await message('Ready');
  });
  afterEach(async () => {
    await page.close();
    await proxy.close();
    await server.stop();
    expect(errors).toEqual([]);
  });

  const shows = (id: string, text: string | RegExp) =>
    page.locator(`#${id}`, { hasText: text }).waitFor({ timeout: 30_000 });
  const message = (text: string | RegExp) => shows('message', text);
  const button = (name: string) => page.getByRole('button', { name, exact: true });

  const connect = async (url: string, backend = 'flask'): Promise<void> => {
    await page.getByLabel('Use').selectOption(backend);
    await page.getByRole('textbox', { name: 'Server', exact: true }).fill(url);
    await button('Connect').click();
  };
  const save = async (key: string, json: string): Promise<void> => {
    await page.getByLabel('Key', { exact: true }).fill(key);
    await page.getByLabel('Value (JSON)').fill(json);
    await button('Save').click();
    await message(`Saved ${key}`);
  };
  /** As another device does it, whose network is not cut. */
  const writeElsewhere = async (key: string, value: unknown): Promise<void> => {
    const answer = await fetch(`${server.url}/api/storage/${key}`, {
      method: 'PUT',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ value }),
    });
    expect(answer.status).toBe(200);
  };
  const atServer = async (): Promise<unknown> => (await fetch(`${server.url}/api/storage/export`)).json();

  it('the server that was chosen is used again after a reload, and its waiting writes are sent', async () => {
    await connect(proxy.url);
    await message('Connected');
    proxy.cut();
    await save('draft', '"kept"');
    await shows('waiting', /^1 change waiting$/);
    await page.reload();
    await shows('backend', `IndexedDB, while ${proxy.url}`);
    await shows('waiting', /^1 change waiting$/);
    expect(await page.getByRole('textbox', { name: 'Server', exact: true }).inputValue()).toBe(proxy.url);
    proxy.restore();
    await shows('waiting', /^All changes saved$/);
    expect(await atServer()).toEqual({ draft: 'kept' });

    await connect('', 'indexeddb');
    await message('Connected');
    await page.reload();
    await shows('backend', /^IndexedDB$/);
  });

  it('what is typed into the form while a save runs stays there', async () => {
    await connect(proxy.url);
    await message('Connected');
    // The answer comes when the test says so.
    const asked = Promise.withResolvers<void>();
    const answer = Promise.withResolvers<void>();
    await page.route('**/api/v1/batch', async (route) => {
      if (route.request().postData()?.includes('"first"')) {
        asked.resolve();
        await answer.promise;
      }
      await route.continue();
    });
    await page.getByLabel('Key', { exact: true }).fill('first');
    await page.getByLabel('Value (JSON)').fill('1');
    await button('Save').click();
    await asked.promise;
    await page.getByLabel('Key', { exact: true }).fill('second');
    await page.getByLabel('Value (JSON)').fill('{"typed":"meanwhile"}');
    answer.resolve();
    await message('Saved first');
    expect(await page.getByLabel('Key', { exact: true }).inputValue()).toBe('second');
    expect(await page.getByLabel('Value (JSON)').inputValue()).toBe('{"typed":"meanwhile"}');
    await button('Save').click();
    await message('Saved second');
    expect(await page.getByLabel('Key', { exact: true }).inputValue()).toBe('');
  });

  it('an entry that is saved while the server is away is listed, waits, and is sent when it is back', async () => {
    await connect(proxy.url);
    await message('Connected');
    await shows('backend', `Flask backend at ${proxy.url} (level 1)`);
    await shows('state', /^online$/);
    await shows('waiting', /^All changes saved$/);
    expect(await button('Send now').isDisabled()).toBe(true);

    proxy.cut();
    await save('greeting', '{"text":"hello"}');
    await shows('backend', `IndexedDB, while ${proxy.url} (level 1) is unreachable`);
    await shows('state', /^offline$/);
    await shows('waiting', /^1 change waiting$/);
    await shows('met', /^Last synced /);
    await shows('reason', proxy.url);
    await page.getByRole('cell', { name: '{"text":"hello"}' }).waitFor();
    expect(await atServer()).toEqual({});

    await button('Edit greeting').click();
    await save('greeting', '{"text":"edited"}');
    await page.getByRole('cell', { name: '{"text":"edited"}' }).waitFor();
    await button('Send now').click();
    await message(/^Sending failed: Writes are still in the outbox/);

    proxy.restore();
    await shows('waiting', /^All changes saved$/);
    await shows('state', /^online$/);
    await shows('backend', 'Flask backend');
    expect(await atServer()).toEqual({ greeting: { text: 'edited' } });
    expect(await button('Send now').isDisabled()).toBe(true);
  });

  it('"Send now" sends what waits, without waiting for the next try', async () => {
    await connect(proxy.url);
    await message('Connected');
    // The pause between two tries is a random part of the longest one: like this it lasts for a minute and more.
    await page.evaluate(() => {
      Math.random = () => 200;
    });
    proxy.cut();
    await save('a', '1');
    await shows('waiting', /^1 change waiting$/);
    await shows('state', /^offline$/);
    proxy.restore();
    await button('Send now').click();
    await message('Sent all changes');
    await shows('waiting', /^All changes saved$/);
    await shows('state', /^online$/);
    expect(await atServer()).toEqual({ a: 1 });
  });

  it('a server that is away when it is connected to is no failure, and has everything once it answers', async () => {
    proxy.cut();
    await connect(proxy.url);
    await message('Working offline (all changes saved)');
    expect(await page.locator('#message').getAttribute('class')).toBe('');
    await save('early', '"kept"');
    await shows('waiting', /^1 change waiting$/);
    await page.getByRole('cell', { name: '"kept"' }).waitFor();
    await connect(proxy.url);
    await message('Working offline (1 change waiting)');
    proxy.restore();
    await shows('waiting', /^All changes saved$/);
    expect(await atServer()).toEqual({ early: 'kept' });
  });

  it('conflicts are shown as text with both values, and each is settled by its button', async () => {
    const markup = '<img src=x onerror="throw 1">';
    expect(await page.locator('#conflicts-section').isVisible()).toBe(false);
    await connect(proxy.url);
    await message('Connected');
    await save('mine', '"first"');
    await save('theirs', '"first"');
    proxy.cut();
    await save('mine', JSON.stringify(markup));
    await save('theirs', `"${'long '.repeat(200)}"`);
    await shows('waiting', /^2 changes waiting$/);
    await writeElsewhere('mine', 'from elsewhere');
    await writeElsewhere('theirs', 'also from elsewhere');
    proxy.restore();

    const item = (key: string) =>
      page.getByRole('listitem').filter({ has: page.getByRole('heading', { name: key }) });
    await page.getByRole('heading', { name: 'Conflicts' }).waitFor({ timeout: 30_000 });
    await item('mine').waitFor();
    await item('theirs').waitFor();
    const facts = await item('mine').locator('dd').allTextContents();
    expect(facts).toEqual([
      JSON.stringify(markup),
      '"from elsewhere"',
      "The server's value had changed.",
      expect.stringMatching(/\d:\d\d:\d\d/),
    ]);
    expect(await item('mine').locator('img').count()).toBe(0);
    expect((await item('theirs').locator('dd').first().textContent())?.length).toBe(301);

    await button('Keep mine: mine').click();
    await message('Kept your value of mine');
    await item('mine').waitFor({ state: 'detached' });
    await expect.poll(atServer).toMatchObject({ mine: markup });
    await button("Keep the server's: theirs").click();
    await message("Kept the server's value of theirs");
    await page.locator('#conflicts-section').waitFor({ state: 'hidden' });
    expect(await atServer()).toEqual({ mine: markup, theirs: 'also from elsewhere' });
    await page.getByRole('cell', { name: '"also from elsewhere"' }).waitFor();
  });

  it('a server that asks for a token says so, and gets what waits once it is given', async () => {
    const hash = createHash('sha256').update('good').digest('hex');
    const closed = await startTypescriptServer({ env: { TOKENS: `team:admin:${hash}` } });
    try {
      await connect(closed.url);
      await message('Working offline');
      await save('a', '1');
      await shows('state', /^sign-in needed$/);
      await shows('backend', `IndexedDB, while ${closed.url} (level 1) needs a sign-in`);
      await shows('waiting', /^1 change waiting$/);
      await page.getByLabel('Token').fill('good');
      await connect(closed.url);
      await message('Connected');
      await shows('waiting', /^All changes saved$/);
      await shows('state', /^online$/);
      await page.getByRole('cell', { name: 'a', exact: true }).waitFor();
      const there = await fetch(`${closed.url}/api/storage/a`, { headers: { authorization: 'Bearer good' } });
      expect(await there.json()).toEqual({ value: 1 });
    } finally {
      await closed.stop();
    }
  });

  it('where not everything was ever read, the page says that listing has to wait, and goes on', async () => {
    await writeElsewhere('unread', 1);
    // The feed that fills the copy never arrives.
    const faults: Faults = ({ target }) =>
      target.includes('/changes') ? { requestBytes: 0, ending: 'rst' } : undefined;
    const lossy = await startProxy(server.url, { faults });
    try {
      await connect(lossy.url);
      await message('Connected');
      await page.getByRole('cell', { name: 'unread', exact: true }).waitFor();
      lossy.cut();
      await save('a', '1');
      await shows('waiting', /^1 change waiting$/);
      await shows('more', 'The entries cannot be listed: The server cannot be reached');
      lossy.restore();
      await shows('waiting', /^All changes saved$/);
      await page.getByRole('cell', { name: 'unread', exact: true }).waitFor();
      await page.getByRole('cell', { name: 'a', exact: true }).waitFor();
      expect(await page.locator('#more').textContent()).toBe('');
    } finally {
      await lossy.close();
    }
  });

  it('each migration can be asked for where it makes sense', async () => {
    const migrate = async (): Promise<string | null> => {
      const asks = page.getByRole('button', { name: /^Migrate to/ });
      expect(await asks.isEnabled()).toBe(true);
      return asks.textContent();
    };
    expect(await migrate()).toBe('Migrate to the server');
    expect(await page.locator('#server').isVisible()).toBe(false);
    await connect(await nowhere());
    await message('Working offline');
    expect(await migrate()).toBe('Migrate to IndexedDB');
    await button('Migrate to IndexedDB').click();
    await message('Migrating to IndexedDB failed');
    await connect(proxy.url);
    await message('Connected');
    expect(await migrate()).toBe('Migrate to IndexedDB');
    await connect(proxy.url, 'indexeddb');
    await message('Connected');
    expect(await migrate()).toBe('Migrate to the server');
  });
});
