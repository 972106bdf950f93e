// `npm run size`: what an app downloads, in brotli bytes and files, held by limits.
// The built package is bundled as an app would bundle it: by Vite, minified, each `import()` a file of its own. Vite's own helper of
// 0.6 kB, which comes with an app's first `import()`, is not counted.
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { brotliCompressSync } from 'node:zlib';
import { build } from 'vite';

const root = resolve(import.meta.dirname, '..');
const APP = resolve(root, 'app.js');

/** The code of an app that calls `createStorage()` of an entry. */
const using = (entry) => `import { createStorage } from '${entry}'; globalThis.storage = createStorage();`;

/** The chunks of an app, by name. */
async function bundle(code) {
  const { output } = await build({
    root,
    configFile: false,
    publicDir: false,
    logLevel: 'error',
    build: {
      write: false,
      target: 'es2022',
      modulePreload: false,
      rollupOptions: { input: APP, external: ['react'] },
    },
    plugins: [
      {
        name: 'app',
        enforce: 'pre',
        resolveId: (id) => (id === APP ? APP : undefined),
        load: (id) => (id === APP ? code : undefined),
        transform: (_, id) =>
          id.endsWith('vite/preload-helper.js')
            ? 'export const __vitePreload = (load) => load();'
            : undefined,
      },
    ],
  });
  return new Map(output.map((chunk) => [chunk.fileName, chunk]));
}

/** The code of an app that also uses a function of another entry. */
const adding = (name, entry) =>
  `import { ${name} } from '${entry}'; ${using('@codeforge/storage')} globalThis.added = [${name}];`;

/** The functions of other entries, and the most that each of them may add. */
const ADDED = {
  asAsyncStorage: { entry: '@codeforge/storage/adapters', bytes: 700 },
  asStateStorage: { entry: '@codeforge/storage/adapters', bytes: 700 },
  asUnstorageDriver: { entry: '@codeforge/storage/adapters', bytes: 700 },
  observe: { entry: '@codeforge/storage/observe', bytes: 700 },
  useStored: { entry: '@codeforge/storage/react', bytes: 1000 },
  'useStored, useKeys, useStorageStatus': { entry: '@codeforge/storage/react', bytes: 1_060 },
};

/** The codes of the chunks that hold these modules, and of all that they import statically. */
function loaded(chunks, ...modules) {
  const found = new Set();
  const visit = (name) => {
    // React is not counted: it is part of the app.
    if (found.has(name) || !chunks.has(name)) return;
    found.add(name);
    chunks.get(name).imports.forEach(visit);
  };
  for (const module of modules) {
    const holder = [...chunks.values()].find(({ moduleIds }) => moduleIds?.some((id) => module.test(id)));
    if (!holder) throw new Error(`No chunk holds ${module}.`);
    visit(holder.fileName);
  }
  return [...found].map((name) => chunks.get(name).code);
}

const main = await bundle(using('@codeforge/storage'));
const full = await bundle(using('@codeforge/storage/full'));
const codes = (chunks) => [...chunks.values()].map(({ code }) => code);
const file = (name) => [readFileSync(resolve(root, 'dist', name))];

const [APP_CODE, SERVER] = [/\/app\.js$/, /\/dist\/sync\/index\.js$/];
// The back/forward cache is 0.1 kB of the main entry. Of the server's, event streams are 2.1 kB, and 1.4 kB of that is their parser;
// following a server without IndexedDB is 0.9 kB.
// Limits a little above what was measured: they keep the sizes from growing unnoticed. The aims are 8,700 and 31,000 bytes.
const rows = [
  {
    name: 'main entry: the whole key-value API over IndexedDB',
    codes: loaded(main, APP_CODE),
    bytes: 15_850,
    files: 1,
  },
  {
    name: 'with a server of level 1: all that is loaded',
    codes: loaded(main, APP_CODE, SERVER),
    bytes: 64_350,
    files: 3,
  },
  ...(await Promise.all(
    Object.entries(ADDED).map(async ([name, { entry, bytes }]) => ({
      name: `what ${name} adds to the main entry`,
      codes: loaded(await bundle(adding(name, entry)), APP_CODE),
      without: loaded(main, APP_CODE),
      bytes,
      files: 1,
    })),
  )),
  { name: 'with transfer too: everything', codes: codes(main) },
  { name: './full in an app: everything', codes: codes(full), files: 1 },
  { name: 'codeforge-storage.js, for pages without a bundler', codes: file('codeforge-storage.js') },
  { name: 'codeforge-storage.global.js, for script tags', codes: file('codeforge-storage.global.js') },
];

const compressed = (codes) => codes.reduce((sum, code) => sum + brotliCompressSync(code).length, 0);
const number = (value) => value.toLocaleString('en');
let over = 0;
for (const row of rows) {
  const bytes = compressed(row.codes) - compressed(row.without ?? []);
  const files = row.codes.length;
  const isOver = bytes > (row.bytes ?? bytes) || files > (row.files ?? files);
  if (isOver) over += 1;
  const of = (limit) => (limit === undefined ? '' : ` of ${number(limit)}`);
  process.stdout.write(
    `${isOver ? 'OVER' : 'ok  '} ${`${number(bytes)}${of(row.bytes)} B`.padEnd(18)} ${`${files}${of(row.files)} files`.padEnd(12)} ${row.name}\n`,
  );
}
process.exitCode = over > 0 ? 1 : 0;
