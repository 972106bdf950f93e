/**
 * What an app downloads: bundled by Vite from source, minified, each file compressed with brotli by itself.
 *
 * The first table counts what is in a bundle; the second what a page of a real Chromium fetches from a server that
 * compresses, until it has stored one value and read it back.
 */
import { brotliCompressSync } from 'node:zlib';
import { startTypescriptServer } from '../test/support/typescript-server.ts';
import { bundle, bundlePage, closureOf } from './browser/bundle.ts';
import { type RunningChromium, withChromium } from './browser/chromium.ts';
import { type FileServer, serveFiles } from './browser/serve.ts';
import { versionsOf } from './browser/versions.ts';
import type { Section, Table } from './harness/report.ts';

const PEERS = ['idb-keyval', 'localforage', 'dexie', 'idb', 'unstorage'];

/** Milliseconds without a request after which a page has loaded what it loads. */
const IDLE = 500;

/** What an app does first, as a function that gives the value that it read. */
const FIRST_CALLS = {
  ours: `import { createStorage } from '../../src/index.ts';
    const storage = createStorage({ logger: false });
    const first = async () => { await storage.set('key', 'value'); return storage.get('key'); };`,
  oursWithServer: `import { createStorage } from '../../src/index.ts';
    const storage = createStorage({ useFlask: true, flaskUrl: location.hash.slice(1), logger: false });
    const first = async () => {
      await storage.set('key', 'value');
      const value = await storage.get('key');
      if (storage.getBackendType() !== 'flask') throw new Error(storage.status().reason);
      return value;
    };`,
  idbKeyval: `import { get, set } from 'idb-keyval';
    const first = async () => { await set('key', 'value'); return get('key'); };`,
  localForage: `import localforage from 'localforage';
    const first = async () => { await localforage.setItem('key', 'value'); return localforage.getItem('key'); };`,
  dexie: `import { Dexie } from 'dexie';
    const db = new Dexie('dexie-app');
    db.version(1).stores({ items: 'key' });
    const first = async () => {
      await db.items.put({ key: 'key', value: 'value' });
      return (await db.items.get('key')).value;
    };`,
  idb: `import { openDB } from 'idb';
    const first = async () => {
      const db = await openDB('idb-app', 1, { upgrade(fresh) { fresh.createObjectStore('items'); } });
      await db.put('items', 'value', 'key');
      return db.get('items', 'key');
    };`,
  unstorage: `import { createStorage } from 'unstorage';
    import indexedDbDriver from 'unstorage/drivers/indexedb';
    const storage = createStorage({ driver: indexedDbDriver({ base: 'app' }) });
    const first = async () => { await storage.setItem('key', 'value'); return storage.getItem('key'); };`,
} as const;

/** A page that is loaded for the first time. */
const PAGES: ReadonlyArray<readonly [name: string, app: keyof typeof FIRST_CALLS]> = [
  ['ours, IndexedDB only', 'ours'],
  ['ours, with a server configured', 'oursWithServer'],
  ['idb-keyval', 'idbKeyval'],
  ['localForage', 'localForage'],
  ['Dexie', 'dexie'],
  ['idb', 'idb'],
  ['unstorage, IndexedDB driver', 'unstorage'],
];

const whole = (module: string): string => `import * as all from '${module}'; globalThis.all = all;`;

/** What is imported, and kept from being shaken out. */
const IMPORTS: ReadonlyArray<readonly [name: string, code: string]> = [
  [
    'ours: createStorage',
    `import { createStorage } from '../../src/index.ts'; globalThis.all = createStorage;`,
  ],
  ['ours: everything', whole('../../src/index.ts')],
  ['idb-keyval: get, set', `import { get, set } from 'idb-keyval'; globalThis.all = [get, set];`],
  ['idb-keyval: everything', whole('idb-keyval')],
  ['localForage', `import localforage from 'localforage'; globalThis.all = localforage;`],
  ['Dexie', `import { Dexie } from 'dexie'; globalThis.all = Dexie;`],
  ['idb: openDB', `import { openDB } from 'idb'; globalThis.all = openDB;`],
  ['unstorage: createStorage, IndexedDB driver', unstorageWith('indexedb')],
  ['unstorage: createStorage, HTTP driver', unstorageWith('http')],
];

/** What a page fetched. */
interface Fetched {
  readonly name: string;
  readonly files: number;
  readonly bytes: number;
}

export async function benchSize(): Promise<Section> {
  const imports = await importTable();
  return withChromium(async (chromium) => {
    const fetched = await firstLoads(chromium);
    return {
      title: 'Size',
      versions: [chromium.version, ...(await versionsOf(PEERS))],
      tables: [imports, loadTable(fetched)],
      // `npm run size` holds the limits.
      verdicts: [],
    };
  });
}

async function importTable(): Promise<Table> {
  const rows: string[][] = [];
  for (const [name, code] of IMPORTS) {
    const chunks = await bundle(code);
    const [entry] = chunks;
    if (entry === undefined) throw new Error(`Nothing was bundled for ${name}`);
    const atOnce = closureOf(chunks, entry);
    const later = chunks.filter((chunk) => !atOnce.has(chunk));
    const sizes = [[...atOnce], later].map((list) =>
      list.reduce((sum, chunk) => sum + brotliCompressSync(chunk.code).length, 0),
    );
    rows.push([name, ...sizes.map(bytesText), String(later.length)]);
  }
  return {
    title: 'What is imported, bytes',
    note: 'Minified by Vite; each file compressed with brotli. Unused code is removed by tree shaking if the package allows it.',
    header: ['Import', 'loads with the page', 'loads when it is used', 'in files'],
    rows,
  };
}

function unstorageWith(driver: string): string {
  return `import { createStorage } from 'unstorage';
    import driver from 'unstorage/drivers/${driver}';
    globalThis.all = [createStorage, driver];`;
}

async function firstLoads(chromium: RunningChromium): Promise<Fetched[]> {
  const pages = await Promise.all(
    PAGES.map(([, app]) => bundlePage(app, `${FIRST_CALLS[app]}\nglobalThis.firstValue = first();`)),
  );
  const files = await serveFiles(new Map(pages.flatMap((page) => [...page])));
  const server = await startTypescriptServer();
  try {
    const fetched: Fetched[] = [];
    for (const [name, app] of PAGES)
      fetched.push({ name, ...(await load(chromium, files, app, `/${app}/#${server.url}`)) });
    return fetched;
  } finally {
    await Promise.all([server.stop(), files.close()]);
  }
}

async function load(
  { context }: RunningChromium,
  files: FileServer,
  folder: string,
  address: string,
): Promise<{ readonly files: number; readonly bytes: number }> {
  const page = await context.newPage();
  try {
    await page.goto(`${files.url}${address}`);
    await page.waitForFunction(() => 'firstValue' in globalThis, undefined, { timeout: 10_000 });
    const value = await page.evaluate(() => (globalThis as unknown as { firstValue: unknown }).firstValue);
    if (value !== 'value') throw new Error(`${folder} read ${JSON.stringify(value)}`);
    await page.waitForTimeout(IDLE);
    return files.scriptsSent(folder);
  } finally {
    await page.close();
  }
}

function loadTable(fetched: readonly Fetched[]): Table {
  return {
    title: 'What a first page load fetches',
    note: 'Transferred bytes of scripts, including a small app that stores and reads one value. Data requests are not counted.',
    header: ['App', 'bytes', 'files'],
    rows: fetched.map(({ name, files, bytes }) => [name, bytesText(bytes), String(files)]),
  };
}

const bytesText = (bytes: number): string => bytes.toLocaleString('en');
