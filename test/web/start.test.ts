/**
 * `npm start` as a newcomer uses it: both addresses, the nine requests, the page in Chromium, Ctrl-C.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { Browser, Page } from 'playwright';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { chromiumSkipReason, launchChromium } from '../support/library-page.ts';
import { freePort } from '../support/ports.ts';

const root = resolve(import.meta.dirname, '../..');
let folder = '';
let start: ChildProcess;
let exited: Promise<number | null>;
let output = '';
let serverUrl = '';
let appUrl = '';
/** The exit code after Ctrl-C with a page open. */
let exitedWithPage: number | null | undefined;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'storage-start-'));
  start = spawn(process.execPath, [join(root, 'scripts/start.mjs')], {
    cwd: root,
    env: {
      ...process.env,
      DATABASE_PATH: join(folder, 'start.db'),
      PORT: String(await freePort()),
      WEB_PORT: String(await freePort()),
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  exited = new Promise((done) => start.once('exit', done));
  await new Promise<void>((done, fail) => {
    const read = (chunk: Buffer): void => {
      output += chunk;
      if (output.includes('Ctrl-C ends both.')) done();
    };
    start.stdout?.on('data', read);
    start.stderr?.on('data', read);
    void exited.then((code) => fail(new Error(`npm start ended with ${code}:\n${output}`)));
  });
  serverUrl = / {2}Server +(http\S+)/.exec(output)?.[1] ?? '';
  appUrl = / {2}Web app +(http\S+)/.exec(output)?.[1] ?? '';
}, 120_000);

afterAll(async () => {
  start.kill('SIGINT');
  await exited;
  await rm(folder, { recursive: true, force: true });
});

describe('npm start', () => {
  it('prints the addresses of the server and of the web app', () => {
    expect(serverUrl).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
    expect(appUrl).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/$/);
  });

  it('answers the nine requests with exactly the bodies of the contract', async () => {
    const ask = async (method: string, path: string, body?: string): Promise<string> => {
      const init = body === undefined ? {} : { body, headers: { 'content-type': 'application/json' } };
      const response = await fetch(serverUrl + path, { method, ...init });
      expect(response.headers.get('content-type')).toMatch(/^application\/json/);
      return `${response.status} ${await response.text()}`;
    };
    expect(await ask('GET', '/health')).toMatch(
      /^200 \{"status":"ok","timestamp":"\d{4}-\d\d-\d\dT[^"]+","contract":1,/,
    );
    expect(await ask('PUT', '/api/storage/a', '{"value":{"n":12345678901234567890}}')).toBe(
      '200 {"success":true}',
    );
    expect(await ask('POST', '/api/storage/b', '{"value":"é"}')).toBe('200 {"success":true}');
    expect(await ask('PUT', '/api/storage/c', '{}')).toContain('400 {"error":"Missing value field",');
    expect(await ask('GET', '/api/storage/a')).toBe('200 {"value":{"n":12345678901234567890}}');
    expect(await ask('GET', '/api/storage/c')).toContain('404 {"error":"Key not found",');
    expect(await ask('GET', '/api/storage/keys')).toBe('200 {"keys":["a","b"]}');
    expect(await ask('GET', '/api/storage/export')).toBe('200 {"a":{"n":12345678901234567890},"b":"é"}');
    expect(await ask('GET', '/api/storage/stats')).toBe(
      '200 {"total_keys":2,"total_size_bytes":30,"database_path":"start.db"}',
    );
    expect(await ask('POST', '/api/storage/import', '{"b":1,"d":2}')).toBe(
      '200 {"success":true,"imported":2}',
    );
    expect(await ask('POST', '/api/storage/import', '[]')).toContain(
      '400 {"error":"Data must be an object",',
    );
    expect(await ask('DELETE', '/api/storage/a')).toBe('200 {"success":true}');
    expect(await ask('DELETE', '/api/storage/a')).toContain('404 {"error":"Key not found",');
    expect(await ask('POST', '/api/storage/clear')).toBe('200 {"success":true}');
    expect(await ask('GET', '/api/storage/keys')).toBe('200 {"keys":[]}');
  });
});

describe.skipIf(chromiumSkipReason)('the Storage Management page', () => {
  let browser: Browser;
  let page: Page;
  const errors: string[] = [];

  beforeAll(async () => {
    browser = await launchChromium();
    page = await browser.newPage();
    page.on('dialog', (dialog) => void dialog.accept());
    page.on('pageerror', (error) => errors.push(String(error)));
  });
  // Left open until after Ctrl-C: a page keeps connections to both.
  afterAll(async () => {
    start.kill('SIGINT');
    exitedWithPage = await exited;
    await browser.close();
  });

  const message = (text: string | RegExp) =>
    page.locator('#message', { hasText: text }).waitFor({ timeout: 60_000 });
  const connect = async (backend: string): Promise<void> => {
    await page.getByLabel('Use').selectOption(backend);
    await page.getByRole('button', { name: 'Connect' }).click();
    await message('Connected');
  };

  it('shows the backend, adds, edits and deletes entries', async () => {
    await page.goto(appUrl);
    await message('Ready');
    expect(await page.locator('#backend').textContent()).toBe('IndexedDB');
    expect(await page.locator('#server').isVisible()).toBe(false);
    await page.getByLabel('Key').first().fill('greeting');
    await page.getByLabel('Value (JSON)').fill('{"text":"hello"}');
    await page.getByRole('button', { name: 'Save' }).click();
    await message('Saved greeting');
    await page.getByRole('button', { name: 'Edit greeting' }).click();
    await page.getByLabel('Value (JSON)').fill('{"text":"bye"}');
    await page.getByRole('button', { name: 'Save' }).click();
    await page.getByRole('cell', { name: '{"text":"bye"}' }).waitFor();
    await page.getByRole('button', { name: 'Delete greeting' }).click();
    await message('Deleted greeting');
    expect(await page.locator('tbody tr').count()).toBe(0);
  });

  it('migrates 10,000 entries of about 1 KB to the server and back', async () => {
    await page.getByRole('button', { name: 'Add 10,000 sample entries' }).click();
    await message('Added 10,000 entries');
    await page.getByRole('button', { name: 'Migrate to the server' }).click();
    await message('Migrated 10,000 entries to the server, each verified');
    await connect('flask');
    expect(await page.locator('#backend').textContent()).toBe(`Flask backend at ${serverUrl} (level 1)`);
    expect(await page.locator('#state').textContent()).toBe('online');
    expect(await page.locator('#waiting').textContent()).toBe('All changes saved');
    expect(await page.locator('#counts').textContent()).toContain('10,000');

    await connect('indexeddb');
    await page.getByRole('button', { name: 'Delete everything' }).click();
    await message('Deleted everything');
    expect(await page.locator('#counts').textContent()).toContain(' 0 ');
    await connect('flask');
    await page.getByRole('button', { name: 'Migrate to IndexedDB' }).click();
    await message('Migrated 10,000 entries to IndexedDB, each verified');
    await connect('indexeddb');
    expect(await page.locator('#counts').textContent()).toContain('10,000');
    await page.getByLabel('Key prefix').fill('sample:0999');
    await page.getByRole('cell', { name: 'sample:09999', exact: true }).waitFor();
    expect(await page.locator('tbody tr').count()).toBe(10);
    expect(errors).toEqual([]);
  }, 180_000);
});

describe('Ctrl-C', () => {
  it('ends both, cleanly', async () => {
    start.kill('SIGINT');
    expect(await exited).toBe(0);
    if (!chromiumSkipReason) expect(exitedWithPage).toBe(0);
    await expect(fetch(`${serverUrl}/health`)).rejects.toThrow();
    await expect(fetch(appUrl)).rejects.toThrow();
  });
});
